"""The label model: many fallible votes into one probability per class.

Each rule that gives a label is a voter with an accuracy: how often the label is right where the voter gives it. Votes
are taken as independent given the true class, so they add up as log odds (naive Bayes); a voter that is silent says
nothing. Accuracies are declared in the rule file, counted on labelled tasks, or estimated from how the voters agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: How many votes the declared accuracy counts for against those that were seen.
STRENGTH = 5.0
_LEAST, _MOST = 0.01, 0.99
_PASSES = 200
_SETTLED = 1e-4
_TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(20.0), 150))
#: How many tasks each class is given beforehand when its frequency is estimated without labels.
_PRIOR_COUNT = 5.0


@dataclass(frozen=True)
class Voter:
    """One label of one rule: its accuracy is the chance that the label is right where the rule gives it."""

    rule: str
    label: str
    accuracy: float
    declared: float
    weight: float = 1.0
    votes: int = 0
    """On how many votes the accuracy rests; 0 where it is only declared."""


@dataclass(frozen=True)
class LabelModel:
    """What turns votes into probabilities.

    With `exclusive` an item has one of `classes` (probabilities sum to 1); otherwise each class is there or not by
    itself. `source` says where the accuracies come from. `temperature` divides the evidence: votes of rules that depend
    on one another count for less.
    """

    classes: tuple[str, ...]
    exclusive: bool
    priors: Floats
    voters: tuple[Voter, ...]
    source: str = "declared"
    temperature: float = 1.0

    @property
    def columns(self) -> NDArray[np.int64]:
        """(voters,) the column of each voter's class."""
        places = {name: at for at, name in enumerate(self.classes)}
        return np.array([places[voter.label] for voter in self.voters], dtype=np.int64)

    def probabilities(self, fired: Floats) -> Floats:
        """(items, classes) from `fired` (items, voters) of 0 and 1; an item without votes has the priors."""
        prior = np.clip(self.priors, _LEAST * 0.1, 1 - _LEAST * 0.1)
        accuracy = np.clip([voter.accuracy for voter in self.voters], _LEAST, _MOST)
        weight = np.array([voter.weight for voter in self.voters])
        return _posterior(
            prior, _evidence(fired, self.columns, (_logit(accuracy) - _logit(prior[self.columns])) * weight, len(prior))
            / self.temperature, self.exclusive,
        )  # fmt: skip


def declared_model(
    classes: Sequence[str], voters: Sequence[Voter], exclusive: bool, priors: Mapping[str, float] | None
) -> LabelModel:
    """The model before anything was measured.

    Classes without a prior share what the others leave, or are as likely there as not where classes do not exclude
    one another.
    """
    given = dict(priors or {})
    rest = max(1.0 - sum(given.values()), 0.01) / max(len(classes) - len(given), 1) if exclusive else 0.5
    values = np.array([given.get(name, rest) for name in classes], dtype=np.float64)
    return LabelModel(tuple(classes), exclusive, values / values.sum() if exclusive else values, tuple(voters))


def learned_from_gold(model: LabelModel, fired: Floats, truth: Floats, keep_priors: bool = False) -> LabelModel:
    """The model with accuracies counted on labelled items, each drawn to its declared value by a beta prior.

    `fired` is (items, voters), `truth` (items, classes), both of 0 and 1. `keep_priors` leaves the class frequencies
    as they are.
    """
    right = (fired * truth[:, model.columns]).sum(axis=0)
    return _with_counts(model, fired.sum(axis=0), right, "gold", None if keep_priors else _frequencies(truth, model))


def learned_from_agreement(model: LabelModel, fired: Floats, keep_priors: bool = False) -> LabelModel:
    """The model with accuracies estimated without labels; see `estimated_truth`."""
    truth, priors = _estimated(model, fired, keep_priors)
    right = (fired * truth[:, model.columns]).sum(axis=0)
    return _with_counts(model, fired.sum(axis=0), right, "agreement", None if keep_priors else priors)


def estimated_truth(model: LabelModel, fired: Floats, keep_priors: bool = False) -> Floats:
    """(items, classes) probabilities without labels, by expectation maximisation over the unknown classes.

    `fired` is (items, voters), all items, also those on which nothing fires: how often a voter is silent is part of
    the evidence. Each voter fires with one rate where its class is true and with another where it is not, independent of
    the others (Dawid and Skene 1979, doi:10.2307/2346806, with silence as an answer; Ratner et al. 2016,
    arXiv:1605.07723, for rules). The declared accuracies say which solution is meant and hold where little is seen.
    """
    return _estimated(model, fired, keep_priors)[0]


def _estimated(model: LabelModel, fired: Floats, keep_priors: bool) -> tuple[Floats, Floats]:
    """(probabilities of the items' classes, class frequencies)."""
    count, voted = max(len(fired), 1), fired.sum(axis=0)
    columns, priors = model.columns, model.priors
    posterior = replace(model, temperature=1.0).probabilities(fired)
    for _ in range(_PASSES):
        if not keep_priors:
            rivals = len(priors) if model.exclusive else 2
            priors = (posterior.sum(axis=0) + _PRIOR_COUNT) / (count + _PRIOR_COUNT * rivals)
        accuracy = _smoothed(model, voted, (fired * posterior[:, columns]).sum(axis=0))
        inside = np.clip(accuracy * voted / (count * priors[columns]), 1e-4, _MOST)
        outside = np.clip((1 - accuracy) * voted / (count * (1 - priors[columns])), 1e-4, _MOST)
        silent = np.log((1 - inside) / (1 - outside))
        evidence = _evidence(fired, columns, np.log(inside / outside) - silent, len(priors))
        base = np.bincount(columns, weights=silent, minlength=len(priors))
        last, posterior = posterior, _posterior(priors, evidence + base, model.exclusive)
        if np.abs(posterior - last).max(initial=0.0) < _SETTLED:
            break
    return posterior, priors


def fitted_temperature(held: Sequence[tuple[LabelModel, Floats, Floats]]) -> float:
    """The temperature that makes labelled items likeliest, each (fired, truth) under a model that did not see it."""

    def loss(temperature: float) -> float:
        total = 0.0
        for model, fired, truth in held:
            chances = np.clip(replace(model, temperature=temperature).probabilities(fired), 1e-9, 1 - 1e-9)
            total -= float((truth * np.log(chances)).sum())
            if not model.exclusive:
                total -= float(((1 - truth) * np.log(1 - chances)).sum())
        return total

    return float(min(_TEMPERATURES, key=loss))


def _smoothed(model: LabelModel, voted: Floats, right: Floats) -> Floats:
    declared = np.array([voter.declared for voter in model.voters])
    smoothed: Floats = (right + STRENGTH * declared) / (voted + STRENGTH)
    return smoothed


def _with_counts(model: LabelModel, voted: Floats, right: Floats, source: str, priors: Floats | None) -> LabelModel:
    voters = tuple(
        replace(voter, accuracy=float(accuracy), votes=int(count))
        for voter, accuracy, count in zip(model.voters, _smoothed(model, voted, right), voted, strict=True)
    )
    return replace(model, voters=voters, source=source, priors=model.priors if priors is None else priors)


def _frequencies(truth: Floats, model: LabelModel) -> Floats:
    """How often each class is true, as if each had been seen once more (and, where classes do not exclude, not once)."""
    found: Floats = (truth.sum(axis=0) + 1) / (len(truth) + (truth.shape[1] if model.exclusive else 2))
    return found


def _evidence(fired: Floats, columns: NDArray[np.int64], strength: Floats, classes: int) -> Floats:
    """(items, classes) summed strengths of the voters that fired."""
    placed = np.zeros((len(columns), classes))
    placed[np.arange(len(columns)), columns] = strength
    total: Floats = fired @ placed
    return total


def _logit(chance: Floats) -> Floats:
    odds: Floats = np.log(chance) - np.log1p(-chance)
    return odds


def _posterior(priors: Floats, evidence: Floats, exclusive: bool) -> Floats:
    from scipy.special import expit, softmax

    return np.asarray(
        softmax(np.log(priors) + evidence, axis=1) if exclusive else expit(_logit(priors) + evidence), dtype=np.float64
    )
