"""CSV read back: labels.csv as it is written here (long or wide), and simple tables of a text or an image and its label."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from sync.formats.csv_cells import unescaped
from sync.formats.csv_wide import LABEL, takes_several
from sync.formats.fitting import config_beside
from sync.formats.label_table import COLUMNS, OF_LABEL
from sync.formats.publishing import MANIFEST
from sync.formats.reading import Labelled, Unread
from sync.formats.row_reading import SPLIT_NAMES, RowItem, labelled_rows, one_file
from sync.formats.rows import region_of

#: Columns without which a table is not one of ours.
_LONG = {"task_id", "region_id", "control", "kind", "label"}
#: Columns that mean boxes, which a simple table has not.
_BOXES = ({"x", "y"}, {"xmin", "ymin"}, {"x_min", "y_min"}, {"x_center", "y_center"}, {"bbox"})
DATA = "data."
_SIMPLE = (
    "the columns of labels.csv as labelloop writes it; or text,label or image,label (one row per item); or "
    "text,start,end,label (one row per span, in code points)"
)
#: Cells that are the same for all labels of one region.
_OF_REGION = tuple(name for name, _ in OF_LABEL if name not in ("label", "class_id"))


@dataclass(frozen=True)
class Table:
    """A CSV file with its header; rows come with the number of their last line."""

    path: Path
    header: Sequence[str]
    delimiter: str

    def rows(self, rejected: list[Unread]) -> Iterator[tuple[int, dict[str, str]]]:
        """The rows by column; one that has another number of cells, or is no UTF-8, is rejected."""
        csv.field_size_limit(sys.maxsize)
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            next(reader)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(self.header):
                    detail = f"expected {len(self.header)} cells as in the header, got {len(cells)}"
                    rejected.append(self.unread(reader.line_num, "bad_row", detail))
                elif any(not cell.isascii() and _LONE.search(cell) for cell in cells):
                    rejected.append(self.unread(reader.line_num, "not_utf8", "the row is not UTF-8; save it as UTF-8"))
                else:
                    yield reader.line_num, dict(zip(self.header, cells, strict=True))

    def unread(self, line: int, reason: str, detail: str) -> Unread:
        """What could not be read, with its place."""
        return Unread(self.place(line), reason, detail)

    def place(self, line: int) -> str:
        """Where a row stands."""
        return f"{self.path.name}, line {line}"


#: What `surrogateescape` makes of bytes that are no UTF-8.
_LONE = re.compile("[\udc80-\udcff]")


def read_csv(path: Path, *, task: str | None, config: LabelConfig | None, images: Path | None) -> Labelled:
    """Open a table; DataError tells which columns are read when it has others."""
    file = one_file(path, "labels.csv", ".csv", "csv")
    folder = file.parent
    chosen = config or config_beside(folder)
    table = open_table(file)
    names = set(table.header)
    if names >= _LONG or ("task_id" in names and any(name.startswith(LABEL) for name in names)):
        read = OwnTable(table, chosen, _manifest(folder)).items
    else:
        read = SimpleTable(table, chosen).items
    return labelled_rows(read, folder, config=chosen, images=images)


def open_table(path: Path) -> Table:
    """A CSV file with commas, semicolons or tabs between the cells; DataError when it has no header."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t", key=lambda each: (first.count(each), each == ","))
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} is no readable CSV file: {error}") from error
    if any(_LONE.search(name) for name in header):
        raise DataError(f"{path} has a header that is not UTF-8; save it as UTF-8")
    twice = sorted({name for name in header if header.count(name) > 1})
    if not header or twice:
        raise DataError(f"{path} has no header" if not header else f"{path} has the column {twice[0]!r} twice")
    return Table(path, header, delimiter)


def _manifest(folder: Path) -> Mapping[str, Any]:
    """What the manifest beside says of the table; nothing where it is of something else."""
    try:
        found = orjson.loads((folder / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == "csv" else {}


# -- tables that were written here --------------------------------------------------------------------------------------


class OwnTable:
    """labels.csv, long or wide. `told` is its manifest: whether formulas are escaped, and which columns are JSON."""

    def __init__(self, table: Table, config: LabelConfig | None, told: Mapping[str, Any]) -> None:
        self._table = table
        self._plain: Callable[[str], str] = unescaped if told.get("escaped", True) else str
        self._controls = {control.name: control for control in config.controls} if config is not None else {}
        listed = {DATA + control.data_key for control in self._controls.values() if control.listed}
        json = listed | set(told.get("json_columns", ())) | {"data"}
        data = [name for name in table.header if name == "data" or name.startswith(DATA)]
        self._data = {name: name in json for name in data}
        self._long = "kind" in table.header
        self._types = {name: type_ for name, type_ in COLUMNS if name in table.header}

    def items(self, rejected: list[Unread]) -> Iterator[RowItem]:
        """The tasks, in the order of the file."""
        rows = self._table.rows(rejected)
        for _, group in groupby(rows, key=lambda row: (row[1]["task_id"], row[1].get("annotation_id"))):
            found = list(group)
            line, first = found[0]
            try:
                item = self._item(first, self._table.place(line))
            except _BadCell as bad:
                rejected.append(self._table.unread(line, "bad_cell", str(bad)))
                continue
            if self._long:
                self._add_regions(item, found, rejected)
            else:
                self._add_choices(item, first)
            yield item

    def _item(self, row: Mapping[str, str], source: str) -> RowItem:
        data: dict[str, Any] = {}
        for name, is_json in self._data.items():
            cell = row[name]
            if not cell:
                continue
            value = _json(name, cell) if is_json else self._plain(cell)
            if name != "data":
                data[name.removeprefix(DATA)] = value
            elif isinstance(value, dict):
                data |= value
            else:
                raise _BadCell(f"data is {cell[:40]!r}, expected a JSON object")
        return RowItem(
            data,
            source,
            split=SPLIT_NAMES.get(row.get("split", "")),
            annotator=row.get("annotator") or None,
            at=row.get("at") or None,
            files=_listed(row["file"]) if row.get("file") else (),
        )

    def _add_regions(
        self, item: RowItem, rows: Sequence[tuple[int, Mapping[str, str]]], rejected: list[Unread]
    ) -> None:
        for _, group in groupby(rows, key=lambda row: [row[1].get(name) for name in _OF_REGION]):
            found = list(group)
            line, first = found[0]
            if not first["kind"]:
                continue
            try:
                cells = {name: self._cell(name, first[name]) for name in self._types}
                labels = [self._plain(row["label"]) for _, row in found if row["label"]]
                ids = {row["label"]: self._cell("class_id", row.get("class_id", "")) for _, row in found}
            except _BadCell as bad:
                rejected.append(self._table.unread(line, "bad_cell", str(bad)))
                continue
            item.regions.append(region_of(cells, labels, None))
            control = str(cells["control"])
            item.ids |= {(control, self._plain(name)): number for name, number in ids.items() if number is not None}

    def _cell(self, name: str, cell: str) -> Any:
        type_ = self._types.get(name, "int64")
        if not cell:
            return None
        if type_ == "json":
            return _json(name, cell)
        if type_ in _NUMBERS:
            try:
                return _NUMBERS[type_](cell)
            except ValueError as error:
                raise _BadCell(f"{name} is {cell[:40]!r}, expected a number") from error
        return self._plain(cell)

    def _add_choices(self, item: RowItem, row: Mapping[str, str]) -> None:
        for name in self._table.header:
            if not name.startswith(LABEL) or not row[name]:
                continue
            control = self._controls.get(name.removeprefix(LABEL))
            kind = control.region_type if control is not None else "choices"
            several = takes_several(control) if control is not None else row[name].startswith("[")
            labels = _listed(row[name]) if several else [self._plain(row[name])]
            found: list[Any] = [path_of(label, control) for label in labels] if kind == "taxonomy" else labels
            item.regions.append(_region(len(item.regions) + 1, name.removeprefix(LABEL), kind, {kind: found}))


_NUMBERS: Mapping[str, Callable[[str], Any]] = {"int64": int, "float64": float}


class _BadCell(Exception):
    """A cell that is not what its column holds."""


def _json(name: str, cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError as error:
        raise _BadCell(f"{name} is {cell[:40]!r}, expected JSON") from error


def _listed(cell: str) -> list[str]:
    """The labels of a cell: of a JSON list of texts, else the cell itself."""
    try:
        found = orjson.loads(cell) if cell.startswith("[") else None
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else [cell]


def path_of(label: str, control: Control | None) -> list[str]:
    """The path of a taxonomy whose steps were joined."""
    for path in sorted(control.paths) if control is not None else ():
        if " / ".join(path) == label:
            return list(path)
    return label.split(" / ")


# -- simple tables ------------------------------------------------------------------------------------------------------


class SimpleTable:
    """A table of texts or images with a label in each row, or of spans; other columns become data. Nothing is escaped."""

    def __init__(self, table: Table, config: LabelConfig | None) -> None:
        self._table = table
        header = table.header
        controls = config.controls if config is not None else ()
        shown = [c.data_key for c in controls if c.data_key in header] or [k for k in ("text", "image") if k in header]
        choices = [c.name for c in controls if c.tag == "Choices" and c.name in header]
        self._labels = ["label"] if "label" in header else choices
        boxes = next((sorted(each) for each in _BOXES if each <= set(header)), None)
        if boxes:
            raise DataError(f"{table.path} has boxes ({', '.join(boxes)}); a table with boxes is read as {_SIMPLE}")
        if not shown or not self._labels:
            raise DataError(f"{table.path}: expected {_SIMPLE}; got the columns {', '.join(header)}")
        self._text = shown[0]
        self._spans = {"start", "end", "label"} <= set(header)
        taken = {*self._labels, *(("start", "end") if self._spans else ())}
        self._data = [name for name in header if name not in taken]

    def items(self, rejected: list[Unread]) -> Iterator[RowItem]:
        """One item per row; of spans, one per run of rows with the same text and data."""
        rows = self._table.rows(rejected)
        if not self._spans:
            for line, row in rows:
                yield self._classified(self._item(line, row), row)
            return
        for _, group in groupby(rows, key=lambda row: [row[1][name] for name in self._data]):
            found = list(group)
            item = self._item(*found[0])
            for line, row in found:
                self._add_span(item, line, row, rejected)
            yield item

    def _item(self, line: int, row: Mapping[str, str]) -> RowItem:
        split = SPLIT_NAMES.get(row.get("split", "").lower())
        data = {name: row[name] for name in self._data if row[name] and not (name == "split" and split)}
        return RowItem(data, self._table.place(line), split=split)

    def _classified(self, item: RowItem, row: Mapping[str, str]) -> RowItem:
        for name in self._labels:
            if row[name]:
                labels = _listed(row[name])
                item.regions.append(_region(len(item.regions) + 1, name, "choices", {"choices": labels}))
        return item

    def _add_span(self, item: RowItem, line: int, row: Mapping[str, str], rejected: list[Unread]) -> None:
        text, label = row[self._text], row["label"]
        if not label and not row["start"] and not row["end"]:
            return
        try:
            start, end = int(row["start"]), int(row["end"])
        except ValueError:
            start, end = -1, -1
        if not (label and 0 <= start < end <= len(text)):
            detail = (
                f"expected a label and 0 <= start < end <= {len(text)}, got {row['start']!r}, {row['end']!r}, {label!r}"
            )
            rejected.append(self._table.unread(line, "bad_span", detail))
            return
        value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
        item.regions.append(_region(len(item.regions) + 1, "label", "labels", value))


def _region(number: int, name: str, kind: str, value: Mapping[str, Any]) -> Region:
    return {"id": f"r{number}", "from_name": name, "type": kind, "value": dict(value), "origin": "manual"}
