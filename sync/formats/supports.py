"""How far each label of a task is supported by the others: what the policy "consensus" chooses by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labelloop.label_config import LabelConfig
from sync.formats.policies import Candidate, Policy, Support

#: A task: its id, the labels that may be its truth, its data.
Labelled = tuple[int, Sequence[Candidate], Mapping[str, Any]]


def supports_of(policy: Policy, tasks: Sequence[Labelled], config: LabelConfig) -> dict[int, list[Support]]:
    """By task with several labels the support of each, in their order; nothing under a policy that does not ask for it.

    The support is the mean of how far the label agrees with each of the task's labels, itself among them: equal classes,
    F1 of matched boxes or spans, and so on, the mean over the controls.
    """
    several = [each for each in tasks if len(each[1]) > 1] if policy == "consensus" else []
    if not several:
        return {}
    # Polars, which an export by another policy need not wait for.
    from qa.review.pair_scores import Answer, compare_answers

    answers = [
        Answer(task_id, place, label.result, data)
        for task_id, labels, data in several
        for place, label in enumerate(labels)
    ]
    compared = compare_answers(answers, config)
    found = {}
    for task_id, labels, _ in several:
        scores = compared.of(task_id)
        rows = [
            [1.0 if one == other else _score(labels, scores, one, other) for other in range(len(labels))]
            for one in range(len(labels))
        ]
        found[task_id] = [Support(sum(row) / len(row), sum(score >= 0.5 for score in row)) for row in rows]
    return found


def _score(labels: Sequence[Candidate], scores: Mapping[tuple[int, int], float], one: int, other: int) -> float:
    from qa.review.pair_scores import same_content

    score = scores.get((min(one, other), max(one, other)))
    # Where no control can be compared: two that say nothing are alike, and so are equal relations.
    return score if score is not None else float(same_content(labels[one].result, labels[other].result))
