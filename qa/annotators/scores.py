"""How each label compares: with the true answer, and with what the others said of its task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qa.annotators.work import CHANGED, UNCHANGED, Answers, Work
from qa.kinds.categories import CATEGORIES
from qa.kinds.kind import Readings
from qa.measures.ratings import Floats, Ints, Ratings, ratings_of

#: A suggestion that scores less against the truth is wrong; of classes every one that is not the same.
RIGHT_FROM = 0.75


@dataclass(frozen=True)
class Scored:
    """Scores of labels under one control, one entry each (nan: there is none).

    `gold` and `others` are in [0, 1]; `support` is how many others stand behind `others`. Of categories `code` is the label's
    class, `majority` that of the others (-1: none, or undecided) and `ratings` the judgments. `misled` is 1 where a wrong
    suggestion was left unchanged, 0 where it was changed, nan where no wrong suggestion is known.
    """

    answers: Answers
    gold: Floats
    others: Floats
    support: Ints
    code: Ints
    majority: Ints
    ratings: Ratings | None
    judged: Ints
    misled: Floats

    @cached_property
    def classes(self) -> list[str]:
        return [] if self.ratings is None else [str(name) for name in self.ratings.value_names.tolist()]


def scored(work: Work, answers: Answers) -> Scored:
    """The scores of every label under one control."""
    gold = scores_beside(answers, answers.values, answers.gold, work.has_gold)
    if answers.kind is not CATEGORIES:
        others, support, blind = _mean_of_pairs(work, answers)
        none = np.full(len(work), -1)
        misled = _misled(work, answers, gold, blind)
        return Scored(answers, gold, others, support, none, none, None, np.flatnonzero(support), misled)
    values = np.array(answers.values, dtype=object)
    judged = np.flatnonzero(np.fromiter((value is not None for value in answers.values), np.bool_, len(work)))
    ratings = ratings_of(work.task[judged], work.annotator[judged], values[judged])
    code: Ints = np.full(len(work), -1)
    code[judged] = ratings.values
    majority, support = majority_of_others(work.task, code, len(ratings.value_names))
    others = np.where(majority >= 0, (majority == code).astype(np.float64), np.nan)
    # Of a label that was shown something every blind label of its task is another person's.
    blind_code = np.where(work.shown, -1, code)
    agreed, votes = majority_of_others(work.task, blind_code, len(ratings.value_names))
    truth = np.where((agreed >= 0) & (votes >= 2) & work.shown, agreed, -1)
    against = np.where(truth >= 0, (truth == code).astype(np.float64), np.nan)
    misled = _misled(work, answers, gold, against, truth, ratings)
    return Scored(answers, gold, others, support, code, majority, ratings, judged, misled)


def scores_beside(answers: Answers, left: Any, right: Any, known_at: NDArray[np.bool_] | None = None) -> Floats:
    """The score of the kind for each two values at one place; nan where either is None.

    Of regions None may mean that there are none: at `known_at` such a label is compared, too.
    """
    found = np.full(len(left), np.nan)
    if known_at is None or answers.kind is CATEGORIES:
        known = [i for i, each in enumerate(right) if each is not None and left[i] is not None]
    else:
        known = [i for i in np.flatnonzero(known_at).tolist() if left[i] is not None or right[i] is not None]
    if known:
        values = [value for i in known for value in (left[i], right[i])]
        both = Readings(np.repeat(np.arange(len(known)), 2), np.tile(np.arange(2), len(known)), values)
        pairs = answers.kind.compare(both).pairs
        found[np.array(known)[pairs["left"].to_numpy() // 2]] = pairs["score"].to_numpy()
    return found


def _mean_of_pairs(work: Work, answers: Answers) -> tuple[Floats, Ints, Floats]:
    """(mean score with the others, how many they are, mean score with two or more blind others who agree among themselves)"""
    pairs = answers.kind.compare(Readings(work.task, work.annotator, answers.values)).pairs
    left, right, score = (pairs[name].to_numpy() for name in ("left", "right", "score"))
    ends, partners, both = np.concatenate([left, right]), np.concatenate([right, left]), np.concatenate([score, score])
    n = len(work)
    support = np.bincount(ends, minlength=n)
    mean = np.full(n, np.nan)
    np.divide(np.bincount(ends, weights=both, minlength=n), support, out=mean, where=support > 0)
    blind = ~work.shown[partners]
    count = np.bincount(ends[blind], minlength=n)
    against = np.full(n, np.nan)
    np.divide(np.bincount(ends[blind], weights=both[blind], minlength=n), count, out=against, where=count >= 2)
    among = ~work.shown[left] & ~work.shown[right]
    tasks = len(work.tasks)
    sums = np.bincount(work.task[left[among]], weights=score[among], minlength=tasks)
    pairs_of_task = np.bincount(work.task[left[among]], minlength=tasks)
    agreed = sums >= RIGHT_FROM * np.maximum(pairs_of_task, 1)
    against[~(agreed[work.task] & work.shown)] = np.nan
    return mean, support, against


def majority_of_others(task: Ints, code: Ints, k: int) -> tuple[Ints, Ints]:
    """(the class that most others of the task gave, or -1 where there are none or as many gave another, how many gave one).

    `code` is -1 for a label that gives none.
    """
    cells, counts = np.unique(task[code >= 0] * max(k, 1) + code[code >= 0], return_counts=True)
    of, said = cells // max(k, 1), cells % max(k, 1)
    order = np.lexsort((-counts, of))
    of, said, counts = of[order], said[order], counts[order]
    tasks = int(task.max(initial=-1)) + 1
    first = np.searchsorted(of, np.arange(tasks))
    place = np.arange(len(of)) - first[of] if len(of) else np.zeros(0, np.int64)
    top: Ints = np.zeros((3, tasks), np.int64)
    names: Ints = np.full((2, tasks), -1)
    for rank in range(3):
        here = place == rank
        top[rank, of[here]] = counts[here]
        if rank < 2:
            names[rank, of[here]] = said[here]
    (c1, c2, c3), (a, b) = top[:, task], names[:, task]
    own_first, own_second = (code == a) & (code >= 0), (code == b) & (code >= 0)
    c1, c2 = c1 - own_first, c2 - own_second
    rest = np.maximum(c2, c3)
    found = np.where(c1 > rest, a, np.where((c2 > c1) & (c2 > c3), b, -1))
    total = np.bincount(task[code >= 0], minlength=tasks)[task] - (code >= 0)
    return np.where(total > 0, found, -1), total


def _misled(
    work: Work, answers: Answers, gold: Floats, against: Floats, truth: Ints | None = None, ratings: Ratings | None = None
) -> Floats:  # fmt: skip
    """Of labels whose suggestion is known to be wrong: 1 left unchanged, 0 changed; nan for the others.

    What was suggested is known if it was stored; else an unchanged label is what was suggested, and a class that was changed and
    is right now was wrong before. Of changed labels of other kinds nobody knows, and without those a share would tell nothing.
    """
    score = np.where(np.isnan(gold), against, gold)
    right = score >= RIGHT_FROM
    known, touched = ~np.isnan(score) & work.shown, answers.touched
    wrong = known & (touched == UNCHANGED) & ~right
    found: Floats = np.full(len(work), np.nan)
    if answers.kind is CATEGORIES:
        found[known & (touched == CHANGED) & right], found[wrong] = 0.0, 1.0
    if answers.suggested is None:
        return found
    said: NDArray[Any] = scores_beside(answers, answers.suggested, answers.gold)
    if truth is not None and ratings is not None:
        names = ratings.value_names
        voted = [names[at] if at >= 0 else None for at in truth.tolist()]
        said = np.where(np.isnan(said), scores_beside(answers, answers.suggested, voted), said)
    same = scores_beside(answers, answers.suggested, answers.values, work.shown)
    is_wrong = work.shown & ~np.isnan(said) & (said < RIGHT_FROM)
    touched = np.where(touched == -1, np.where(same >= 1 - 1e-9, UNCHANGED, CHANGED), touched)
    found[~np.isnan(said)] = np.nan
    return np.where(is_wrong, (touched == UNCHANGED).astype(np.float64), found)
