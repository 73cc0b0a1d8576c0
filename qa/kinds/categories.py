"""One class for the task as a whole: single choices, and which of two is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings, labels_in, no_classes, under

#: Answers that are no class: nobody knows more by them, and the task goes to review.
_UNSURE = frozenset({"unsure", "not sure"})


def is_unsure(label: str) -> bool:
    """Whether a class says that its annotator could not tell."""
    return label.strip().casefold() in _UNSURE


def sure(value: Any, kind_name: str) -> Any | None:
    """An answer of classes without those that say that its annotator could not tell; None where nothing is left."""
    if value is None or kind_name not in ("categories", "sets"):
        return value
    if isinstance(value, frozenset):
        return frozenset(label for label in value if not is_unsure(label)) or None
    return None if is_unsure(value) else value


class _Categories:
    name = "categories"
    headline = "krippendorff_alpha"
    ratios: Mapping[str, Ratio] = {}
    class_ratios: Mapping[str, Ratio] = {}
    level: Level | None = "nominal"
    judged_prefix = ""

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> str | None:
        """The class; of several, which an export of an old config may have, all of them, sorted and joined by " | "."""
        found = {str(label) for region in under(result, control) for label in labels_in(region, control)}
        return " | ".join(sorted(found)) or None

    def compare(self, readings: Readings) -> Compared:
        left, right = readings.meetings()
        values = np.asarray(readings.values, dtype=object)
        both = values_given(readings)[left] & values_given(readings)[right]
        left, right = left[both], right[both]
        equal = (values[left] == values[right]).astype(np.float64)
        pairs = pl.DataFrame({"left": left, "right": right, "score": equal})
        return Compared(pairs, no_classes(), judged_once(readings, pl.String))


def values_given(readings: Readings) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of each reading whether it says anything."""
    return np.fromiter((value is not None for value in readings.values), np.bool_, len(readings))


def judged_once(readings: Readings, dtype: Any) -> pl.DataFrame:
    """Each task as one unit, judged by all who gave something."""
    given = values_given(readings)
    values = [value for value in readings.values if value is not None]
    places = np.flatnonzero(given)
    return pl.DataFrame(
        {"unit": readings.task[places], "place": places, "value": pl.Series(values, dtype=dtype)},
        schema_overrides={"unit": pl.Int64, "place": pl.Int64},
    )


CATEGORIES = _Categories()
