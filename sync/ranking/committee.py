"""How far several model versions differ about each task: what they disagree on, the labels so far do not settle.

Seung, Opper and Sompolinsky, Query by Committee (1992). The members are versions of one project that looked at the same
tasks: the served one and those before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from labelloop.label_config import LabelConfig
from labelloop.values import Region
from qa.review.pair_scores import Answer, compare_answers
from sync.ranking.pool import Floats

_TINY = 1e-12
#: A region that a model is less sure of is not taken for what it says.
SAID = 0.5


def vote_entropy(members: Floats) -> Floats:
    """(n,) entropy of the classes that members (m, n, k) would choose, as a share of the largest that m votes can have.

    Dagan and Engelson, Committee-Based Sampling for Training Probabilistic Classifiers (1995).
    """
    m, n, k = members.shape
    chosen = members.argmax(axis=2)
    shares = np.zeros((n, k))
    for row in chosen:
        shares[np.arange(n), row] += 1 / m
    most = np.log(min(m, k))
    found: Floats = -(shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
    return found / most if most > 0 else np.zeros(n)


def divergence(members: Floats) -> Floats:
    """(n,) mean Kullback-Leibler divergence of members (m, n, k) from their mean, as a share of its bound, log m.

    McCallum and Nigam, Employing EM and Pool-Based Active Learning for Text Classification (1998).
    """
    m = len(members)
    if m < 2:
        return np.zeros(members.shape[1])
    shares = members / np.maximum(members.sum(axis=2, keepdims=True), _TINY)
    mean = shares.mean(axis=0)
    logs = np.log(np.maximum(shares, _TINY)) - np.log(np.maximum(mean, _TINY))
    found: Floats = (shares * logs).sum(axis=2).mean(axis=0) / np.log(m)
    return np.clip(found, 0.0, 1.0)


def class_disagreement(members: Floats) -> Floats:
    """(n,) the mean of vote entropy and divergence: votes tell what would change, divergence by how much."""
    return (vote_entropy(members) + divergence(members)) / 2


def answer_disagreement(
    answers: Sequence[Mapping[int, Sequence[Region]]], tasks: Sequence[int], config: LabelConfig
) -> Floats:
    """(n,) one minus the mean agreement of every two members' answers to a task: boxes by their matched F1, spans by theirs.

    `answers` has for each member the regions by task. nan where fewer than two members answered; members that all say that
    there is nothing agree.
    """
    given = [
        Answer(task, member, [region for region in said[task] if (region.get("score") or 1.0) >= SAID])
        for member, said in enumerate(answers)
        for task in tasks
        if task in said
    ]
    compared = compare_answers(given, config)
    empty = {(each.task_id, each.key) for each in given if not each.result}
    by_task: dict[int, list[int]] = {}
    for each in given:
        by_task.setdefault(each.task_id, []).append(each.key)
    found = np.full(len(tasks), np.nan)
    for place, task in enumerate(tasks):
        pairs = list(combinations(sorted(by_task.get(task, ())), 2))
        if pairs:
            scores = compared.of(task)
            found[place] = 1 - float(np.mean([_agree(scores, task, pair, empty) for pair in pairs]))
    return found


def _agree(
    scores: Mapping[tuple[int, int], float], task: int, pair: tuple[int, int], empty: set[tuple[int, int]]
) -> float:
    score = scores.get(pair)
    if score is not None:
        return score
    return 1.0 if all((task, member) in empty for member in pair) else 0.0
