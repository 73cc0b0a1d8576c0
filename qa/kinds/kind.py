"""What a kind of answer tells of itself, so that agreement is counted in one way for all of them.

`compare` gives tables of sums: agreement by project, pair, class or week is their total over the rows that belong there, and
what changed is taken out and put in again without touching the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from labelloop.label_config import Control
from labelloop.values import Region
from qa.measures.chance import Level
from qa.measures.ratings import BETWEEN, Ints

__all__ = [
    "BETWEEN",
    "Compared",
    "Kind",
    "Level",
    "Ratio",
    "Readings",
    "is_untouched",
    "labels_in",
    "no_classes",
    "nothing_judged",
    "under",
]


@dataclass(frozen=True)
class Readings:
    """What people said under one control, one entry each, in order of the task; nobody is twice in a task.

    `values` are what the kind's `read` gave; None where somebody gave nothing. Places in it count from 0.
    """

    task: Ints
    annotator: Ints
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.values)

    def at(self, places: Ints) -> Readings:
        """Some of them, in order."""
        return Readings(self.task[places], self.annotator[places], [self.values[place] for place in places.tolist()])

    def tasks(self) -> Iterator[tuple[int, int]]:
        """(place of the first, place after the last) of each task."""
        if not len(self):
            return
        inner = (np.flatnonzero(np.diff(self.task)) + 1).tolist()
        yield from zip([0, *inner], [*inner, len(self)], strict=True)

    def meetings(self) -> tuple[Ints, Ints]:
        """(place, place) of every two readings of a task of which one at least gave something, the earlier place first."""
        given = np.fromiter((value is not None for value in self.values), np.bool_, len(self))
        left: list[Ints] = [np.zeros(0, np.int64)]
        right = left.copy()
        for apart in range(1, max((after - first for first, after in self.tasks()), default=1)):
            here: Ints = np.flatnonzero(self.task[apart:] == self.task[:-apart])
            here = here[given[here] | given[here + apart]]
            left.append(here)
            right.append(here + apart)
        first, second = np.concatenate(left), np.concatenate(right)
        order = np.lexsort((second, first))
        return first[order], second[order]


@dataclass(frozen=True)
class Ratio:
    """A metric that is one sum over another: names of columns, and why it is undefined where the lower one is zero."""

    over: str
    under: str
    reason: str
    factor: float = 1.0


@dataclass(frozen=True)
class Compared:
    """Every two readings of a task, as tables.

    `pairs` has a row for each of `Readings.meetings`: `left` and `right` (Int64, their places), `score` (how far the two agree,
    in [0, 1]), and the sums that the kind's `ratios` are made of (Float64).
    `by_class` has the same columns but the score for single classes, with `class` (String): rows only where one of the two
    has that class.
    `judged` has what is judged by value, for coefficients that correct for chance: `unit` (Int64, any number that differs
    between units; a unit lies in one task), `place` (Int64, whose judgment it is) and `value` (String, or Float64 for levels
    of numbers); without rows where a kind has none.
    """

    pairs: pl.DataFrame
    by_class: pl.DataFrame
    judged: pl.DataFrame


class Kind(Protocol):
    """One kind of answer."""

    name: str
    #: The metric that is told first, one of those that come of `ratios` or `judged`.
    headline: str
    #: metric -> the sums that it is made of, over the rows of `pairs`, and of `by_class`.
    ratios: Mapping[str, Ratio]
    class_ratios: Mapping[str, Ratio]
    #: Level of the values in `judged`; None where there are none.
    level: Level | None
    #: Before the names of the coefficients of `judged`: "" where a task is one unit, else what a unit is ("token_").
    judged_prefix: str

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Any | None:
        """What one label says under a control; None for nothing. Regions that can't be read are left out.

        `result` has all regions of the label, also those of other controls; `data` is the data of its task ({} if unknown).
        """
        ...

    def compare(self, readings: Readings) -> Compared:
        """How far people agree, of every two of a task."""
        ...


def nothing_judged() -> pl.DataFrame:
    """The table of judgments of a kind that has none."""
    return pl.DataFrame(schema={"unit": pl.Int64, "place": pl.Int64, "value": pl.String})


def no_classes(*sums: str) -> pl.DataFrame:
    """The table of classes of a kind that has none, with the columns of its sums."""
    return pl.DataFrame(
        schema={"left": pl.Int64, "right": pl.Int64, "class": pl.String, **dict.fromkeys(sums, pl.Float64)}
    )


def under(result: Sequence[Region], control: Control) -> list[Region]:
    """The regions of a label that belong to a control, about the task or its parts."""
    return [
        region
        for region in result
        if region.get("from_name") == control.name and region.get("type") == control.region_type
    ]


def labels_in(region: Region, control: Control) -> list[Any]:
    """The classes that a region carries, as they are stored; for a taxonomy lists of steps."""
    value = region.get("value")
    found = value.get(control.value_key) if isinstance(value, Mapping) else None
    return list(found) if isinstance(found, list) else [] if found is None else [found]


def is_untouched(region: Region) -> bool:
    """Whether a submitted region is a suggestion that its person left as it was.

    Label Studio notes "prediction", "prediction-changed" or "manual"; a region without a note was not suggested by it.
    """
    return region.get("origin") == "prediction"
