"""Whether a difference is more than chance: intervals of shares, paired differences, trends, and changes at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from qa.measures.ratings import Floats

#: Standard errors that 95 of 100 cases stay within, and 99 of 100: flags need the latter, as many people are looked at.
Z95, Z99 = 1.959964, 2.575829


@dataclass(frozen=True)
class Figure:
    """A number with its 95% interval; `value` is None exactly when `reason` says why. `n` counts what it is a mean of."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """value, ci, n and reason as plain JSON values."""
        return {
            "value": rounded(self.value),
            "ci": None if self.low is None or self.high is None else [rounded(self.low), rounded(self.high)],
            "n": self.n,
            "reason": self.reason,
        }


def nothing(reason: str, n: int = 0) -> Figure:
    """A figure that can't be told, and why."""
    return Figure(None, n, reason=reason)


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A number for JSON."""
    return None if value is None else round(float(value), digits)


def wilson(total: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a share `total / n`, n > 0.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference". Of scores between 0 and 1 it is at least
    as wide as need be: none with their mean vary more than zeros and ones.
    """
    share = total / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends half is middle but for rounding.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def share_of(scores: Floats, reason: str) -> Figure:
    """The mean of scores between 0 and 1 with Wilson's interval; `reason` says why there are none."""
    n = len(scores)
    if not n:
        return nothing(reason)
    total = min(max(float(scores.sum()), 0.0), float(n))
    return Figure(total / n, n, *wilson(total, n))


def two_sided(z: float) -> float:
    """The probability of a standard normal number at least as far from zero."""
    return float(special.erfc(abs(z) / math.sqrt(2)))


def paired(total: float, squares: float, n: int) -> tuple[float, float]:
    """(mean, two-sided p by the normal distribution) of n differences with this sum and sum of squares; p 1 where none differ."""
    mean = total / n
    spread = squares - n * mean * mean
    if n < 2 or squares == 0:
        return mean, 1.0
    # All differences the same, and not zero: as sure as the number of them allows.
    error = math.sqrt(max(spread, mean * mean) / (n - 1) / n)
    return mean, two_sided(mean / error) if error > 0 else 1.0


@dataclass(frozen=True)
class Change:
    """How a row of scores changed: at the place `at` from a mean of `before` to `after`; by `slope` from first to last.

    `p` and `slope_p` are how often chance alone would do as much.
    """

    at: int
    before: float
    after: float
    p: float
    slope: float
    slope_p: float


def change_in(scores: Floats) -> Change:
    """The likeliest place of one change of the mean, and the trend, of scores in order of time (two or more).

    The cumulated sum of deviations from the mean, at its largest, over its standard error: of scores without change it is the
    largest distance of a Brownian bridge from zero (Kolmogorov's distribution; Csörgő and Horváth 1997, "Limit Theorems in
    Change-Point Analysis"). The trend is a least squares line with the normal distribution.
    """
    n = len(scores)
    deviations = scores - scores.mean()
    variance = float(deviations @ deviations) / n
    walk = np.abs(np.cumsum(deviations)[:-1])
    at = int(walk.argmax()) + 1
    before, after = float(scores[:at].mean()), float(scores[at:].mean())
    if variance <= 1e-12:
        return Change(at, before, after, 1.0, 0.0, 1.0)
    p = float(special.kolmogorov(float(walk[at - 1]) / math.sqrt(variance * n)))
    time = np.linspace(-0.5, 0.5, n)
    slope = float(time @ deviations) / float(time @ time)
    return Change(at, before, after, p, slope, two_sided(slope * math.sqrt(float(time @ time) / variance)))
