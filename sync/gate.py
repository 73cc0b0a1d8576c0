"""The gate: whether a candidate may replace the champion, judged on the same blind holdout by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from backends.resampling import Floats, Scores
from labelloop.errors import DataError
from labelloop.values import Metrics

Outcome = Literal["promoted", "rejected", "undecided"]
#: `Trainer.scores`: headline and class scores of items for each row of weights.
Scoring = Callable[[Sequence[Mapping[str, Any]], Floats], Scores]

#: Fewer evaluated tasks than this decide nothing, not even about a first model.
MIN_ITEMS = 10
#: How far below the champion the candidate may be at the lower end of the interval.
MARGIN = 0.02
#: A class with so many holdout tasks has a floor: its score must not fall by more than CLASS_MARGIN beyond doubt.
CLASS_ITEMS = 20
CLASS_MARGIN = 0.05
#: Of the interval; its ends are the 5th and the 95th percentile of the resampled differences.
COVERAGE = 0.9
ROUNDS = 2000
#: Fallen classes that a reason names.
_TOLD = 5
#: Most weights at once: 64 MB.
_MOST_WEIGHTS = 8_000_000


@dataclass(frozen=True)
class Minimum:
    """The least evidence on which a champion is replaced: holdout tasks, or objects for a trainer that counts those."""

    tasks: int = 100
    objects: int = 150

    def lacking(self, metrics: Metrics) -> str | None:
        """What there is too little of, in words; None when it is enough."""
        if metrics.unit == "objects":
            found, needed, what = metrics.n_objects, self.objects, "labelled objects in the holdout"
        else:
            found, needed, what = metrics.n, self.tasks, "labelled holdout tasks"
        return f"{found} {what}, and {needed} are needed" if found < needed else None


@dataclass(frozen=True)
class Compared:
    """Two scores on the same items, and the 90 % interval of candidate minus champion; `items` hold what is scored."""

    candidate: float
    champion: float
    low: float
    high: float
    items: int

    @property
    def difference(self) -> float:
        """Candidate minus champion, to nine places: equal scores that were summed in another order are equal."""
        return round(self.candidate - self.champion, 9)

    def to_json(self) -> dict[str, Any]:
        """All figures, the difference among them."""
        return {
            "candidate": self.candidate, "champion": self.champion, "difference": self.difference,
            "interval": [self.low, self.high], "items": self.items,
        }  # fmt: skip

    def __str__(self) -> str:
        interval = f"90 % interval {self.low:+.3f} to {self.high:+.3f}"
        return f"{self.candidate:.3f} against {self.champion:.3f}: {self.difference:+.3f} ({interval})"


@dataclass(frozen=True)
class Verdict:
    """The gate's word, with the comparison behind it, whole and class by class; none without a champion."""

    outcome: Outcome
    reason: str
    headline: Compared | None = None
    classes: Mapping[str, Compared] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The figures as a training's record keeps them; nulls where nothing was compared."""
        whole = self.headline.to_json() if self.headline else dict.fromkeys(("difference", "interval"))
        return {
            "difference": whole["difference"],
            "interval": whole["interval"],
            "classes": {name: each.to_json() for name, each in self.classes.items()},
        }


def judge(
    candidate: Metrics,
    champion: Metrics | None,
    scoring: Scoring,
    minimum: Minimum = Minimum(),
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Verdict:
    """Compare a candidate with the champion, or with the baseline where there is no champion.

    Promoted: the difference is not below 0, the lower end of its interval not below -MARGIN, and no class fell beyond
    doubt. Rejected: the difference is below 0, or a class fell. Undecided: better as it seems, but it may as well be
    worse by more than MARGIN; or too little evidence. DataError when the two were not measured on the same tasks.

    Resamples of items with replacement, the same for both models: Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 16 (testing) and chapter 13 (percentile intervals).
    """
    shown = f"{candidate.name} {candidate.value:.3f}"
    if candidate.n < MIN_ITEMS:
        return Verdict(
            "undecided", f"cannot tell: only {candidate.n} holdout tasks are labelled; {MIN_ITEMS} are needed"
        )
    if champion is None:
        baseline = candidate.baseline or 0.0
        if candidate.value <= baseline:
            return Verdict("rejected", f"{shown} is no better than the baseline {baseline:.3f}")
        return Verdict("promoted", f"{shown}, baseline {baseline:.3f}; there was no champion to compare with")
    theirs = _in_order(candidate.per_item, champion.per_item)
    headline, classes = _compared(candidate.per_item, theirs, scoring, rounds, seed)
    outcome, why = _ruled(headline, classes, minimum.lacking(candidate))
    return Verdict(outcome, f"{why}{candidate.name} {headline} on {candidate.n} tasks", headline, classes)


def headline_interval(metrics: Metrics, scoring: Scoring, *, rounds: int = 400, seed: int = 0) -> list[float] | None:
    """[low, high], the 90 % interval of a model's headline over resamples of its items; None below MIN_ITEMS."""
    if metrics.n < MIN_ITEMS or len(metrics.per_item) < MIN_ITEMS:
        return None
    parts = [scoring(metrics.per_item, weights).headline for weights in _weights(len(metrics.per_item), rounds, seed)]
    low, high = np.quantile(np.concatenate(parts)[1:], [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]).tolist()
    return [low, high]


def _ruled(headline: Compared, classes: Mapping[str, Compared], lacking: str | None) -> tuple[Outcome, str]:
    """The outcome, and what is said before the headline's figures."""
    if lacking:
        return "undecided", f"cannot tell ({lacking}), the champion stays: "
    if fallen := sorted((name for name in classes if _fell(classes[name])), key=lambda name: classes[name].difference):
        more = f" and {len(fallen) - _TOLD} more classes" if len(fallen) > _TOLD else ""
        told = "; ".join(f"{name} {classes[name]}" for name in fallen[:_TOLD])
        return "rejected", f"fell beyond doubt: {told}{more}; all together: "
    if headline.difference < 0:
        return "rejected", "worse: " if headline.high < 0 else "not better: "
    if headline.low < -MARGIN:
        return "undecided", "cannot tell, the champion stays: "
    return "promoted", ""


def _fell(each: Compared) -> bool:
    return each.items >= CLASS_ITEMS and each.high < -CLASS_MARGIN


def _in_order(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The champion's items in the order of the candidate's; DataError when they are not of the same tasks."""
    wanted, found = [item["task_id"] for item in ours], {item["task_id"]: item for item in theirs}
    differing = sorted(set(wanted) ^ set(found))
    if differing or len(wanted) != len(theirs):
        some = ", ".join(map(str, differing[:5]))
        raise DataError(
            "candidate and champion must be measured on the same holdout tasks, each once; "
            f"got {len(wanted)} and {len(theirs)} with {len(differing)} that only one of them has ({some})"
        )
    return [found[task_id] for task_id in wanted]


def _compared(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], scoring: Scoring, rounds: int, seed: int
) -> tuple[Compared, dict[str, Compared]]:
    """Headline and classes of both on these items, with intervals of their differences over resamples."""
    parts = [(scoring(ours, weights), scoring(theirs, weights)) for weights in _weights(len(ours), rounds, seed)]
    items = parts[0][0].items
    if items != parts[0][1].items:
        raise DataError("candidate and champion must be measured against the same truth; their holdout classes differ")
    whole = _pair([(our.headline, their.headline) for our, their in parts], len(ours))
    classes = {
        name: _pair([(our.classes[name], their.classes[name]) for our, their in parts], count)
        for name, count in items.items()
    }
    return whole, classes


def _pair(parts: Sequence[tuple[Floats, Floats]], items: int) -> Compared:
    """Both scores (the first row) with the interval of their differences (the rows after it)."""
    candidate, champion = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    low, high = np.quantile(candidate[1:] - champion[1:], [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Compared(float(candidate[0]), float(champion[0]), float(low), float(high), items)


def _weights(items: int, rounds: int, seed: int) -> Iterator[Floats]:
    """How often each item is in the sample itself (the first row, ones) and in `rounds` resamples of it, part by part."""
    rng = np.random.default_rng(seed)
    yield np.ones((1, items))
    step = max(_MOST_WEIGHTS // items, 1)
    for start in range(0, rounds, step):
        count = min(step, rounds - start)
        drawn = rng.integers(0, items, size=(count, items)) + items * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)
