"""Parquet: tasks/split=<split>/ with a row per task, regions/split=<split>/ with a row per label; joined by task_id.

Partitioned by split in the way that DuckDB, Polars, pyarrow and Spark know (`split` is a column of what they read). Types are
plain: int64, double, string, boolean, timestamps in UTC with microseconds; what is nested is JSON as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.datasets import Schema, arrow_schema
from sync.formats.examples import SPLITS, Example
from sync.formats.fitting import CONFIG
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments
from sync.formats.format_options import chosen_options
from sync.formats.label_table import COLUMNS, OF_TASK, LabelTable, columns_of, copied_images, offset_notes, told_of
from sync.formats.parquet_groups import join_pieces
from sync.formats.rows import ControlFacts, control_facts

if TYPE_CHECKING:
    import polars as pl

_OF_LABEL = tuple(each for each in OF_TASK if each[0] not in ("task_id", "annotation_id", "split"))
#: `files` are paths of the task's images where they are copied, `group` is the duplicate group.
TASKS: Schema = (
    ("task_id", "int64"), ("annotation_id", "int64"), ("group", "string"), ("data", "string"), ("meta", "string"),
    ("files", "string"), ("n_regions", "int64"), ("source", "string"), *_OF_LABEL,
)  # fmt: skip
REGIONS: Schema = tuple((name, "string" if type_ == "json" else type_) for name, type_ in COLUMNS if name != "split")
TABLES = {"tasks": TASKS, "regions": REGIONS}


def plan_parquet(plan: Plan) -> Mapping[str, ControlFacts]:
    """The controls; every label config fits."""
    chosen_options(plan, {})
    return control_facts(plan)


def write_parquet(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """The part's tasks and labels, a piece for each split."""
    import polars as pl

    controls: Mapping[str, ControlFacts] = plan.details
    for split, found in _by_split(examples).items():
        labels = LabelTable(controls, part, file_of("regions", split), negatives=False)
        rows = []
        for example in found:
            part.item(split)
            n_regions = labels.add(example)
            rows.append(_task_row(plan, example, n_regions, part))
        tasks = columns_of(TASKS, list(zip(*rows, strict=True)))
        _keep(tasks, "tasks", split, part)
        _keep(labels.frame()[0].select(pl.exclude("split")), "regions", split, part)


def _by_split(examples: Iterable[Example]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for example in examples:
        found.setdefault(example.split, []).append(example)
    return found


def _task_row(plan: Plan, example: Example, n_regions: int, part: Part) -> tuple[Any, ...]:
    task_id, annotation_id, _, *told = told_of(example)
    files = copied_images(plan, example, part)
    return (
        task_id, annotation_id, example.group_key, orjson.dumps(example.data).decode(), orjson.dumps(example.meta).decode(),
        orjson.dumps(files).decode() if files else None, n_regions, example.source, *told,
    )  # fmt: skip


def _keep(frame: pl.DataFrame, table: str, split: str, part: Part) -> None:
    frame.write_parquet(part.fragment(f"{table}-{split}"), compression="lz4")


def file_of(table: str, split: str) -> str:
    """Where the rows of a table and a split are."""
    return f"{table}/split={split}/part-0.parquet"


def join_parquet(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """One file per table and split that has tasks, and the label config beside them."""
    files = []
    for split in SPLITS:
        if not any(part.items.get(split) for part in parts):
            continue
        for table, schema in TABLES.items():
            files.append(file_of(table, split))
            join_pieces(folder / files[-1], fragments(scratch, f"{table}-{split}", parts), arrow_schema(schema))
    (folder / CONFIG).write_text(plan.config.xml, encoding="utf-8")
    return Joined((*files, CONFIG), offset_notes(parts))


def count_parquet(plan: Plan, folder: Path) -> tuple[int, int]:
    """(tasks, labels) as they lie on the disk."""
    import pyarrow.parquet as pq

    tasks, labels = (
        sum(
            pq.read_metadata(folder / file_of(table, split)).num_rows
            for split in SPLITS
            if _is_there(folder, table, split)
        )
        for table in TABLES
    )
    return tasks, labels


def _is_there(folder: Path, table: str, split: str) -> bool:
    return (folder / file_of(table, split)).is_file()


def losses_of_parquet(plan: Plan) -> tuple[str, ...]:
    """What the tables cannot say."""
    return (
        "annotations of other people than the one that counts as truth",
        "the score of a suggestion that a person changed",
        "offsets that count UTF-16 units, as older data has them, are code points here",
    )


FORMAT = Format(
    "parquet", (), plan_parquet, write_parquet, join_parquet, count_parquet, losses_of_parquet, libraries=("polars",)
)
