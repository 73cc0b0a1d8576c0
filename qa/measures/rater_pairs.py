"""Every pair of raters over the units that both judged: how often they agree, and Cohen's kappa.

Cohen 1960 (kappa), Cohen 1968 (weighted kappa; linear weights |i-j| and quadratic weights (i-j)^2 as disagreement).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from qa.measures.chance import MOST_VALUES, NO_UNITS, ONE_VALUE
from qa.measures.coefficients import Coefficient, measured, undefined
from qa.measures.ratings import Floats, Ints, Ratings

Weights = Literal["none", "linear", "quadratic"]

REPEATED = "repeated_ratings"
#: Cells of the tables of pairs by values that are held at a time.
_CELLS = 20_000_000


@dataclass(frozen=True)
class RaterPairs:
    """Pairs of raters that share a unit, one entry each: raters as places among the names (first < second), shared units,
    how many of those they agree on, and Cohen's kappa (nan where it is undefined). `repeated`: somebody judged a unit twice.
    """

    first: Ints
    second: Ints
    shared: Ints
    agreeing: Ints
    kappa: Floats
    repeated: bool

    @property
    def mean_kappa(self) -> Coefficient:
        """The kappas, each weighted by the units that its pair shares; undefined ones are left out.

        Undefined when somebody judged a unit twice.
        """
        if self.repeated:
            return undefined(REPEATED)
        if not len(self.shared):
            return undefined(NO_UNITS)
        known = ~np.isnan(self.kappa)
        if not known.any():
            return undefined(ONE_VALUE, int(self.shared.sum()), len(self.shared))
        weights = self.shared[known]
        return measured(
            float((self.kappa[known] * weights).sum() / weights.sum()), int(weights.sum()), int(known.sum())
        )


def rater_pairs(ratings: Ratings, weights: Weights = "none") -> RaterPairs:
    """The pairs of raters that judged a unit both. Who judged a unit twice is a pair with others twice, never with themselves.

    Of weighted kappas the values count by their place in order. ValueError for more than MOST_VALUES of them.
    """
    return pairs_met(
        *ratings.meetings, len(ratings.value_names), len(ratings.rater_names), weights, repeated=ratings.is_repeated
    )


def pairs_met(
    pairs: Ints,
    left: Ints,
    right: Ints,
    k: int,
    people: int,
    weights: Weights = "none",
    *,
    often: Floats | None = None,
    repeated: bool = False,
) -> RaterPairs:
    """The same of meetings as `Ratings.meetings` has them, of `people` raters with `k` values; `often`: how often each was."""
    if k > MOST_VALUES:
        raise ValueError(f"expected {MOST_VALUES} different values at most, got {k}")
    codes, at = _places(pairs, people)
    shared = np.bincount(at, weights=often, minlength=len(codes)).astype(np.int64)
    agreed: Floats = np.where(left == right, 1.0 if often is None else often, 0.0)
    agreeing = np.bincount(at, weights=agreed, minlength=len(codes)).astype(np.int64)
    disagreement = _disagreement(k, weights)
    kappa = np.full(len(codes), np.nan)
    several = max(1, _CELLS // max(1, 2 * k))
    # Where not all tables fit, the pairs go in order, some of them at a time.
    order = np.argsort(at, kind="stable") if len(codes) > several else None
    rows_of = shared if often is None else np.bincount(at, minlength=len(codes))
    ends = np.cumsum(rows_of)
    for start in range(0, len(codes), several):
        stop = min(start + several, len(codes))
        those = slice(None) if order is None else order[(ends[start] - rows_of[start]) : ends[stop - 1]]
        rows, a, b = at[those] - start, left[those], right[those]
        each = None if often is None else often[those]
        size = (stop - start) * k
        given = [np.bincount(rows * k + said, weights=each, minlength=size).reshape(-1, k) for said in (a, b)]
        count = shared[start:stop].astype(np.float64)
        if weights == "none":
            seen = 1.0 - agreeing[start:stop] / count
        else:
            apart = disagreement[a, b] if each is None else disagreement[a, b] * each
            seen = np.bincount(rows, weights=apart, minlength=stop - start) / count
        chance = ((given[0] @ disagreement) * given[1]).sum(axis=1) / count**2
        share = np.divide(seen, chance, out=np.zeros_like(seen), where=chance > 0)
        kappa[start:stop] = np.where(chance > 0, 1 - share, np.nan)
    first, second = np.divmod(codes, max(1, people))
    return RaterPairs(first, second, shared, agreeing, kappa, repeated)


def cohens_kappa_mean(ratings: Ratings, weights: Weights = "none") -> Coefficient:
    """Cohen's kappa of every pair of raters, weighted by shared units; undefined when somebody judged a unit twice."""
    return rater_pairs(ratings, weights).mean_kappa


def _places(pairs: Ints, people: int) -> tuple[Ints, Ints]:
    """(the codes that there are, the place of each among them)"""
    if people**2 > 4 * len(pairs) + 1024:
        codes, at = np.unique(pairs, return_inverse=True)
        return codes, at
    there = np.bincount(pairs, minlength=people**2) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[pairs]


def _disagreement(k: int, weights: Weights) -> Floats:
    places = np.arange(k, dtype=np.float64)
    steps = np.abs(places[:, None] - places[None, :])
    return {"none": (steps > 0).astype(np.float64), "linear": steps, "quadratic": steps**2}[weights]
