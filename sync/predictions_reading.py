"""A file of predictions to judge labels by: JSON lines or parquet, one row per task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError

EXPECTED = (
    'expected rows with "task" and any of "result" (regions), "probs" (class: probability, or by control), "embedding"'
)


@dataclass
class Predictions:
    """What a file says: regions, probabilities of classes (under "" where no control is named) and embeddings, by task."""

    regions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    chances: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    vectors: dict[int, list[float]] = field(default_factory=dict)


def read_predictions(path: Path) -> Predictions:
    """The predictions of a .jsonl or .parquet file; DataError names the first row that can't be read."""
    found = Predictions()
    for number, row in enumerate(_rows(path), start=1):
        try:
            _take(row, found)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{path}, row {number}: {EXPECTED}; {error}") from error
    return found


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".parquet":
        import polars as pl

        try:
            yield from pl.read_parquet(path).iter_rows(named=True)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path} is no readable parquet file: {error}") from error
        return
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} is no readable file of predictions: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DataError(f"{path}, line {number} is no JSON: {error}") from error


def _take(row: Any, found: Predictions) -> None:
    task = row.get("task", row.get("task_id"))
    if type(task) is not int:
        raise ValueError(f"the task is {task!r}, no whole number")
    result, probs, vector = (_parsed(row.get(name)) for name in ("result", "probs", "embedding"))
    if result is None and probs is None and vector is None:
        raise ValueError(f"task {task} has none of them")
    if result is not None:
        if not isinstance(result, list) or not all(isinstance(region, dict) for region in result):
            raise ValueError(f"the result of task {task} is no list of regions")
        found.regions.setdefault(task, []).extend(result)
    if probs is not None:
        by_control = probs if all(isinstance(each, Mapping) for each in probs.values()) else {"": probs}
        for control, chances in by_control.items():
            read = {str(name): float(chance) for name, chance in chances.items() if chance is not None}
            if not all(0 <= chance <= 1 for chance in read.values()):
                raise ValueError(f"the probabilities of task {task} are not in [0, 1]")
            found.chances.setdefault(str(control), {})[task] = read
    if vector is not None:
        found.vectors[task] = [float(each) for each in vector]


def _parsed(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
