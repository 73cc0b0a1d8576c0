"""Consensus by votes: each judgment counts one, or what its rater counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qa.measures.ratings import Floats, Ints, Ratings


@dataclass(frozen=True)
class Consensus:
    """The answer for each unit, in the order of the ratings' units.

    `labels` are codes of values, `probability` what the method gives them, `support` how many judgments say the same.
    `confusion` is of each rater the probability to say a value (last axis) where another is true, and `prior` how common
    each value is; None where the method has none.
    """

    labels: Ints
    probability: Floats
    support: Ints
    posterior: Floats
    confusion: Floats | None = None
    prior: Floats | None = None


def majority(ratings: Ratings) -> Consensus:
    """What most judgments of a unit say, with their share as its probability; of values with equally many the more common one."""
    return weighted(ratings, np.ones(len(ratings.rater_names)))


def weighted(ratings: Ratings, weights: Floats) -> Consensus:
    """The same with a weight of zero or more for each rater. Where all who judged a unit weigh nothing, all weigh the same."""
    if weights.shape != (len(ratings.rater_names),) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"expected {len(ratings.rater_names)} finite weights of zero or more, got {weights.tolist()}")
    votes = votes_of(ratings, weights[ratings.raters])
    unheard = votes.sum(axis=1) == 0
    votes[unheard] = votes_of(ratings)[unheard]
    return consensus_of(ratings, votes / votes.sum(axis=1, keepdims=True))


def votes_of(ratings: Ratings, weights: Floats | None = None) -> Floats:
    """How much is said for each value of each unit, (units, values); `weights` are of the judgments."""
    units, k = len(ratings.unit_names), len(ratings.value_names)
    cells = np.bincount(ratings.units * k + ratings.values, weights=weights, minlength=units * k)
    return cells.astype(np.float64).reshape(units, k)


def consensus_of(
    ratings: Ratings, posterior: Floats, confusion: Floats | None = None, prior: Floats | None = None
) -> Consensus:
    """The most probable value of each unit. Of equal ones the one that is more common, then the first by name."""
    votes = votes_of(ratings)
    if not len(posterior):
        nothing = np.zeros(0, np.int64)
        return Consensus(nothing, np.zeros(0), nothing, posterior, confusion, prior)
    rows = np.arange(len(posterior))
    # Values by how common they are: the first of the largest is then the more common one.
    order = np.argsort(-votes.sum(axis=0), kind="stable")
    labels = order[np.argmax(posterior[:, order] > posterior.max(axis=1, keepdims=True) - 1e-12, axis=1)]
    support = votes[rows, labels].astype(np.int64)
    return Consensus(labels, posterior[rows, labels], support, posterior, confusion, prior)
