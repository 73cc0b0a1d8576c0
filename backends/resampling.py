"""A model's scores on many weighted versions of the same items at once: what the gate's bootstrap asks of a trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: One item: how often each class was rightly said ("tp"), wrongly said ("fp") and missed ("fn").
ItemCounts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Scores:
    """The headline (rounds,) and the score of each class (rounds,), all 0..1, by rows of weights.

    `items` says how many of the items, each counted once, have the class among their truths.
    """

    headline: Floats
    classes: Mapping[str, Floats]
    items: Mapping[str, int]


@dataclass(frozen=True)
class F1Scores:
    """F1 by rows of weights: over all classes together (micro), their mean (macro), and of each, (rounds, classes).

    Macro counts the classes that are true of an item of weight; without any, and without anything said, it is 0.
    """

    names: tuple[str, ...]
    items: tuple[int, ...]
    micro: Floats
    macro: Floats
    by_class: Floats

    def scores(self, headline: Floats, prefix: str = "") -> Scores:
        """The classes with truths, beside the headline that was chosen."""
        there = [(at, name) for at, name in enumerate(self.names) if self.items[at]]
        return Scores(
            headline,
            {prefix + name: self.by_class[:, at] for at, name in there},
            {prefix + name: self.items[at] for at, name in there},
        )


def f1_scores(items: Sequence[ItemCounts], weights: Floats) -> F1Scores:
    """F1 of these items for each row of `weights` (rounds, items), from sums of their counts.

    A weight says how often a resample holds the item; counts add up, so a resample is a product of matrices.
    """
    names = sorted({name for item in items for counts in item.values() for name in counts})
    place = {name: at for at, name in enumerate(names)}
    table = np.zeros((3, len(items), len(names)))
    for kind, key in enumerate(("tp", "fp", "fn")):
        for at, item in enumerate(items):
            for name, count in item[key].items():
                table[kind, at, place[name]] = count
    tp, fp, fn = (weights @ counts for counts in table)
    true = tp + fn > 0
    by_class = _f1(tp, fp, fn)
    return F1Scores(
        tuple(names),
        tuple(((table[0] + table[2]) > 0).sum(axis=0).tolist()),
        _f1(tp.sum(axis=1), fp.sum(axis=1), fn.sum(axis=1)),
        ratio((by_class * true).sum(axis=1), true.sum(axis=1)),
        by_class,
    )


def _f1(tp: Floats, fp: Floats, fn: Floats) -> Floats:
    return ratio(2 * tp, 2 * tp + fp + fn)


def ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> Floats:
    """above / below; 0 where there is nothing below."""
    found: Floats = np.divide(above, below, out=np.zeros(np.shape(above)), where=np.asarray(below) != 0)
    return found
