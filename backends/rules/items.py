"""What the label model judges: tasks, or the spans that rules found; and what is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.rules.label_model import Floats, Voter
from backends.rules.rule_file import RuleFile
from backends.rules.voting import Vote

#: The class of a span that is no entity at all.
NO_ENTITY = ""
#: (start, end) of a span; None where the item is a task as a whole.
Place = tuple[int, int] | None
#: What is true of a task: its labels, or (start, end, label) of its spans.
Truth = frozenset[str] | frozenset[tuple[int, int, str]]


@dataclass(frozen=True)
class Items:
    """Rows of the label model: the task (by its place in the batch) and the span of each, and which voters fired."""

    tasks: tuple[int, ...]
    places: tuple[Place, ...]
    fired: Floats


def items_of(cast: Sequence[Sequence[Vote]], file: RuleFile, voters: Sequence[Voter], spans: bool) -> Items:
    """One item per task, or per span that any rule found; votes of labels that have no voter are left out."""
    columns = {(voter.rule, voter.label): at for at, voter in enumerate(voters)}
    names = [rule.name for rule in file.rules]
    rows: dict[tuple[int, Place], int] = {} if spans else {(task, None): task for task in range(len(cast))}
    cells = []
    for task, votes in enumerate(cast):
        for vote in votes:
            row = rows.setdefault((task, (vote.start, vote.end) if spans else None), len(rows))
            column = columns.get((names[vote.rule], vote.label))
            if column is not None:
                cells.append((row, column))
    fired = np.zeros((len(rows), len(voters)))
    if cells:
        fired[tuple(np.array(cells).T)] = 1.0
    return Items(tuple(task for task, _ in rows), tuple(place for _, place in rows), fired)


def truth_of(items: Items, truths: Sequence[Truth], classes: Sequence[str]) -> Floats:
    """(items, classes) of 0 and 1; a span that is no true entity of the control has NO_ENTITY."""
    truth = np.zeros((len(items.tasks), len(classes)))
    for row, (task, place) in enumerate(zip(items.tasks, items.places, strict=True)):
        for column, name in enumerate(classes):
            wanted = name if place is None else (*place, name)
            truth[row, column] = float(wanted in truths[task])
    if NO_ENTITY in classes:
        truth[truth.sum(axis=1) == 0, list(classes).index(NO_ENTITY)] = 1.0
        truth /= truth.sum(axis=1, keepdims=True)  # two people's labels on one span share it
    return truth
