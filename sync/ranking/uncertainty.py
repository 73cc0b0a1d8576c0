"""How unsure a model is of each task, from its probabilities: 0 is sure, 1 can't be less sure.

Lewis and Gale, A Sequential Algorithm for Training Text Classifiers (1994), for least confidence; Scheffer, Decomain and Wrobel,
Active Hidden Markov Models for Information Extraction (2001), for the margin; entropy is Shannon's. Boxes and spans have no
probabilities of a whole task: there the model's own uncertainty stands for all three. It is the weighted mean of its three
largest doubts, and a detection that nearly was one is a doubt like a detection that nearly was none: so it asks about
missed objects, too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sync.ranking.pool import Floats, Pool

_TINY = 1e-12


def margin(pool: Pool) -> Floats:
    """(n,) one minus the difference of the two most probable classes, as the model itself tells it."""
    return pool.uncertainty


def least_confidence(pool: Pool) -> Floats:
    """(n,) one minus the probability of the most probable class; without probabilities, minus the answer's confidence."""
    given = _mean_over_controls(pool, lambda probs: 1 - probs.max(axis=1))
    return np.where(np.isnan(given), np.where(np.isnan(pool.confidence), pool.uncertainty, 1 - pool.confidence), given)


def entropy(pool: Pool) -> Floats:
    """(n,) entropy of the classes as a share of the largest that there can be; without probabilities, the margin."""
    given = _mean_over_controls(pool, _entropy)
    return np.where(np.isnan(given), pool.uncertainty, given)


def rarity(pool: Pool) -> Floats:
    """(n,) how much the model expects of a task to be of classes that have few labels, times how unsure it is.

    A class with n labels weighs 1 / (n + 1), as a share of the rarest one's weight. Without probabilities, the margin.
    """
    found = []
    for control, probs in pool.probs.items():
        weight = 1.0 / (pool.counts.get(control, np.zeros(probs.shape[1])) + 1.0)
        found.append((probs * (weight / weight.max())).sum(axis=1) if probs.shape[1] else probs.sum(axis=1))
    if not found:
        return pool.uncertainty
    unsure = np.where(np.isnan(pool.uncertainty), 1.0, pool.uncertainty)
    # The square root keeps a rare class in front though the model is fairly sure of it.
    return np.asarray(_mean(np.stack(found)) * np.sqrt(unsure))


def _entropy(probs: Floats) -> Floats:
    k = probs.shape[1]
    if k < 2:
        return np.where(np.isnan(probs[:, 0]), np.nan, 0.0)
    shares = probs / np.maximum(probs.sum(axis=1, keepdims=True), _TINY)
    found: Floats = -(shares * np.log(np.maximum(shares, _TINY))).sum(axis=1) / np.log(k)
    return found


def _mean_over_controls(pool: Pool, score: Callable[[Floats], Floats]) -> Floats:
    found = [score(probs) for probs in pool.probs.values() if probs.shape[1]]
    return _mean(np.stack(found)) if found else np.full(len(pool), np.nan)


def _mean(rows: Floats) -> Floats:
    """Column means of the rows that are known; nan where none is."""
    known = ~np.isnan(rows)
    n = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
