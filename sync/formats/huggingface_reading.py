"""Hugging Face datasets read as labelled items: ours, and those that others saved with classes as ClassLabel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.coco_index import CocoRow
from sync.formats.coco_regions import RegionMaker
from sync.formats.conll_columns import chunks_of
from sync.formats.examples import image_keys, image_size
from sync.formats.fitting import config_beside, fitted
from sync.formats.huggingface_columns import Columns, columns_of
from sync.formats.huggingface_files import CellImages, DataFile, data_files
from sync.formats.image_reading import size_told
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for
from sync.formats.tokens import TOKENS, starts_of, token_map

_LOSSES = (
    "what bbox means is not told by a dataset; it is read as [x, y, width, height] in pixels",
    "white space between tokens, where there is no column of texts: one space is put between them",
)
_SHAPES = ("detect", "segment")
_TAGS = {"detect": ("RectangleLabels",), "segment": ("PolygonLabels", "RectangleLabels", "BrushLabels")}


def read_huggingface(path: Path, *, task: str | None, config: LabelConfig | None, images: Path | None) -> Labelled:
    """Open a folder with data/*.parquet, what `save_to_disk` wrote, or one file; `columns_of` says what is read."""
    files = data_files(path)
    columns = columns_of(files[0].features(), task)
    folder = path if path.is_dir() else path.parent
    chosen = config or config_beside(folder) or _made(columns, files)
    reader = _Reader(files, columns, chosen, CellImages([images, folder]))
    return Labelled(chosen, reader.items, _LOSSES)


def _made(columns: Columns, files: Sequence[DataFile]) -> LabelConfig:
    """A config of the classes in their order; those that are told as text are looked for in the rows."""
    if columns.task in _SHAPES:
        names = columns.names or _seen(
            files, columns, lambda row: [each["category"] for each in _objects(row, columns)]
        )
        wanted = [WantedControl(tag, tag.removesuffix("Labels").lower(), names) for tag in _TAGS[columns.task]]
        return config_for("Image", columns.image or "image", wanted)
    if columns.task == "ner":
        names = columns.names or _seen(files, columns, lambda row: _classes_of_row(row, columns))
        classes = names if columns.spans else _without_prefixes(names)
        return config_for("Text", columns.text or "text", [WantedControl("Labels", "label", classes)])
    wanted = [
        WantedControl(
            "Choices",
            name,
            classes or _seen(files, columns, partial(_chosen, column=name, names=None)),
            {"choice": "multiple"} if name in columns.several else {},
        )
        for name, classes in columns.labels.items()
    ]
    return config_for("Image" if columns.image else "Text", columns.image or columns.text or "text", wanted)


def _seen(
    files: Sequence[DataFile], columns: Columns, names: Callable[[Mapping[str, Any]], Iterable[Any]]
) -> list[str]:
    """The names that the rows say, in the order in which they come."""
    rows = (row for file in files for row in file.rows(images=columns.image is not None))
    return list(dict.fromkeys(str(name) for row in rows for name in names(row) if name is not None))


def _classes_of_row(row: Mapping[str, Any], columns: Columns) -> list[Any]:
    if columns.spans:
        return [each.get("label") for each in _listed(row[columns.spans])]
    return [tag for tag in row[str(columns.tags)] or () if tag != "O"]


def _without_prefixes(tags: Iterable[str]) -> list[str]:
    told = list(tags)
    bare = _are_bare(told)
    return list(dict.fromkeys(tag if bare else tag[2:] for tag in told if tag != "O"))


def _are_bare(tags: Iterable[str]) -> bool:
    """Whether tags are classes without B-, I- and so on."""
    return not any(tag[:1] in "BIESLUM" and tag[1:2] == "-" for tag in tags)


# -- cells --------------------------------------------------------------------------------------------------------------


def _listed(cell: Any) -> list[dict[str, Any]]:
    """A struct of lists, or a list of structs, as the latter."""
    if isinstance(cell, Mapping):
        columns = {name: values for name, values in cell.items() if isinstance(values, list)}
        return [dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=False)]
    return [each for each in cell or () if isinstance(each, dict)]


def _objects(row: Mapping[str, Any], columns: Columns) -> list[dict[str, Any]]:
    """The objects of an image, their class under `category` as it is told."""
    return [{**each, "category": each.get(columns.category)} for each in _listed(row[str(columns.objects)])]


def _name(told: Any, names: Sequence[str] | None) -> str | None:
    """The class that a cell tells by its place or by its name; None where it tells none."""
    if isinstance(told, str):
        return told
    if isinstance(told, int) and names is not None and 0 <= told < len(names):
        return names[told]
    return None


def _chosen(row: Mapping[str, Any], column: str, names: Sequence[str] | None) -> list[str | None]:
    """The choices of a column; None for one that is no class."""
    cell = row[column]
    told = cell if isinstance(cell, list) else [] if cell is None or cell in (-1, "") else [cell]
    return [_name(each, names) for each in told]


def _plain(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


# -- rows as items ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """Turns rows into items."""

    files: Sequence[DataFile]
    columns: Columns
    config: LabelConfig
    images: CellImages

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every row that can be read; what cannot is added to `rejected`."""
        for file in self.files:
            for number, row in enumerate(file.rows(images=self.columns.image is not None), start=1):
                source = f"{file.path.name}, row {number}"
                try:
                    yield self._item(row, file.split, source, f"{file.path.stem}-{number:07d}", rejected)
                except (DataError, KeyError) as error:
                    rejected.append(Unread(source, "bad_row", str(error)))

    def _item(
        self, row: Mapping[str, Any], split: str | None, source: str, name: str, rejected: list[Unread]
    ) -> LabelledItem:
        data = self._data(row)
        meta: dict[str, Any] = {}
        if self.columns.image is not None:
            return self._image_item(row, data, split, source, name, rejected)
        if self.columns.task == "ner":
            text, meta, result = self._marked(row, source, rejected)
        else:
            text = row[str(self.columns.text)]
            result = self._choices(row, source, rejected)
        if not isinstance(text, str):
            raise DataError(f"expected a text, got {type(text).__name__}")
        return LabelledItem({**data, self._key(data): text}, result, source, split=split, meta=meta)

    def _data(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What else the row says of the item."""
        if self.columns.ours:
            told = orjson.loads(row.get("data") or "{}")
            return told if isinstance(told, dict) else {}
        rest = {key: each.isoformat() if isinstance(each, date) else each for key, each in row.items()}
        return {key: each for key, each in rest.items() if key not in self.columns.taken and _plain(each)}

    def _key(self, data: Mapping[str, Any]) -> str:
        """The key of the data under which the config shows the item: the first that is not taken."""
        if self.columns.image is not None:
            keys = [key.data_key for key in image_keys(self.config)] or ["image"]
        else:
            tag = "Labels" if self.columns.task == "ner" else "Choices"
            keys = [c.data_key for c in self.config.controls if c.tag == tag and c.object_tag != "Image"] or ["text"]
        return next((key for key in keys if key not in data), keys[0])

    # -- images

    def _image_item(
        self,
        row: Mapping[str, Any],
        data: dict[str, Any],
        split: str | None,
        source: str,
        name: str,
        rejected: list[Unread],
    ) -> LabelledItem:
        address, file = self.images.of(row[str(self.columns.image)], name)
        if not address:
            raise DataError("the row has no image")
        size = size_told(row.get("width"), row.get("height")) or (image_size(file) if file is not None else None)
        if self.columns.task in _SHAPES:
            if size is None:
                raise DataError(f"the size of {address} is not known; expected columns width and height, or the image")
            result = self._shapes(row, size, source, rejected)
        else:
            result = self._choices(row, source, rejected)
        key = self._key(data)
        return LabelledItem({**data, key: address}, result, source, file, key, size, split)

    def _shapes(
        self, row: Mapping[str, Any], size: tuple[int, int], source: str, rejected: list[Unread]
    ) -> list[Region]:
        names = self.columns.names
        told = [(each, _name(each["category"], names)) for each in _objects(row, self.columns)]
        known = list(dict.fromkeys(name for _, name in told if name is not None))
        maker = RegionMaker(self.config, self.columns.task, {place: {"name": name} for place, name in enumerate(known)})

        def refused(_: CocoRow, reason: str, detail: str) -> None:
            rejected.append(Unread(source, reason, detail))

        rows = [_coco_row(each, None if name is None else known.index(name), size) for each, name in told]
        return maker.regions(rows, size, refused)

    # -- texts

    def _marked(
        self, row: Mapping[str, Any], source: str, rejected: list[Unread]
    ) -> tuple[Any, dict[str, Any], list[Region]]:
        """(text, meta, regions) of a text with spans, or of tokens with tags."""
        tokens = [str(token) for token in row[self.columns.tokens] or ()] if self.columns.tokens is not None else []
        text = row[self.columns.text] if self.columns.text is not None else " ".join(tokens)
        if not isinstance(text, str):
            raise DataError(f"expected a text, got {type(text).__name__}")
        starts = starts_of(text, tokens) if tokens else None
        meta = {} if starts is None else {TOKENS: token_map(text, starts)}
        spans: Iterable[tuple[Any, Any, str | None, Any]]
        if self.columns.spans is not None:
            spans = [
                (
                    each.get("start"),
                    each.get("end"),
                    _name(each.get("label"), self.columns.names),
                    each.get("region_id"),
                )
                for each in _listed(row[self.columns.spans])
            ]
        elif starts is None and tokens:
            raise DataError("its tokens are not those of its text")
        else:
            spans = self._chunks(row, tokens, starts or [])
        return text, meta, list(self._spans(spans, text, source, rejected))

    def _chunks(
        self, row: Mapping[str, Any], tokens: Sequence[str], starts: Sequence[int]
    ) -> list[tuple[int, int, str | None, None]]:
        told = row[str(self.columns.tags)] or []
        tags = [_name(tag, self.columns.names) or "O" for tag in told]
        if len(tags) != len(tokens):
            raise DataError(f"expected a tag for each token, got {len(tags)} tags and {len(tokens)} tokens")
        bare = _are_bare(self.columns.names or tags)
        return [
            (starts[chunk.first], starts[chunk.after - 1] + len(tokens[chunk.after - 1]), chunk.label, None)
            for chunk in chunks_of(tags, bare=bare)
        ]

    def _spans(
        self, spans: Iterable[tuple[Any, Any, str | None, Any]], text: str, source: str, rejected: list[Unread]
    ) -> Iterator[Region]:
        """The regions of spans; several classes of one of our own regions are one region again."""
        found: dict[Any, Region] = {}
        for number, (start, end, label, region_id) in enumerate(spans, start=1):
            if not (type(start) is int and type(end) is int and 0 <= start < end <= len(text)) or label is None:
                detail = f"expected a class and 0 <= start < end <= {len(text)}, got {start}, {end}, {label!r}"
                rejected.append(Unread(source, "bad_span", detail))
                continue
            same = found.get((region_id, start, end)) if region_id is not None else None
            if same is not None:
                same["value"]["labels"].append(label)
                continue
            value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
            region = _region(region_id or f"r{number}", "label", "labels", value)
            found[(region_id, start, end) if region_id is not None else number] = region
        for region in found.values():
            yield from self._fitted(region, source, rejected)

    # -- choices

    def _choices(self, row: Mapping[str, Any], source: str, rejected: list[Unread]) -> list[Region]:
        found: list[Region] = []
        for column, names in self.columns.labels.items():
            labels = _chosen(row, column, names)
            if None in labels:
                rejected.append(Unread(source, "unknown_class", f"{column} is {row[column]!r}, which no class has"))
            known = [label for label in labels if label is not None]
            if known:
                region = _region(f"r{len(found) + 1}", column, "choices", {"choices": known})
                found += self._fitted(region, source, rejected)
        return found

    def _fitted(self, region: Region, source: str, rejected: list[Unread]) -> list[Region]:
        placed = fitted(region, self.config)
        if isinstance(placed, str):
            rejected.append(Unread(source, "misfit", f"{region['value']}: {placed}"[:300]))
            return []
        return [placed]


def _region(region_id: str, name: str, kind: str, value: dict[str, Any]) -> Region:
    return {"id": region_id, "from_name": name, "type": kind, "value": value, "origin": "manual"}


def _coco_row(told: Mapping[str, Any], category: int | None, size: tuple[int, int]) -> CocoRow:
    """An object as an annotation of COCO; its mask is that of the whole image."""
    mask, rings = told.get("mask"), told.get("segmentation")
    shape = {"size": [size[1], size[0]], "counts": mask} if mask else rings or None
    ours = {"region": told["region_id"], "rotation": told.get("rotation")} if told.get("region_id") else None
    return CocoRow(
        category_id=category,
        bbox=told.get("bbox"),
        segmentation=msgspec.Raw(msgspec.json.encode(shape)),
        labelloop=ours,
    )
