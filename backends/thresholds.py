"""The score above which people see a suggestion, chosen per class so that what is shown is right often enough."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

DEFAULT = 0.3
PRECISION = 0.7
LEAST = 20
_LEAST_SHOWN = 5


def precision_threshold(scored: Sequence[tuple[float, bool]], precision: float = PRECISION) -> float:
    """The lowest score at and above which at least `precision` of the (score, right) pairs are right.

    At least five pairs must remain above it; 1.0, which shows nothing, when no score reaches the precision.
    """
    ordered = sorted(scored, key=lambda pair: -pair[0])
    found, right = 1.0, 0
    for rank, (score, is_right) in enumerate(ordered, start=1):
        right += is_right
        last_of_ties = rank == len(ordered) or ordered[rank][0] < score
        if last_of_ties and rank >= _LEAST_SHOWN and right / rank >= precision:
            found = score
    return found


def show_thresholds(
    out_of_fold: Mapping[str, Sequence[tuple[float, bool]]], classes: Sequence[str]
) -> dict[str, float]:
    """The threshold of each class from out-of-fold (score, right) pairs, which lie in [0, 1].

    A class with fewer than LEAST pairs takes the threshold of all classes together; DEFAULT while there are fewer than
    LEAST pairs in all.
    """
    together = [pair for name in classes for pair in out_of_fold.get(name, ())]
    if len(together) < LEAST:
        return dict.fromkeys(classes, DEFAULT)
    shared = precision_threshold(together)
    return {
        name: round(precision_threshold(own) if len(own := out_of_fold.get(name, ())) >= LEAST else shared, 4)
        for name in classes
    }


def without_hidden(
    thresholds: Mapping[str, Mapping[str, float]], hidden: Mapping[str, Collection[str]]
) -> Mapping[str, Mapping[str, float]]:
    """Thresholds by control and class that no score of a hidden class reaches; the others as they are."""
    if not hidden:
        return thresholds
    closed = {control: dict.fromkeys(names, math.inf) for control, names in hidden.items()}
    return {control: {**thresholds.get(control, {}), **closed.get(control, {})} for control in {*thresholds, *closed}}
