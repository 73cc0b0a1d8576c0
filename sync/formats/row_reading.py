"""Items that files hold as rows of labels, read as labelled items of one config: the last step of CSV, JSONL and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelloop.errors import DataError, MediaError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.examples import image_keys, size_in
from sync.formats.fitting import ConfigMaker, config_beside, fitted
from sync.formats.media import folder_fetch
from sync.formats.reading import Labelled, LabelledItem, Unread

#: What others call the splits.
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "dev": "val", "valid": "val", "test": "test"}


@dataclass
class RowItem:
    """One item as the files say it; `regions` are Label Studio's, `ids` the ids of their (control, class)."""

    data: Mapping[str, Any]
    source: str
    regions: list[Region] = field(default_factory=list)
    ids: dict[tuple[str, str], int] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    group: str | None = None
    annotator: str | None = None
    at: str | None = None
    files: Sequence[str] = ()
    """Paths of its images' files, below the folder that is read."""
    size: tuple[int, int] | None = None


Read = Callable[[list[Unread]], Iterator[RowItem]]


def labelled_rows(
    read: Read,
    folder: Path,
    *,
    config: LabelConfig | None,
    images: Path | None,
    losses: tuple[str, ...] = (),
    count: int | None = None,
) -> Labelled:
    """What `read` gives, as items of a config: of the one given, else of the config.xml beside, else of one made.

    To make one, everything is read once before. `images` is where the image files are, default: in `folder`.
    """
    chosen = config or config_beside(folder) or _made(read)
    keys = image_keys(chosen)
    fetch = folder_fetch(images or folder)

    def items(rejected: list[Unread]) -> Iterator[LabelledItem]:
        for item in read(rejected):
            result = []
            for region in item.regions:
                found = fitted(region, chosen)
                if isinstance(found, str):  # the reason
                    rejected.append(Unread(item.source, "misfit", f"region {region.get('id')}: {found}"))
                else:
                    result.append(found)
            media = _file_of(item, keys[0].data_key, folder, fetch) if len(keys) == 1 and not keys[0].listed else None
            yield LabelledItem(
                item.data, result, item.source, media, keys[0].data_key if keys else "image",
                item.size or size_in(result),
                item.split, item.group, item.meta, item.annotator, item.at,
            )  # fmt: skip

    return Labelled(chosen, items, losses, count)


def _made(read: Read) -> LabelConfig:
    maker = ConfigMaker()
    rejected: list[Unread] = []
    for item in read(rejected):
        maker.add(item.data, item.regions, item.ids)
    try:
        return maker.made()
    except DataError as error:
        first = f"; the first of {len(rejected)} unread: {rejected[0].source}: {rejected[0].detail}" if rejected else ""
        raise DataError(f"{error}{first}") from error


def _file_of(item: RowItem, key: str, folder: Path, fetch: Callable[[str], Path]) -> Path | None:
    """The local file of an item's one image, None where it is not at hand."""
    if len(item.files) == 1 and (folder / item.files[0]).is_file():
        return folder / item.files[0]
    address = item.data.get(key)
    if not isinstance(address, str) or not address:
        return None
    try:
        return fetch(address)
    except MediaError:
        return None


def one_file(path: Path, name: str, suffix: str, format: str) -> Path:
    """The file of a format: `path` itself, or in the folder `path` the one of that name, else the only one of that kind."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path} does not exist; expected a {suffix} file, or a folder with {name}")
    if (path / name).is_file():
        return path / name
    found = sorted(each.name for each in path.glob(f"*{suffix}"))
    if len(found) != 1:
        has = f"it has {found[:5]}" if found else f"it has no {suffix} file"
        raise DataError(f"expected {name} in {path} to read it as {format}, and {has}; name the file itself")
    return path / found[0]
