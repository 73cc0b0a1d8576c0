"""Agreement on values: percent agreement and Krippendorff's alpha, from one row per (unit, value) judgment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qa.measures.coefficients import Coefficient, measured, undefined

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Counts = NDArray[np.float64]

NO_UNITS = "no unit has values from two people"
ONE_VALUE = "every value is the same, so agreement by chance is certain"


def value_counts(units: Sequence[Any], values: Sequence[Any]) -> tuple[Counts, NDArray[Any]]:
    """(units x values table of how many people gave the value, the sorted values); a missing judgment is absent."""
    if len(units) != len(values):
        raise ValueError(f"expected one value per unit entry, got {len(units)} units and {len(values)} values")
    if not len(units):
        return np.zeros((0, 0)), np.array([])
    names, columns = np.unique(np.asarray(values), return_inverse=True)
    unit_names, rows = np.unique(np.asarray(units), return_inverse=True)
    table = np.bincount(rows * len(names) + columns, minlength=len(unit_names) * len(names))
    return table.reshape(len(unit_names), len(names)).astype(np.float64), names


def percent_agreement(units: Sequence[Any], values: Sequence[Any]) -> Coefficient:
    """Share of pairs of people within a unit that gave the same value, over all pairs."""
    counts, _ = value_counts(units, values)
    counts = _pairable(counts)
    pairs = _pairs(counts)
    if pairs == 0:
        return undefined(NO_UNITS)
    agreeing = float((counts * (counts - 1)).sum() / 2)
    return measured(agreeing / pairs, len(counts), pairs)


def krippendorff_alpha(units: Sequence[Any], values: Sequence[Any], level: Level = "nominal") -> Coefficient:
    """Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    One entry per judgment. `values` are numbers for the levels interval and ratio, and in rank order for ordinal.
    """
    counts, names = value_counts(units, values)
    counts = _pairable(counts)
    used = counts.sum(axis=0) > 0 if len(counts) else np.zeros(0, dtype=bool)
    pairs = _pairs(counts)
    if pairs == 0:
        return undefined(NO_UNITS)
    if used.sum() < 2:
        return undefined(ONE_VALUE, len(counts), pairs)
    return _alpha(counts[:, used], names[used], level, pairs)


def _alpha(counts: Counts, names: NDArray[Any], level: Level, pairs: int) -> Coefficient:
    per_unit = counts.sum(axis=1)
    # Each unit weighs as 1/(m-1), so that a unit with many people does not count by the square of their number.
    weighted = counts / (per_unit - 1)[:, None]
    coincidences = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = coincidences.sum(axis=0)
    n = totals.sum()
    distance = DISTANCES[level](names, totals)
    observed = float((coincidences * distance).sum() / n)
    expected = float((np.outer(totals, totals) * distance).sum() / (n * (n - 1)))
    if expected == 0.0:
        return undefined(ONE_VALUE, len(counts), pairs)
    return measured(1.0 - observed / expected, len(counts), pairs)


def _pairable(counts: Counts) -> Counts:
    return counts[counts.sum(axis=1) >= 2] if len(counts) else counts


def _pairs(counts: Counts) -> int:
    if not len(counts):
        return 0
    per_unit = counts.sum(axis=1)
    return int((per_unit * (per_unit - 1)).sum() / 2)


def _nominal(names: NDArray[Any], totals: Counts) -> Counts:
    return 1.0 - np.eye(len(totals))


def _ordinal(names: NDArray[Any], totals: Counts) -> Counts:
    # The published sum over the ranks between c and k, with half of each end, is the distance of their middle ranks.
    middle = np.cumsum(totals) - totals / 2
    squared: Counts = (middle[:, None] - middle[None, :]) ** 2
    return squared


def _interval(names: NDArray[Any], totals: Counts) -> Counts:
    numbers = names.astype(np.float64)
    squared: Counts = (numbers[:, None] - numbers[None, :]) ** 2
    return squared


def _ratio(names: NDArray[Any], totals: Counts) -> Counts:
    numbers = names.astype(np.float64)
    if (numbers < 0).any():
        raise ValueError(f"the ratio level needs values of zero or more, got {numbers.min()}")
    sums = numbers[:, None] + numbers[None, :]
    return np.divide(numbers[:, None] - numbers[None, :], sums, out=np.zeros_like(sums), where=sums > 0) ** 2


DISTANCES: dict[Level, Callable[[NDArray[Any], Counts], Counts]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
    "ratio": _ratio,
}
