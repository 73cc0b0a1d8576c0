"""The learning curve: what trainings with more and more labels reached, what the next labels will add, and when to stop.

The curve is value(n) = top - b * n ** -c, an inverse power law of the labels n, fitted by weighted least squares: Figueroa,
Zeng-Treitler, Kandula and Ngo, Predicting sample size required for classification performance (2012). Its uncertainty
is that of the measured values, each as unsure as its bootstrap interval says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.store import TrainingRow

Floats = NDArray[np.float64]
#: Trainings with different numbers of labels below which nothing is forecast.
LEAST_POINTS = 4
#: A gain that is surely below this is a plateau: half a point of the metric.
PLATEAU = 0.005
#: Two versions in turn that say the same of so much of the open tasks are stable.
STABLE = 0.99
_EXPONENTS = np.linspace(0.1, 2.0, 39)
_ROUNDS = 400
#: A value whose interval is not known is taken for as unsure as this (a standard deviation).
_UNSURE = 0.02
_NINETY = 1.645


@dataclass(frozen=True)
class Point:
    """One training: how many labels it learned from, what it reached on the holdout, and how unsure that is (90 %)."""

    labels: int
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def deviation(self) -> float:
        """The standard deviation behind the interval."""
        if self.low is None or self.high is None:
            return _UNSURE
        return max((self.high - self.low) / (2 * _NINETY), 1e-3)


@dataclass(frozen=True)
class Forecast:
    """What `more` labels are expected to add to the metric: the middle and the ends of a 90 % interval."""

    more: int
    gain: float
    low: float
    high: float

    @property
    def is_plateau(self) -> bool:
        """Whether it is surely next to nothing."""
        return self.high < PLATEAU


def points_of(trainings: Sequence[TrainingRow]) -> list[Point]:
    """The points of finished trainings, by their labels; of several with as many labels the last one."""
    found: dict[int, Point] = {}
    for row in trainings:
        candidate, labels = row.metrics.get("candidate"), row.metrics.get("labels")
        if candidate and labels:
            low, high = row.metrics.get("interval") or (None, None)
            found[int(labels)] = Point(int(labels), float(candidate["value"]), low, high)
    return [found[labels] for labels in sorted(found)]


def forecast(points: Sequence[Point], more: int, *, seed: int = 0) -> Forecast | None:
    """What `more` labels will add; None with fewer than LEAST_POINTS points."""
    if len(points) < LEAST_POINTS:
        return None
    labels = np.array([point.labels for point in points], dtype=np.float64)
    values = np.array([point.value for point in points])
    deviations = np.array([point.deviation for point in points])
    drawn = np.random.default_rng(seed).normal(values, deviations, (_ROUNDS, len(points)))
    gains = _gains(labels, np.vstack([values, drawn]), 1 / deviations**2, labels[-1] + more)
    low, middle, high = np.percentile(gains[1:], (5, 50, 95)).tolist()
    return Forecast(more, middle, low, high)


def _gains(labels: Floats, rows: Floats, weights: Floats, target: float) -> Floats:
    """(rounds,) of each row of values the fitted curve's rise from the last point to `target` labels.

    For a given exponent the curve is a line in n ** -c; the exponent with the smallest error is taken. A curve that would
    fall is flat.
    """
    best: Floats = np.full(len(rows), np.inf)
    gains: Floats = np.zeros(len(rows))
    share = weights / weights.sum()
    for exponent in _EXPONENTS:
        # Relative to the first point, so that no power under- or overflows.
        x = (labels / labels[0]) ** -exponent
        ahead = (target / labels[0]) ** -exponent
        mean_x, mean_y = x @ share, rows @ share
        spread = ((x - mean_x) ** 2) @ share
        slope = np.minimum(((rows - mean_y[:, None]) * (x - mean_x)) @ share / max(spread, 1e-12), 0.0)
        top = mean_y - slope * mean_x
        error = ((rows - top[:, None] - slope[:, None] * x) ** 2) @ share
        better = error < best
        best = np.where(better, error, best)
        # No metric goes beyond 1, from where the last training was measured to be.
        last = np.maximum(top + slope * x[-1], rows[:, -1])
        rise = np.minimum(slope * (ahead - x[-1]), np.maximum(1.0 - last, 0.0))
        gains = np.where(better, rise, gains)
    return gains


def advice(found: Forecast | None, points: Sequence[Point], metric: str, stability: float | None) -> str:
    """One sentence for people: what the next labels are expected to add, and whether that is worth it."""
    if found is None:
        missing = LEAST_POINTS - len(points)
        return f"{len(points)} trainings so far; a forecast needs {missing} more"
    half = 100 * (found.high - found.low) / 2
    told = f"the next {found.more} labels are expected to add {100 * found.gain:.1f} ± {half:.1f} points of {metric}"
    if not found.is_plateau:
        return told
    if stability is None:
        return f"{told}: a plateau"
    if stability >= STABLE:
        return f"{told}, and the last two models say the same of {stability:.1%} of the open tasks: labelling may stop"
    return f"{told}: a plateau, but the last two models still differ on {1 - stability:.1%} of the open tasks"


def curve_report(trainings: Sequence[TrainingRow], more: int, stability: float | None) -> dict[str, Any]:
    """The curve, the forecast and the advice as plain values."""
    points = points_of(trainings)
    metric = next(
        (str(row.metrics["candidate"]["name"]) for row in reversed(trainings) if _measured(row)), "the metric"
    )
    found = forecast(points, more)
    return {
        "points": [{"labels": p.labels, "value": p.value, "low": p.low, "high": p.high} for p in points],
        "forecast": None
        if found is None
        else {"labels": found.more, "gain": found.gain, "low": found.low, "high": found.high},
        "plateau": None if found is None else found.is_plateau,
        "stability": stability,
        "may_stop": found is not None and found.is_plateau and stability is not None and stability >= STABLE,
        "advice": advice(found, points, metric, stability),
    }


def _measured(row: TrainingRow) -> bool:
    candidate: Mapping[str, Any] | None = row.metrics.get("candidate")
    return bool(candidate)
