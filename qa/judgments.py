"""Judgments of tasks as wholes, one row each, from a table of any origin; and the control that is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control, LabelConfig
from qa.kinds.kind import Kind
from qa.kinds.registry import measurable
from qa.measures.ratings import Ratings, ratings_of

COLUMNS = ("task", "annotator", "label")


def read_judgments(path: Path) -> pl.DataFrame:
    """The rows of a CSV with the columns task, annotator and label, as texts; several of one annotator and task are all there.

    DataError when it is no such table. An empty label is no judgment.
    """
    return read_csv(path).select(COLUMNS).filter(pl.all_horizontal(pl.all().is_not_null() & (pl.all() != "")))


def read_csv(path: Path) -> pl.DataFrame:
    """All columns of such a CSV, as texts; DataError when it is none."""
    try:
        found = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable CSV: {error}") from error
    if lacking := [name for name in COLUMNS if name not in found.columns]:
        raise DataError(f"{path}: expected the columns {list(COLUMNS)}, got {found.columns}; {lacking} are missing")
    return found


def chosen_control(config: LabelConfig, name: str | None) -> tuple[Control, Kind]:
    """The control of that name, or the only one that can be measured, and its kind; UsageError with the names otherwise."""
    able = {control.name: (control, kind) for control, kind in measurable(config)}
    if name is not None and name in able:
        return able[name]
    if name is None and len(able) == 1:
        return next(iter(able.values()))
    said = f"got {name!r}" if name is not None else "name one with --control"
    raise UsageError(f"expected one of the controls {sorted(able)}; {said}")


def coded(judgments: pl.DataFrame) -> Ratings:
    """Judgments with codes for names."""
    columns: list[Any] = [judgments[name] for name in COLUMNS]
    return ratings_of(*columns)
