"""Judgments of tasks as wholes, one row each: from a table of any origin, or from labels under one control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control, LabelConfig
from qa.agreement import current_labels, result_of
from qa.measures.ratings import Ratings, ratings_of
from qa.readings import choice_of

COLUMNS = ("task", "annotator", "label")


def read_judgments(path: Path) -> pl.DataFrame:
    """The rows of a CSV with the columns task, annotator and label, as texts; several of one annotator and task are all there.

    DataError when it is no such table. An empty label is no judgment.
    """
    try:
        found = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable CSV: {error}") from error
    if lacking := [name for name in COLUMNS if name not in found.columns]:
        raise DataError(f"{path}: expected the columns {list(COLUMNS)}, got {found.columns}; {lacking} are missing")
    return found.select(COLUMNS).filter(pl.all_horizontal(pl.all().is_not_null() & (pl.all() != "")))


def judgments_of(labels: pl.DataFrame, control: Control) -> pl.DataFrame:
    """The same of people's labels under a control about tasks as wholes: of each person the latest one that was submitted.

    `labels` are as `qa.agreement.measure_agreement` takes them. Several classes of one label are one answer, in order.
    """
    kept, _ = current_labels(labels)
    rows = [
        (row["task_id"], row["annotator"], choice_of(result_of(row["result"]), control))
        for row in kept.iter_rows(named=True)
    ]
    schema = {"task": pl.Int64, "annotator": pl.Int64, "label": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("label") != "")


def chosen_control(config: LabelConfig, name: str | None) -> Control:
    """The control of that name, or the only one that asks about tasks as wholes; UsageError with the names otherwise."""
    able = {control.name: control for control in config.controls if control.tag == "Choices" and not control.per_region}
    if name is not None and name in able:
        return able[name]
    if name is None and len(able) == 1:
        return next(iter(able.values()))
    said = f"got {name!r}" if name is not None else "name one with --control"
    raise UsageError(f"expected one of the <Choices> about a task as a whole, {sorted(able)}; {said}")


def coded(judgments: pl.DataFrame) -> Ratings:
    """Judgments with codes for names."""
    columns: list[Any] = [judgments[name].to_numpy() for name in COLUMNS]
    return ratings_of(*columns)
