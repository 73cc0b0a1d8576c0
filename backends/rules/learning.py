"""Learns one control's label model from tasks: with labels by counting, without by how the rules agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.rules.artefact import RuleSet, declared_model_of
from backends.rules.gold import Labelled
from backends.rules.importing import declared_labels
from backends.rules.items import NO_ENTITY, Items, items_of, truth_of
from backends.rules.label_model import (
    Floats,
    LabelModel,
    fitted_temperature,
    learned_from_agreement,
    learned_from_gold,
)
from backends.thresholds import show_thresholds
from backends.version_labels import ControlLabels

LEAST_LABELS = 200
LEAST_PER_CLASS = 5
_FOLDS = 5
_LEAST_FOR_FOLDS = 10


@dataclass(frozen=True)
class LearnedPart:
    """A part with the model that it learned, its entry of labels.json, and what was done."""

    rules: RuleSet
    labels: ControlLabels
    done: dict[str, Any]


@dataclass(frozen=True)
class _Fold:
    """A model, and labelled items that it did not learn from and on which some rule fires."""

    model: LabelModel
    fired: Floats
    truth: Floats


def learned_part(rules: RuleSet, labelled: Sequence[Labelled], seed: int, told: Callable[[float], None]) -> LearnedPart:
    """Count on what is labelled, else estimate on all; each learning begins at what the rule file declares.

    `told` is called with the share that is done.
    """
    name = rules.control.name
    gold = [each for each in labelled if each.truths[name] is not None]
    used = gold or labelled
    votes = rules.voters.ask([each.task for each in used], told)
    declared = declared_model_of(rules.file, rules.tables, rules.voters)
    items = items_of(votes.cast, rules.file, declared.voters, rules.voters.spans)
    seen = items.fired.any(axis=1)
    keep = rules.file.priors is not None
    model, labels = declared, declared_labels(rules.control)
    done: dict[str, Any] = {
        "gold": len(gold), "tasks": len(used), "fired": sum(map(bool, votes.cast)),
        "errors": {rules.file.rules[at].title: count for at, count in sorted(votes.errors.items())},
    }  # fmt: skip
    if seen.any() and not gold:
        model = learned_from_agreement(declared, items.fired, keep)
    elif seen.any():
        truth = truth_of(items, [each.truths[name] or frozenset() for each in gold], declared.classes)
        model = learned_from_gold(declared, items.fired, truth, keep)
        folds = _folds(declared, items, truth, keep, seed)
        if folds and enough_to_calibrate(truth[seen]):
            temperature = fitted_temperature([(fold.model, fold.fired, fold.truth) for fold in folds])
            model = replace(model, temperature=temperature)
            folds = [replace(fold, model=replace(fold.model, temperature=temperature)) for fold in folds]
            labels = replace(labels, calibrated=True, temperature=temperature)
        pairs = _scored(folds, declared)
        labels = replace(labels, show_threshold=show_thresholds(pairs, rules.control.classes))
        done |= {"out_of_fold": sum(map(len, pairs.values())), "temperature": model.temperature}
    done |= {
        "accuracies": model.source,
        "voters": {f"{voter.rule}: {voter.label}": round(voter.accuracy, 4) for voter in model.voters if voter.votes},
    }
    return LearnedPart(replace(rules, model=model, labels=labels), labels, done)


def enough_to_calibrate(truth: Floats) -> bool:
    """Whether there are LEAST_LABELS labelled items on which a rule fires, and LEAST_PER_CLASS of each class among them.

    Classes that do not occur do not count; `truth` is (items, classes).
    """
    counts = truth.sum(axis=0)
    return len(truth) >= LEAST_LABELS and bool((counts[counts > 0] >= LEAST_PER_CLASS).all())


def _folds(declared: LabelModel, items: Items, truth: Floats, keep: bool, seed: int) -> list[_Fold]:
    """The items in parts by task, each with a model that saw the other parts only; empty when the tasks are few."""
    tasks = np.array(items.tasks)
    if len(set(items.tasks)) < _LEAST_FOR_FOLDS:
        return []
    fold: NDArray[np.int64] = np.random.default_rng(seed).permutation(int(tasks.max()) + 1)[tasks] % _FOLDS
    seen = items.fired.any(axis=1)
    parts = []
    for number in range(_FOLDS):
        rest, held = fold != number, (fold == number) & seen
        if rest.any() and held.any():
            model = learned_from_gold(declared, items.fired[rest], truth[rest], keep)
            parts.append(_Fold(model, items.fired[held], truth[held]))
    return parts


def _scored(folds: Sequence[_Fold], declared: LabelModel) -> dict[str, list[tuple[float, bool]]]:
    """By class, (score, right) of what each held item would be shown with."""
    pairs: dict[str, list[tuple[float, bool]]] = {name: [] for name in declared.classes if name != NO_ENTITY}
    names = declared.classes
    for fold in folds:
        for row, true in zip(fold.model.probabilities(fold.fired), fold.truth, strict=True):
            chosen = [int(row.argmax())] if declared.exclusive else np.flatnonzero(row >= 0.5).tolist()
            for column in chosen:
                if names[column] != NO_ENTITY:
                    pairs[names[column]].append((float(row[column]), bool(true[column] > 0)))
    return pairs
