"""The gate: whether a candidate may replace the champion, judged on the same blind holdout by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from labelloop.values import Metrics

Outcome = Literal["promoted", "rejected", "undecided"]
Headline = Callable[[Sequence[Mapping[str, Any]]], float]

#: Fewer evaluated tasks than this decide nothing.
MIN_ITEMS = 10
#: Share of the resamples in which the candidate must be the better one (and below the complement: it is the worse one).
CONFIDENCE = 0.7


@dataclass(frozen=True)
class Verdict:
    """The gate's word, with the share of resamples in which the candidate was better (None without a champion)."""

    outcome: Outcome
    reason: str
    share_better: float | None = None


def judge(
    candidate: Metrics, champion: Metrics | None, headline: Headline, *, rounds: int = 400, seed: int = 0
) -> Verdict:
    """Compare a candidate with the champion, or with the baseline where there is no champion.

    Both must have been evaluated on the same items. Resampling items with replacement: Efron and Tibshirani, An
    Introduction to the Bootstrap (1993), chapter 16, paired by item.
    """
    if candidate.n < MIN_ITEMS:
        return Verdict("undecided", f"only {candidate.n} holdout tasks are labelled; {MIN_ITEMS} are needed")
    shown = f"{candidate.name} {candidate.value:.3f}"
    if champion is None:
        baseline = candidate.baseline or 0.0
        if candidate.value <= baseline:
            return Verdict("rejected", f"{shown} is no better than the baseline {baseline:.3f}")
        return Verdict("promoted", f"{shown}, baseline {baseline:.3f}; there was no champion")
    if len(candidate.per_item) != len(champion.per_item):
        raise ValueError(f"expected the same items, got {len(candidate.per_item)} and {len(champion.per_item)}")
    better = _share_better(candidate.per_item, champion.per_item, headline, rounds, seed)
    compared = f"{shown} against {champion.value:.3f}, better in {better:.0%} of resamples of {candidate.n} tasks"
    if candidate.value > champion.value and better >= CONFIDENCE:
        return Verdict("promoted", compared, better)
    if candidate.value < champion.value and better <= 1 - CONFIDENCE:
        return Verdict("rejected", compared, better)
    return Verdict("undecided", compared, better)


def _share_better(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], headline: Headline, rounds: int, seed: int
) -> float:
    draws = np.random.default_rng(seed).integers(0, len(ours), size=(rounds, len(ours)))
    wins = 0.0
    for draw in draws:
        difference = headline([ours[i] for i in draw]) - headline([theirs[i] for i in draw])
        wins += 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0
    return wins / rounds
