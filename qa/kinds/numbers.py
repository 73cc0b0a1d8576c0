"""One number for the task as a whole: stars of a rating, numbers, and moments (days since 1970)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.categories import judged_once, values_given
from qa.kinds.kind import Compared, Level, Ratio, Readings, no_classes, under

_NO_PAIR = "no two people gave a number to one task"
_DAY = 86400.0


class _Numbers:
    """Two numbers agree but for their difference, as a share of the larger one; two moments where they are the same."""

    headline = "krippendorff_alpha"
    ratios: Mapping[str, Ratio] = {"mean_absolute_difference": Ratio("apart", "n", _NO_PAIR)}
    class_ratios: Mapping[str, Ratio] = {}
    judged_prefix = ""

    def __init__(self, name: str, level: Level) -> None:
        self.name = name
        self.level: Level | None = level

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> float | None:
        """The number; of several that a label may hold the last one."""
        found = None
        for region in under(result, control):
            value = region.get("value")
            number = _number(value.get(control.value_key)) if isinstance(value, Mapping) else None
            found = found if number is None else number
        return found

    def compare(self, readings: Readings) -> Compared:
        left, right = readings.meetings()
        given = values_given(readings)
        both = given[left] & given[right]
        left, right = left[both], right[both]
        numbers = np.array([math.nan if value is None else value for value in readings.values], dtype=np.float64)
        apart = np.abs(numbers[left] - numbers[right])
        largest = np.maximum(np.abs(numbers[left]), np.abs(numbers[right]))
        # A day more or less is nothing beside the days since 1970.
        share = (apart > 0).astype(np.float64)
        if self.name != "moments":
            np.divide(apart, largest, out=share, where=largest > 0)
        score = np.maximum(1 - share, 0.0)
        pairs = pl.DataFrame({"left": left, "right": right, "score": score, "apart": apart, "n": np.ones(len(left))})
        return Compared(pairs, no_classes("apart", "n"), judged_once(readings, pl.Float64))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    text = str(value).strip()
    try:
        number = float(text)
        return number if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() / _DAY


RATINGS = _Numbers("ratings", "ordinal")
NUMBERS = _Numbers("numbers", "interval")
MOMENTS = _Numbers("moments", "interval")
