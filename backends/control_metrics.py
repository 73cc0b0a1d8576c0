"""Quality on labelled texts: macro F1 of choices, micro F1 of exact spans, the mean over several controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.resampling import Floats, Scores, f1_scores, ratio

#: One task of one control, JSON-able: {label: how often} of what was right, wrongly said, and missed.
Counts = Mapping[str, Mapping[str, int]]


def counted(said: Iterable[Any], true: Iterable[Any]) -> dict[str, dict[str, int]]:
    """The counts of one task, from its labels or its (start, end, label) spans; right means equal."""
    ours, theirs = set(said), set(true)
    return {
        name: dict(sorted(Counter(one if isinstance(one, str) else one[-1] for one in which).items()))
        for name, which in (("tp", ours & theirs), ("fp", ours - theirs), ("fn", theirs - ours))
    }


def f1(counts: Sequence[Counts], label: str | None = None) -> float:
    """Micro F1 of these tasks, 0..1, of one label or of all; 0.0 when nothing was said and nothing is true."""
    tp, fp, fn = (
        sum(n for each in counts for name, n in each[key].items() if label in (None, name))
        for key in ("tp", "fp", "fn")
    )
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def class_f1(counts: Sequence[Counts]) -> dict[str, float]:
    """F1 of each label that is true of any task."""
    return {name: f1(counts, name) for name in sorted({name for each in counts for name in (*each["tp"], *each["fn"])})}


def macro_f1(counts: Sequence[Counts]) -> float:
    """The mean F1 of the labels that are true of any task; 0.0 without any."""
    values = class_f1(counts).values()
    return sum(values) / len(values) if values else 0.0


def metric_name(targets: Iterable[str]) -> str:
    """What the headline over controls with these targets ("choices", "spans") is called."""
    names = {"entity_f1" if target == "spans" else "macro_f1" for target in targets}
    return names.pop() if len(names) == 1 else "mean_f1"


def headline(per_item: Sequence[Mapping[str, Any]]) -> float:
    """The mean over the controls: macro F1 of choices, micro F1 of spans; tasks without truth for one are left out.

    Each item is {"task_id", "choices": {control: counts}, "spans": {control: counts}}.
    """
    judged = [
        ([each for each in counts if each is not None], target) for (target, _), counts in _by_control(per_item).items()
    ]
    values = [f1(counts) if target == "spans" else macro_f1(counts) for counts, target in judged]
    return sum(values) / len(values) if values else 0.0


def weighted_scores(per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
    """The headline and each class's F1 for each row of `weights`; with several controls a class is `control/class`."""
    controls = _by_control(per_item)
    total, judged = np.zeros(len(weights)), np.zeros(len(weights))
    classes: dict[str, Floats] = {}
    items: dict[str, int] = {}
    for (target, control), counts in controls.items():
        found = f1_scores([each or _NOTHING for each in counts], weights)
        has_truth = weights @ np.array([each is not None for each in counts], dtype=float) > 0
        scores = found.scores(found.micro if target == "spans" else found.macro, f"{control}/" * (len(controls) > 1))
        total += scores.headline
        judged += has_truth
        classes |= scores.classes
        items |= scores.items
    return Scores(ratio(total, judged), classes, items)


_NOTHING: Counts = {"tp": {}, "fp": {}, "fn": {}}


def _by_control(per_item: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Counts | None]]:
    """{(target, control): one entry per item}; None where the item has no truth for the control."""
    names = sorted(
        {(target, control) for item in per_item for target in ("choices", "spans") for control in item[target]}
    )
    return {(target, control): [item[target].get(control) for item in per_item] for target, control in names}


def majority_class(labels: Sequence[str]) -> str | None:
    """The most frequent label (the first by name among equals), or None without any."""
    counts = Counter(labels)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None
