"""CSV: labels.csv with one row per label, its geometry, where it came from and the task's data; safe in a spreadsheet.

With the task `classify` or `textcat` the table is wide: one row per task, three columns for each choice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.datasets import Schema
from labelloop.errors import DataError
from labelloop.label_config import Control
from sync.formats.csv_cells import cell_of, escaped_column
from sync.formats.csv_reading import DATA
from sync.formats.csv_wide import LABEL, WideTable, takes_several, task_choices, wide_columns
from sync.formats.examples import Example
from sync.formats.fitting import CONFIG
from sync.formats.format import Format, Joined, Part, PartDone, Plan, SharedFile, fragments
from sync.formats.format_options import chosen_options
from sync.formats.label_table import COLUMNS, LabelTable, copied_images, offset_notes
from sync.formats.rows import ControlFacts, control_facts

if TYPE_CHECKING:
    import polars as pl

FILE = "labels.csv"
#: Where the image of a task is, where images are copied.
FILE_COLUMN = "file"
OPTIONS = {"data": ("columns", "json", "none"), "escape": ("yes", "no")}
#: Data keys that become columns at most; more are not columns but something else.
MAX_DATA_COLUMNS = 1000


@dataclass(frozen=True)
class Details:
    """What is written: the table's columns without the data's, the controls in it, and how data and formulas go in."""

    task: str | None
    columns: Schema
    controls: Mapping[str, ControlFacts]
    choices: tuple[Control, ...]
    data: str
    escape: bool


def plan_csv(plan: Plan) -> Details:
    """One row per label, or per task; DataError when there is no choice to make the wide table of."""
    options = chosen_options(plan, OPTIONS)
    choices: tuple[Control, ...] = ()
    if plan.task is not None:
        choices = task_choices(plan.config)
        if not choices:
            raise DataError("a table with one row per task needs <Choices> or <Taxonomy> in the label config")
    columns = wide_columns(choices) if choices else COLUMNS
    columns = (*columns, (FILE_COLUMN, "string")) if plan.options.images else columns
    return Details(plan.task, columns, control_facts(plan), choices, options["data"], options["escape"] == "yes")


def write_csv(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """The part's rows, without a header."""
    details: Details = plan.details
    table = (
        WideTable(details.choices, details.controls, part, FILE)
        if details.choices
        else LabelTable(details.controls, part, FILE, negatives=True)
    )
    data = DataColumns(details.data, escape=details.escape)
    files: list[str] = []
    for example in examples:
        part.item(example.split)
        table.add(example)
        data.add(example.data)
        files.append(_joined(copied_images(plan, example, part)))
    part.notes["data"] = data.types
    rows, number = table.frame()
    if plan.options.images:
        rows = rows.with_columns(_gathered(FILE_COLUMN, files, number))
    if details.escape:
        rows = rows.with_columns(escaped_column(name) for name, type_ in details.columns if type_ == "string")
    cells = data.frame()
    whole = rows.hstack(cells[number]) if cells.width else rows
    whole.write_csv(part.fragment(FILE), include_header=False, line_terminator="\r\n", datetime_format=_AT)


def _joined(files: Sequence[str | None]) -> str:
    """The image file of a task, as a JSON list where there are several."""
    return orjson.dumps(files).decode() if len(files) > 1 else (files[0] or "") if files else ""


def _gathered(name: str, of_tasks: Sequence[str], number: pl.Series) -> pl.Series:
    import polars as pl

    return pl.Series(name, of_tasks, dtype=pl.String)[number]


_AT = "%Y-%m-%dT%H:%M:%S%.6fZ"


class DataColumns:
    """The data of a part's tasks in columns: one per key, in the order in which they come; or all as JSON; or nothing."""

    def __init__(self, how: str, *, escape: bool) -> None:
        self._how, self._escape = how, escape
        self._columns: dict[str, list[str | None]] = {}
        self._tasks = 0
        self.types: dict[str, str] = {}
        """key -> "text", "json" (nothing there is a text) or "mixed"."""

    def add(self, data: Mapping[str, Any]) -> None:
        """The data of the next task."""
        if self._how == "json":
            self._columns.setdefault("data", []).append(orjson.dumps(data).decode())
        elif self._how == "columns":
            for key, value in data.items():
                if value is None:
                    continue
                column = self._columns.setdefault(DATA + key, [])
                column.extend([None] * (self._tasks - len(column)))
                column.append(cell_of(value, escape=self._escape))
                found = "text" if isinstance(value, str) else "json"
                if self.types.setdefault(key, found) != found:
                    self.types[key] = "mixed"
        self._tasks += 1

    def frame(self) -> pl.DataFrame:
        """One row per task."""
        import polars as pl

        return pl.DataFrame(
            [
                pl.Series(name, column + [None] * (self._tasks - len(column)), dtype=pl.String)
                for name, column in self._columns.items()
            ]
        )


def join_csv(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """The header and the parts; a part whose tasks lack some key gets empty cells for it."""
    details: Details = plan.details
    types: dict[str, str] = {}
    for part in parts:
        for key, found in part.notes["data"].items():
            types[key] = found if types.get(key, found) == found else "mixed"
    if len(types) > MAX_DATA_COLUMNS:
        raise DataError(
            f"the tasks' data has {len(types)} different keys, and a table takes {MAX_DATA_COLUMNS} as columns; "
            "use the option data=json (one column with all of it) or data=none"
        )
    fixed = [name for name, _ in details.columns]
    wanted = [DATA + key for key in types]
    header = [*fixed, *(["data"] if details.data == "json" else wanted)]
    with SharedFile(folder / FILE) as file:
        file.write(_line(header))
        for part in parts:
            own = [DATA + key for key in part.notes["data"]]
            for piece in fragments(scratch, FILE, [part]):
                if own == wanted:
                    file.append(piece)
                else:
                    whole = _widened(piece, [*fixed, *own], header)
                    file.write(whole.write_csv(include_header=False, line_terminator="\r\n").encode())
    (folder / CONFIG).write_text(plan.config.xml, encoding="utf-8")
    extra = {
        "columns": header,
        "json_columns": [DATA + key for key, found in types.items() if found == "json"],
        "mixed_columns": [DATA + key for key, found in types.items() if found == "mixed"],
        "escaped": details.escape,
        **offset_notes(parts),
    }
    return Joined((FILE, CONFIG), extra, {FILE: file.sha256})


def _line(cells: Sequence[str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def _widened(piece: Path, columns: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    rows = pl.read_csv(piece, has_header=False, new_columns=list(columns), infer_schema=False)
    return rows.select(
        pl.col(name) if name in columns else pl.lit(None, dtype=pl.String).alias(name) for name in wanted
    )


def count_csv(plan: Plan, folder: Path) -> tuple[int, int]:
    """(tasks, labels) as they lie on the disk."""
    import pyarrow as pa

    details: Details = plan.details
    counted = {LABEL + control.name: takes_several(control) for control in details.choices} or {"kind": False}
    block = _BLOCK
    while True:
        try:
            return _counted(folder / FILE, counted, block)
        except pa.ArrowInvalid:
            # A row that is longer than a block; it is read whole.
            if block > (folder / FILE).stat().st_size:
                raise
            block *= 8


_BLOCK = 1 << 18


def _counted(path: Path, columns: Mapping[str, bool], block: int) -> tuple[int, int]:
    """(tasks, whose rows stand together; filled cells of some columns, or what is in the JSON lists of their cells)"""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = ["task_id", *columns]
    tasks, labels, last = 0, 0, None
    with arrow_csv.open_csv(
        path,
        arrow_csv.ReadOptions(use_threads=False, block_size=block),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True,
            null_values=[""],
        ),
    ) as batches:  # fmt: skip
        for batch in batches:
            for task_id, _ in groupby(batch["task_id"].to_pylist()):
                tasks += task_id != last
                last = task_id
            for name, listed in columns.items():
                cells = batch[name]
                if listed:
                    labels += sum(len(orjson.loads(cell)) for cell in cells.to_pylist() if cell is not None)
                else:
                    labels += len(cells) - cells.null_count
    return tasks, labels


def losses_of_csv(plan: Plan) -> tuple[str, ...]:
    """What the table cannot say."""
    details: Details = plan.details
    told = ["annotations of other people than the one that counts as truth", "the task's meta"]
    if details.choices:
        told.append("everything but the choices about a task as a whole")
    if details.data == "columns":
        told.append('in the data, an empty text and null are an empty cell; 5 and "5" are one where a key has both')
    elif details.data == "none":
        told.append("the task's data")
    return tuple(told)


FORMAT = Format(
    "csv", ("classify", "textcat"), plan_csv, write_csv, join_csv, count_csv, losses_of_csv, libraries=("polars",)
)
