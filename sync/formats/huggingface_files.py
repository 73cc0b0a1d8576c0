"""The files of a Hugging Face dataset on the disk: Parquet, or Arrow as `save_to_disk` leaves it; rows, features, images."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelloop.errors import DataError
from sync.formats import provenance
from sync.formats.hf_features import Feature, Features, ListOf, Value, features_of
from sync.formats.image_reading import ImageFiles
from sync.formats.text_reading import split_named

_ROWS, _ROWS_WITH_IMAGES = 1000, 32


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset, and the split that its name or folder stands for."""

    path: Path
    split: str | None

    def rows(self, *, images: bool) -> Iterator[dict[str, Any]]:
        """Its rows, some at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.path.suffix == ".parquet":
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_ROWS_WITH_IMAGES if images else _ROWS):
                    yield from batch.to_pylist()
            return
        with pa.memory_map(str(self.path)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                for start in range(0, len(batch), _ROWS_WITH_IMAGES if images else _ROWS):
                    yield from batch.slice(start, _ROWS_WITH_IMAGES if images else _ROWS).to_pylist()

    def features(self) -> Features:
        """What its schema tells of its columns; DataError when it cannot be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if self.path.suffix == ".parquet":
                schema = pq.read_schema(self.path)
            else:
                with pa.memory_map(str(self.path)) as source, pa.ipc.open_stream(source) as reader:
                    schema = reader.schema
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{self.path} cannot be read as a file of a dataset: {error}") from error
        told = features_of(schema.metadata)
        found = {field.name: told.get(field.name) or _feature_of(field.type) for field in schema}
        return {name: feature for name, feature in found.items() if feature is not None}


def _feature_of(type_: Any) -> Feature | None:
    """What an Arrow type says by itself."""
    import pyarrow as pa

    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        inner = _feature_of(type_.value_type)
        return None if inner is None else ListOf(inner)
    if pa.types.is_struct(type_):
        inside = {field.name: _feature_of(field.type) for field in type_}
        return {name: feature for name, feature in inside.items() if feature is not None}
    return Value("string" if pa.types.is_large_string(type_) else str(type_))


def data_files(path: Path) -> list[DataFile]:
    """The files of a dataset in a folder, or the one file; DataError when there are none."""
    if path.is_file():
        return [DataFile(path, split_named(path))]
    below = sorted(path.rglob("*.parquet")) if path.is_dir() else []
    found = [file for file in below if file.name != provenance.FILE]
    found = found or (sorted(path.rglob("*.arrow")) if path.is_dir() else [])
    # `datasets` keeps what it computed beside what was saved
    found = [file for file in found if not file.name.startswith(("cache-", "tmp"))]
    if not found:
        raise DataError(f"{path} has no *.parquet and no *.arrow; expected a dataset of Hugging Face")
    return [DataFile(file, split_named(file)) for file in found]


class CellImages:
    """Image files of cells: of bytes, written to a folder that goes when the process ends; of paths, found."""

    def __init__(self, folders: Sequence[Path | None]) -> None:
        self._files = ImageFiles(folders)
        self._folder: Path | None = None
        self._taken: set[str] = set()

    def of(self, cell: Any, number: str) -> tuple[str, Path | None]:
        """(what the image is called, its file) of a cell; `number` names one that has no name."""
        content, name = (cell.get("bytes"), cell.get("path")) if isinstance(cell, Mapping) else (None, cell)
        name = name if isinstance(name, str) else ""
        if not isinstance(content, bytes):
            return name, self._files.find(name)
        if not name or name in self._taken:
            name = f"{number}-{name.rpartition('/')[2]}" if name else f"{number}.{_suffix(content)}"
        self._taken.add(name)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="labelloop-images-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        file = self._folder / f"{len(self._taken):07d}.{_suffix(content)}"
        file.write_bytes(content)
        return name, file


def _suffix(content: bytes) -> str:
    """The usual end of an image file's name, by its first bytes."""
    for start, suffix in ((b"\x89PNG", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"), (b"II*", "tif")):
        if content.startswith(start):
            return suffix
    return "jpg"
