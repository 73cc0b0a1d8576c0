"""Items in an order, or dealt into buckets: how alike two people's orders are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings, no_classes, nothing_judged, under

_NO_PAIR = "no two people ranked the same items of one task"


class _Rankings:
    """Kendall's tau-b (Kendall 1945) over the items that both ranked, from -1 for turned around to 1 for the same order."""

    name = "rankings"
    headline = "kendall_tau"
    ratios: Mapping[str, Ratio] = {
        "kendall_tau": Ratio("tau", "n", _NO_PAIR),
        "exact_order": Ratio("exact", "n", _NO_PAIR),
    }
    class_ratios: Mapping[str, Ratio] = {}
    level: Level | None = None
    judged_prefix = ""

    def read(
        self, result: Sequence[Region], control: Control, data: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], ...] | None:
        """The items in groups, best first: each alone in a ranked list, those of a bucket together."""
        found: tuple[tuple[str, ...], ...] | None = None
        for region in under(result, control):
            value = region.get("value")
            ranked = value.get("ranker") if isinstance(value, Mapping) else None
            if isinstance(ranked, list):
                found = tuple((str(item),) for item in ranked) or None
            elif isinstance(ranked, Mapping):
                lists = [items for items in ranked.values() if isinstance(items, list)]
                alone = len(lists) == 1
                groups = [[(str(item),) for item in items] if alone else [tuple(map(str, items))] for items in lists]
                found = tuple(group for part in groups for group in part) or None
        return found if found is not None and any(found) else None

    def compare(self, readings: Readings) -> Compared:
        rows = []
        left, right = readings.meetings()
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            a, b = readings.values[i], readings.values[j]
            tau = None if a is None or b is None else kendall_tau_b(_ranks(a), _ranks(b))
            if tau is not None:
                rows.append((i, j, (tau + 1) / 2, tau, float(a == b), 1.0))
        numbers = ("score", "tau", "exact", "n")
        schema = {"left": pl.Int64, "right": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
        return Compared(pl.DataFrame(rows, schema=schema, orient="row"), no_classes(*numbers[1:]), nothing_judged())


def _ranks(groups: tuple[tuple[str, ...], ...]) -> dict[str, int]:
    return {item: rank for rank, group in enumerate(groups) for item in group}


def kendall_tau_b(first: Mapping[str, int], second: Mapping[str, int]) -> float | None:
    """Kendall's tau-b of the items that both ranked; None where there are fewer than two or all are level."""
    items = sorted(first.keys() & second.keys())
    agreed = of_first = of_second = 0
    for a, b in combinations(items, 2):
        x, y = _sign(first[a] - first[b]), _sign(second[a] - second[b])
        agreed += x * y
        of_first += abs(x)
        of_second += abs(y)
    return agreed / math.sqrt(of_first * of_second) if of_first and of_second else None


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


RANKINGS = _Rankings()
