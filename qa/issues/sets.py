"""Classes that a task lacks or has too many, of several choices and taxonomies: each class is a question of its own.

Confident learning class by class after Thyagarajan, Snorrason, Northcutt and Mueller 2022, "Identifying Incorrect Annotations
in Multi-Label Classification Data".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelloop.label_config import Control
from qa.issues.classes import CONFIDENT_LEARNING, CONSENSUS, LEAST_LABELS, suspicious
from qa.issues.finding import Finding, Label, Told, by_task, findings_of
from qa.kinds.categories import sure
from qa.kinds.kind import Kind

#: Fewer labels with a class, or without it, tell nothing of how it is confused.
LEAST_OF_CLASS = 5


@dataclass(frozen=True)
class Chosen:
    """The classes that one person gave a task; none where others gave some."""

    label: Label
    values: frozenset[str]


def chosen(labels: Sequence[Label], control: Control, kind: Kind) -> list[Chosen]:
    """What people chose under a control. Who chose nothing says so where somebody else chose something for the task."""
    found = []
    for group in by_task(labels).values():
        read = [(label, sure(kind.read(label.result, control, label.data), kind.name)) for label in group]
        if any(value for _, value in read):
            found += [Chosen(label, value or frozenset()) for label, value in read]
    return found


def set_findings(said: Sequence[Chosen], control: Control, chances: Mapping[int, Mapping[str, float]]) -> list[Finding]:
    """Classes that are likely missing or too many, surest first; one for the other in one label is a wrong class.

    `chances` are a model's probabilities of each class by task, from one that did not see the task's labels. NotReady names
    the extra where cleanlab is missing.
    """
    found: list[Finding] = []
    for detector, rows in ((CONFIDENT_LEARNING, _by_model(said, chances)), (CONSENSUS, _by_others(said))):
        of_label: dict[int, list[_Row]] = defaultdict(list)
        for at, row in rows:
            of_label[at].append(row)
        told = ((said[at].label, each) for at, part in of_label.items() for each in _as_told(part))
        found += findings_of(told, control.name, detector)
    return sorted(found, key=lambda each: (-each.score, each.task, each.annotation or 0))


#: (class, whether the label has it, score, evidence)
_Row = tuple[str, bool, float, dict[str, Any]]


def _as_told(rows: Sequence[_Row]) -> Iterator[Told]:
    extra, missing = ([row for row in rows if row[1] is has] for has in (True, False))
    if len(extra) == len(missing) == 1:
        (given, _, a, why), (suggested, _, b, more) = extra[0], missing[0]
        yield None, "wrong_class", given, suggested, 1 - (1 - a) * (1 - b), {given: why, suggested: more}
        return
    for name, has, score, why in rows:
        yield None, "extra" if has else "missing", name if has else None, None if has else name, score, why


def _by_model(said: Sequence[Chosen], chances: Mapping[int, Mapping[str, float]]) -> Iterator[tuple[int, _Row]]:
    able = [at for at, each in enumerate(said) if each.label.task in chances and each.values]
    if len(able) < LEAST_LABELS:
        return
    for name in sorted({name for at in able for name in said[at].values}):
        given = np.array([name in said[at].values for at in able], dtype=np.int64)
        if min(given.sum(), len(given) - given.sum()) < LEAST_OF_CLASS:
            continue
        has = np.clip(np.array([chances[said[at].label.task].get(name, 0.0) for at in able]), 0.0, 1.0)
        for place in suspicious(given, np.column_stack([1 - has, has])).tolist():
            own = float(has[place] if given[place] else 1 - has[place])
            yield able[place], (name, bool(given[place]), 1 - own, {"probability": round(float(has[place]), 4)})


def _by_others(said: Sequence[Chosen]) -> Iterator[tuple[int, _Row]]:
    """Where more than half of at least two other people say otherwise of a class."""
    place = {id(each.label): at for at, each in enumerate(said)}
    for group in by_task(each.label for each in said).values():
        if len(group) < 3:
            continue
        places = [place[id(label)] for label in group]
        votes = Counter(name for at in places for name in said[at].values)
        for at in places:
            for name, count in sorted(votes.items()):
                has = name in said[at].values
                against = len(group) - count if has else count
                others = len(group) - 1
                if 2 * against > others:
                    # One vote is kept back: that of two people means less than that of twenty.
                    score = (2 * against - others) / (others + 1)
                    yield at, (name, has, score, {"others_with_it": count - has, "others": others})
