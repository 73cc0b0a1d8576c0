"""What a version is worth on some tasks: the metric of each kind of network, and the mean over the kinds.

A task's result is {"task_id", "kinds": {kind: what `backends.yolo.metrics.match_objects` says of its images}}; of a kind
that nothing is true of there it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backends.resampling import Floats, Scores, f1_scores, ratio
from backends.yolo.metrics import class_average_precision, weighted_average_precisions
from backends.yolo.model_spec import KINDS

Items = Sequence[Mapping[str, Any]]
_NOTHING: Mapping[str, Any] = {"label": [], "score": [], "hit": [], "truths": {}}


def kind_scores(kind: str, items: Items) -> dict[str, float]:
    """The score, 0..1, of each class with truths: F1 of a classifier's, average precision of any other network's."""
    if kind != "classify":
        return class_average_precision(items)
    found = f1_scores([_counts(item) for item in items], np.ones((1, len(items))))
    return {name: float(values[0]) for name, values in found.scores(found.macro).classes.items()}


def kind_score(kind: str, items: Items) -> float:
    """Their mean: macro F1, or mean average precision; 0.0 without any truth."""
    values = kind_scores(kind, items).values()
    return float(np.mean(list(values))) if values else 0.0


def headline(per_item: Items) -> float:
    """The mean over the kinds that anything is true of."""
    there = [(kind, [item for item in items if item]) for kind, items in by_kind(per_item).items()]
    values = [kind_score(kind, items) for kind, items in there if any(any(item["truths"].values()) for item in items)]
    return float(np.mean(values)) if values else 0.0


def weighted_scores(per_item: Items, weights: Floats) -> Scores:
    """The headline and each class's score for each row of `weights`; with several kinds a class is `kind/class`."""
    kinds = by_kind(per_item)
    total, judged = np.zeros(len(weights)), np.zeros(len(weights))
    classes: dict[str, Floats] = {}
    counts: dict[str, int] = {}
    for kind, items in kinds.items():
        own = [item or _NOTHING for item in items]
        scores = _weighted(kind, own, weights)
        total += scores.headline
        judged += weights @ np.array([any(item["truths"].values()) for item in own], dtype=np.float64) > 0
        prefix = f"{kind}/" if len(kinds) > 1 else ""
        classes |= {prefix + name: values for name, values in scores.classes.items()}
        counts |= {prefix + name: count for name, count in scores.items.items()}
    return Scores(ratio(total, judged), classes, counts)


def _weighted(kind: str, items: Items, weights: Floats) -> Scores:
    if kind != "classify":
        return weighted_average_precisions(items, weights)
    found = f1_scores([_counts(item) for item in items], weights)
    return found.scores(found.macro)


def by_kind(per_item: Items) -> dict[str, list[Mapping[str, Any] | None]]:
    """The results of each kind in the order of KINDS, one for each task; None where a task has none."""
    there = {kind for item in per_item for kind in item["kinds"]}
    return {kind: [item["kinds"].get(kind) for item in per_item] for kind in KINDS if kind in there}


def _counts(item: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """How often each class was rightly said, wrongly said and missed."""
    counts: dict[str, dict[str, int]] = {"tp": {}, "fp": {}, "fn": {name: n for name, n in item["truths"].items() if n}}
    for name, hit in zip(item["label"], item["hit"], strict=True):
        right = counts["tp" if hit else "fp"]
        right[name] = right.get(name, 0) + 1
        if hit:
            counts["fn"][name] -= 1
    return counts
