"""Consensus by a model of who errs how, fitted by expectation and maximisation.

Dawid and Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm": each rater says, where
value j is true, value l with a probability of their own. One coin: a rater is right with one probability, and errs evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qa.consensus.votes import Consensus, consensus_of, votes_of
from qa.measures.ratings import Floats, Ratings

#: (posterior) -> (log prior of values, log probability of all judgments of each unit under each true value)
_Fit = Callable[[Floats], tuple[Floats, Floats]]
_LEAST = 1e-300


def dawid_skene(
    ratings: Ratings, *, smoothing: float = 0.01, tolerance: float = 1e-7, most_rounds: int = 200
) -> Consensus:
    """The most probable value of each unit, and how each rater confuses values.

    `smoothing` is added to every count of a confusion, so that what was never seen is not impossible (0: maximum
    likelihood, as published). It ends when a round adds less than `tolerance` to the mean log likelihood of a unit.
    """
    ratings = ratings.by_unit
    k, people = len(ratings.value_names), len(ratings.rater_names)
    said = _said(ratings)
    prior: Floats = np.zeros(k)
    confusion: Floats = np.zeros((people, k, k))

    def fit(posterior: Floats) -> tuple[Floats, Floats]:
        nonlocal prior, confusion
        prior = posterior.mean(axis=0)
        counts = (said.T @ posterior).reshape(people, k, k).transpose(0, 2, 1)
        confusion = _shares(counts + smoothing)
        logs = np.log(np.maximum(confusion, _LEAST)).transpose(0, 2, 1).reshape(people * k, k)
        return np.log(np.maximum(prior, _LEAST)), said @ logs

    posterior = _rounds(ratings, fit, tolerance, most_rounds)
    return consensus_of(ratings, posterior, confusion, prior)


def one_coin(
    ratings: Ratings, *, smoothing: float = 0.01, tolerance: float = 1e-7, most_rounds: int = 200
) -> Consensus:
    """The same with one probability for each rater, of being right; for few judgments of many raters."""
    ratings = ratings.by_unit
    k, people = len(ratings.value_names), len(ratings.rater_names)
    said, given = _said(ratings), np.bincount(ratings.raters, minlength=people)
    at = np.arange(people * k)
    prior, right = np.zeros(k), np.zeros(people)

    def fit(posterior: Floats) -> tuple[Floats, Floats]:
        nonlocal prior, right
        prior = posterior.mean(axis=0)
        agreed = (said.T @ posterior)[at, at % k].reshape(people, k).sum(axis=1)
        right = (agreed + smoothing) / (given + k * smoothing) if smoothing else agreed / np.maximum(given, 1)
        wrong = np.log(np.maximum((1 - right) / max(1, k - 1), _LEAST))
        logs = np.repeat(np.repeat(wrong, k)[:, None], k, axis=1)
        logs[at, at % k] = np.repeat(np.log(np.maximum(right, _LEAST)), k)
        return np.log(np.maximum(prior, _LEAST)), said @ logs

    posterior = _rounds(ratings, fit, tolerance, most_rounds)
    confusion = np.repeat(((1 - right) / max(1, k - 1))[:, None, None], k, axis=1).repeat(k, axis=2)
    confusion[:, np.arange(k), np.arange(k)] = right[:, None]
    return consensus_of(ratings, posterior, confusion, prior)


def _said(ratings: Ratings) -> Any:
    """How often each unit got each value from each rater, sparse: (units, raters x values). `ratings` are in order of units."""
    from scipy.sparse import csr_array

    k, people = len(ratings.value_names), len(ratings.rater_names)
    ends = np.concatenate([ratings.starts, [len(ratings)]])
    shape = (len(ratings.unit_names), people * k)
    return csr_array((np.ones(len(ratings)), ratings.raters * k + ratings.values, ends), shape=shape)


def _rounds(ratings: Ratings, fit: _Fit, tolerance: float, most_rounds: int) -> Floats:
    """The probability of each value of each unit; it begins with the shares of the votes, as published."""
    posterior = _shares(votes_of(ratings))
    if not len(ratings):
        return posterior
    before = -np.inf
    for _ in range(most_rounds):
        log_prior, log_said = fit(posterior)
        logs = log_prior + log_said
        most = logs.max(axis=1, keepdims=True)
        shares = np.exp(logs - most)
        sums = shares.sum(axis=1, keepdims=True)
        posterior = shares / sums
        likelihood = float((most + np.log(sums)).mean())
        if likelihood - before < tolerance:
            break
        before = likelihood
    return posterior


def _shares(counts: Floats) -> Floats:
    """Counts as shares of the last axis; even where there are none."""
    sums = counts.sum(axis=-1, keepdims=True)
    shares: Floats = np.full_like(counts, 1 / max(1, counts.shape[-1]))
    np.divide(counts, sums, out=shares, where=sums > 0)
    return shares
