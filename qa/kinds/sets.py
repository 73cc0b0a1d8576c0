"""Several classes for the task as a whole: multiple choices, and the paths of a taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import polars as pl

from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.categories import judged_once
from qa.kinds.kind import BETWEEN, Compared, Level, Ratio, Readings, labels_in, under

#: Between the steps of a path.
_STEP = " / "
_NOTHING = "nobody chose anything"


class _Sets:
    name = "sets"
    headline = "krippendorff_alpha"
    ratios: Mapping[str, Ratio] = {
        "mean_jaccard": Ratio("jaccard", "n", _NOTHING),
        "f1_labels": Ratio("common", "n_both", _NOTHING, 2.0),
    }
    class_ratios: Mapping[str, Ratio] = {"f1_labels": Ratio("common", "n_both", _NOTHING, 2.0)}
    level: Level | None = "sets"
    judged_prefix = ""

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> frozenset[str] | None:
        labels = chain.from_iterable(labels_in(region, control) for region in under(result, control))
        found = frozenset(_STEP.join(map(str, one)) if isinstance(one, list) else str(one) for one in labels)
        return found or None

    def compare(self, readings: Readings) -> Compared:
        left, right = readings.meetings()
        pairs: list[tuple[int, int, float, float, float, float, float]] = []
        classes: list[tuple[int, int, str, float, float, float, float]] = []
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            a, b = readings.values[i] or frozenset(), readings.values[j] or frozenset()
            common, every = len(a & b), len(a | b)
            jaccard = common / every
            pairs.append((i, j, jaccard, jaccard, 1.0, float(common), float(len(a) + len(b))))
            for label in sorted(a | b):
                n = float((label in a) + (label in b))
                classes.append((i, j, label, float(n == 2), 1.0, float(n == 2), n))
        sums = {"jaccard": pl.Float64, "n": pl.Float64, "common": pl.Float64, "n_both": pl.Float64}
        places = {"left": pl.Int64, "right": pl.Int64}
        # Who chose nothing where others chose something says that nothing fits; a task that nobody answered is no unit.
        answered = {int(readings.task[at]) for at, value in enumerate(readings.values) if value is not None}
        values = [
            BETWEEN.join(sorted(value or ())) if int(task) in answered else None
            for task, value in zip(readings.task, readings.values, strict=True)
        ]
        told = Readings(readings.task, readings.annotator, values)
        return Compared(
            pl.DataFrame(pairs, schema={**places, "score": pl.Float64, **sums}, orient="row"),
            pl.DataFrame(classes, schema={**places, "class": pl.String, **sums}, orient="row"),
            judged_once(told, pl.String),
        )


SETS = _Sets()
