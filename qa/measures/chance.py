"""Agreement of judgments on values, with and without the part that chance explains, all from one table of patterns.

percent_agreement   pairs of judgments of a unit that are equal, over all such pairs
fleiss_kappa        Fleiss 1971, with unequal numbers of judgments as in Gwet 2014, chapter 2
krippendorff_alpha  Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": nominal, ordinal, interval, ratio;
                    of sets with one minus their Jaccard index as distance, krippendorff_alpha_masi with that of
                    Passonneau 2006, "Measuring Agreement on Set-valued Items (MASI)"
gwet_ac1, gwet_ac2  Gwet 2008; AC2 with the weights of its level as in Gwet 2014, chapter 3

Intervals are the 2.5th to 97.5th percentiles of bootstrap samples over units (Poisson counts, so that units of one pattern are
drawn together), or over groups of units where units of one group depend on each other, as the words of a text do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qa.measures.coefficients import Coefficient, measured, undefined
from qa.measures.ratings import BETWEEN, Floats, Ints, Patterns, Ratings

#: How values are apart: as names, ranks, numbers, numbers with a true zero, or sets (names joined by BETWEEN).
Level = Literal["nominal", "ordinal", "interval", "ratio", "sets"]

NO_UNITS = "no unit has values from two people"
ONE_VALUE = "every value is the same, so agreement by chance is certain"
#: More distinct values than this have no table of weights for each pair of them.
MOST_VALUES = 4000
_TOO_MANY = f"more than {MOST_VALUES} different values: no table of weights"
#: Bootstrap samples, and how many numbers are drawn at most.
_SAMPLES, _DRAWS = 1000, 50_000_000


@dataclass(frozen=True)
class Interval:
    """A coefficient and the bounds that 95 of 100 samples of units stay within; None where there are none."""

    coefficient: Coefficient
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Groups:
    """Which units belong together: `count` units of the group `group` (codes from 0) have the pattern `pattern` (a place)."""

    group: Ints
    pattern: Ints
    count: Ints


def agreement_of(
    ratings: Ratings, level: Level = "nominal", *, samples: int = _SAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Every coefficient of a level by name, with its interval.

    `samples` bootstrap samples are drawn (fewer where there are very many patterns; 0: no intervals).
    """
    return agreement_in(ratings.patterns, ratings.value_names, level, samples=samples, seed=seed)


def agreement_in(
    patterns: Patterns,
    value_names: NDArray[Any],
    level: Level = "nominal",
    *,
    groups: Groups | None = None,
    samples: int = _SAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """The same of counted patterns; `value_names` in order are what their codes mean. With `groups` whole groups are drawn."""
    table = _Table(patterns, value_names, level)
    found = table.coefficients()
    if not samples or not len(table.n):
        return {name: Interval(each) for name, each in found.items()}
    source = np.random.default_rng(seed)
    rows = len(table.n) if groups is None else len(groups.count)
    count = max(100, min(samples, _DRAWS // rows))
    drawn: dict[str, list[float]] = {name: [] for name, each in found.items() if each.value is not None}
    for _ in range(count):
        sample = table.values(_sample(table.n, groups, source))
        for name, values in drawn.items():
            if (value := sample[name]) is not None:
                values.append(value)
    bounds = {
        name: np.percentile(values, (2.5, 97.5)).tolist()
        for name, values in drawn.items()
        # With units that hardly differ, few samples have the coefficient: their percentiles would tell of those alone.
        if len(values) >= 0.9 * count
    }
    return {name: Interval(each, *bounds.get(name, (None, None))) for name, each in found.items()}


def _sample(n: Floats, groups: Groups | None, source: np.random.Generator) -> Floats:
    """How many units of each pattern one bootstrap sample has."""
    if groups is None:
        return source.poisson(n).astype(np.float64)
    often = source.poisson(1.0, int(groups.group.max(initial=0)) + 1)
    return np.bincount(groups.pattern, weights=groups.count * often[groups.group], minlength=len(n)).astype(np.float64)


class _Table:
    """The sums over patterns that the coefficients are made of; `n` are the units of each pattern."""

    def __init__(self, every: Patterns, value_names: NDArray[Any], level: Level) -> None:
        self.level = level
        self.k = len(value_names)
        self.patterns = every
        self.n = every.counts.astype(np.float64)
        self.m = every.sizes.astype(np.float64)
        self.two = every.sizes >= 2
        self.scores = _scores(value_names, level)
        self.weights = None
        if level == "sets" and self.k <= MOST_VALUES:
            self.weights, self.masi = _likeness(value_names)
        elif level not in ("nominal", "sets") and self.k <= MOST_VALUES:
            self.weights = _weights(self.scores, level)
        self._pairs = self.m * (self.m - 1)
        # Shares of each pattern's pairs are the same in every bootstrap sample.
        self._each = np.divide(1.0, self._pairs, out=np.zeros_like(self.m), where=self.two)
        self._equal = _over_pairs(every, lambda a, b: (a == b).astype(np.float64))
        if self.weights is not None:
            weights = self.weights
            self._weighted = _over_pairs(every, lambda a, b: weights[a, b])
            if level == "sets":
                masi = self.masi
                self._by_masi = _over_pairs(every, lambda a, b: masi[a, b])
        if level == "ratio":
            self._ratio = _over_pairs(every, lambda a, b: _ratio(self.scores[a], self.scores[b]))

    def coefficients(self) -> dict[str, Coefficient]:
        """Each coefficient by name."""
        values = self.values(self.n)
        units = int(self.n[self.two].sum())
        pairs = int((self.n * self._pairs)[self.two].sum() / 2)
        found = {}
        for name, value in values.items():
            if value is not None:
                found[name] = measured(value, units, pairs)
            elif not units:
                found[name] = undefined(NO_UNITS)
            elif self.weights is None and (name == "gwet_ac2" or (self.level == "sets" and "alpha" in name)):
                found[name] = undefined(_TOO_MANY, units, pairs)
            else:
                found[name] = undefined(ONE_VALUE, units, pairs)
        return found

    def values(self, n: Floats) -> dict[str, float | None]:
        """Each coefficient with these numbers of units in the patterns; None where it is undefined."""
        of_two = np.where(self.two, n, 0.0)
        pairs = float((of_two * self._pairs).sum())
        names = ["percent_agreement", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1"]
        if self.level != "nominal":
            names.append("gwet_ac2")
        if self.level == "sets":
            names.append("krippendorff_alpha_masi")
        if pairs == 0.0:
            return dict.fromkeys(names)
        observed = float((of_two * (self._equal * self._each)).sum() / of_two.sum())
        mean = self._totals(np.divide(n, self.m, out=np.zeros_like(n), where=self.m > 0)) / n[self.m > 0].sum()
        found: dict[str, float | None] = {
            "percent_agreement": float((of_two * self._equal).sum() / pairs),
            "fleiss_kappa": _corrected(observed, float((mean**2).sum())),
            "krippendorff_alpha": self._alpha(of_two),
            "gwet_ac1": self._gwet(observed, mean, float(self.k)),
        }
        if self.level != "nominal":
            found["gwet_ac2"] = None
            if self.weights is not None:
                observed = float((of_two * (self._weighted * self._each)).sum() / of_two.sum())
                found["gwet_ac2"] = self._gwet(observed, mean, float(self.weights.sum()))
        if self.level == "sets":
            found["krippendorff_alpha_masi"] = None
            if self.weights is not None:
                found["krippendorff_alpha_masi"] = self._alpha_of_sets(of_two, self._by_masi, self.masi)
        return found

    def _gwet(self, observed: float, mean: Floats, weight: float) -> float | None:
        """AC1, or AC2: `weight` is the sum of the table of weights, of which AC1's is the identity."""
        if self.k < 2:
            return None
        return _corrected(observed, weight * float((mean * (1 - mean)).sum()) / (self.k * (self.k - 1)))

    def _totals(self, n: Floats) -> Floats:
        """How often each value was given, where each pattern's units count as `n`."""
        patterns = self.patterns
        return np.bincount(patterns.values, weights=n[patterns.owners], minlength=self.k).astype(np.float64)

    def _alpha_of_sets(self, n: Floats, alike: Floats, likeness: Floats) -> float | None:
        totals = self._totals(n)
        count = float(totals.sum())
        each = np.divide(n, self.m - 1, out=np.zeros_like(n), where=self.two)
        apart = float((each * (self._pairs - alike)).sum())
        chance = count**2 - float(totals @ likeness @ totals)
        return None if chance <= 1e-9 * count else 1.0 - apart * (count - 1) / chance

    def _alpha(self, n: Floats) -> float | None:
        if self.level == "sets":
            return None if self.weights is None else self._alpha_of_sets(n, self._weighted, self.weights)
        totals = self._totals(n)
        count = totals.sum()
        # Each unit weighs as 1/(m-1): one with many judgments does not count by the square of their number.
        each = np.divide(n, self.m - 1, out=np.zeros_like(n), where=self.two)
        if self.level == "nominal":
            apart = float((each * (self._pairs - self._equal)).sum())
            chance = float(count**2 - (totals**2).sum())
        elif self.level == "ratio":
            apart = float((each * self._ratio).sum())
            chance = _all_ratios(self.scores, totals)
        else:
            scores = self.scores if self.level == "interval" else np.cumsum(totals) - totals / 2
            # Squares of differences are sums of squares about any middle; the mean keeps them small.
            scores = scores - (totals @ scores) / count
            apart = float((each * self._squares(scores)).sum())
            chance = float(2 * count * (totals @ scores**2) - 2 * (totals @ scores) ** 2)
        # 1 - (apart / count) / (chance / (count * (count - 1)))
        return None if chance <= 0.0 else 1.0 - apart * (float(count) - 1) / chance

    def _squares(self, scores: Floats) -> Floats:
        """Of each pattern the sum of squared differences over its ordered pairs."""
        patterns = self.patterns
        given = scores[patterns.values]
        rows = len(patterns.sizes)
        sums = np.bincount(patterns.owners, weights=given, minlength=rows)
        squares = np.bincount(patterns.owners, weights=given**2, minlength=rows)
        return np.maximum(2 * self.m * squares - 2 * sums**2, 0.0)


def _corrected(observed: float, chance: float) -> float | None:
    return None if 1.0 - chance <= 1e-12 else (observed - chance) / (1.0 - chance)


def _over_pairs(patterns: Patterns, of: Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]) -> Floats:
    """Of each pattern the sum over its ordered pairs of judgments of a symmetric function of two values."""
    sums = np.zeros(len(patterns.sizes))
    for size in np.unique(patterns.sizes[patterns.sizes >= 2]).tolist():
        at = np.flatnonzero(patterns.sizes == size)
        rows = patterns.values[patterns.starts[at][:, None] + np.arange(size)]
        for apart in range(1, size):
            sums[at] += 2 * of(rows[:, apart:], rows[:, :-apart]).sum(axis=1)
    return sums


def _scores(names: NDArray[Any], level: Level) -> Floats:
    """The number behind each value: of ordinal values their place; ValueError where a level needs other numbers."""
    if level in ("nominal", "ordinal", "sets"):
        return np.arange(len(names), dtype=np.float64)
    try:
        scores = np.asarray(names, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the level {level} needs numbers, got values like {names[:3].tolist()}") from error
    if level == "ratio" and len(scores) and scores.min() < 0:
        raise ValueError(f"the ratio level needs values of zero or more, got {scores.min()}")
    return scores


def _likeness(names: NDArray[Any]) -> tuple[Floats, Floats]:
    """(Jaccard index, one minus the MASI distance) of every two sets; two empty ones are alike."""
    sets = [frozenset(str(name).split(BETWEEN)) if name else frozenset() for name in names.tolist()]
    members = sorted(frozenset[str]().union(*sets))
    at = {member: place for place, member in enumerate(members)}
    holds = np.zeros((len(sets), len(members)))
    for row, one in enumerate(sets):
        holds[row, [at[member] for member in one]] = 1.0
    sizes, common = holds.sum(axis=1), holds @ holds.T
    every = sizes[:, None] + sizes[None, :] - common
    jaccard = np.divide(common, every, out=np.ones_like(common), where=every > 0)
    within = common == np.minimum(sizes[:, None], sizes[None, :])
    monotone = np.where(common == 0, 0.0, np.where(within, 2 / 3, 1 / 3))
    same = jaccard == 1.0
    return jaccard, np.where(same, 1.0, jaccard * monotone)


def _weights(scores: Floats, level: Level) -> Floats:
    """Gwet's weights of a level: 1 for equal values, 0 for those furthest apart."""
    if level == "ordinal":
        steps = np.abs(scores[:, None] - scores[None, :])
        distance = steps * (steps + 1) / 2
    elif level == "ratio":
        distance = _ratio(scores[:, None], scores[None, :])
    else:
        distance = (scores[:, None] - scores[None, :]) ** 2
    most = distance.max() if distance.size else 0.0
    return 1.0 - distance / most if most > 0 else np.ones_like(distance)


def _ratio(a: Floats, b: Floats) -> Floats:
    sums = a + b
    return np.divide(a - b, sums, out=np.zeros_like(sums), where=sums > 0) ** 2


def _all_ratios(scores: Floats, totals: Floats) -> float:
    """The sum over all pairs of values, block by block: there may be many."""
    found = 0.0
    for first in range(0, len(scores), 1024):
        block = slice(first, first + 1024)
        found += float(totals[block] @ (_ratio(scores[block][:, None], scores[None, :]) @ totals))
    return found
