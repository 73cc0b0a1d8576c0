"""Regions that are likely wrong, judged by predicted ones or by what most of the other people drew or marked.

After ObjectLab (Tkachenko, Thyagarajan and Mueller 2023, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object
Detection Data"): overlooked, badly located and swapped boxes. Scores here are of single regions: how sure the model is, times
how far the label is off. What a model does not know is no error: an extra region weighs by the share of its class that is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labelloop.label_config import Control
from qa.issues.finding import Finding, Label, Told, by_task, findings_of
from qa.issues.placed import Placed, alike, placed_in, same
from qa.kinds.kind import Kind
from qa.measures.boxes import match_boxes
from qa.measures.ratings import Floats

#: From this likeness on two regions are about the same thing.
SAME_THING = 0.5
#: A prediction less sure than this does not say that something is missing, or is of another class.
SURE = 0.5
_LEAST_OF_CLASS = 5


@dataclass(frozen=True)
class Rules:
    """From which likeness on a region is near another, is about the same thing as other people's, and lies where the other does.

    `off` is what one is called that is near and lies elsewhere.
    """

    near: float
    about: float
    placed: float
    off: str


_ON_IMAGES = Rules(0.1, SAME_THING, SAME_THING, "low_overlap")
#: One word too many is an error as well as half of them: how far a span is off only orders such findings.
_IN_TEXTS = Rules(1e-9, 1e-9, 1.0, "boundary")


def rules_of(kind: Kind) -> Rules:
    """What holds for the regions of a kind."""
    return _IN_TEXTS if kind.name == "spans" else _ON_IMAGES


def region_findings(
    labels: Sequence[Label],
    control: Control,
    kind: Kind,
    predicted: Mapping[int, Placed],
    *,
    detector: str | None = None,
    evidence: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[Finding]:
    """Missing, extra, badly placed regions and wrong classes by `predicted` ones, surest first.

    `predicted` are those of the task of each annotation, by its id. One without an entry is not judged; an entry without
    regions says that there is nothing. `evidence` is added to that of the findings of a task. `detector` is told as the one that
    found it (default: "predicted_" and the kind).
    """
    rules = rules_of(kind)
    read = [
        (label, placed_in(label.result, control, kind, label.data)) for label in labels if label.annotation in predicted
    ]
    near = [alike(placed, predicted[label.annotation]) for label, placed in read]
    known = _found_shares([(placed, like) for (_, placed), like in zip(read, near, strict=True)], rules)
    told = (
        (label, each)
        for (label, placed), like in zip(read, near, strict=True)
        for each in _compared(placed, predicted[label.annotation], like, known, rules)
    )
    return findings_of(told, control.name, detector or f"predicted_{kind.name}", evidence)


def regions_of_others(labels: Sequence[Label], control: Control, kind: Kind) -> dict[int, Placed]:
    """Annotation -> the regions of at least two other people, as `_agreed` puts them together."""
    rules = rules_of(kind)
    found: dict[int, Placed] = {}
    for group in by_task(labels).values():
        if len(group) < 3:
            continue
        read = [placed_in(label.result, control, kind, label.data) for label in group]
        every = _joined(read)
        who = np.repeat(np.arange(len(read)), [len(each) for each in read])
        like = alike(every, every)
        for at, label in enumerate(group):
            found[label.annotation] = _agreed(every, who, like, at, len(group) - 1, rules)
    return found


def _joined(read: Sequence[Placed]) -> Placed:
    """The regions of all of these, one after the other."""
    sized = max(read, key=lambda each: each.size[0] * each.size[1])
    return replace(
        sized,
        shapes=tuple(shape for each in read for shape in each.shapes),
        labels=tuple(label for each in read for label in each.labels),
        regions=tuple(region for each in read for region in each.regions),
        scores=tuple(score for each in read for score in each.scores),
        items=tuple(item for each in read for item in each.items),
    )


def _agreed(every: Placed, who: Any, like: Floats, left_out: int, others: int, rules: Rules) -> Placed:
    """One of each bunch of regions where at least half of the others have any, scored by how many have this one.

    Scores are of SURE or more for what more than half have, and for that alone: on the rest these people differ, so that it
    neither is missing anywhere nor extra.
    """
    rows = np.flatnonzero(who != left_out)
    like, people = like[np.ix_(rows, rows)], who[rows]
    labels = [every.labels[at] for at in rows.tolist()]
    about = like >= rules.about
    close = same(labels, labels) & (like >= rules.placed)
    there = [len(set(people[line].tolist())) for line in about]
    support = [len(set(people[line].tolist())) for line in close]
    fit = np.where(close, like, 0.0).sum(axis=1)
    taken: set[int] = set()
    kept: list[tuple[int, float]] = []
    for at in sorted(range(len(rows)), key=lambda k: (-support[k], -float(fit[k]), k)):
        if at in taken or 2 * there[at] < others:
            continue
        taken |= set(np.flatnonzero(close[at]).tolist())
        kept.append((int(rows[at]), support[at] / (others + 1)))
    return every.take([at for at, _ in kept], [score for _, score in kept])


def _found_shares(read: Sequence[tuple[Placed, Floats]], rules: Rules) -> dict[str, float]:
    """Of each class the share of its regions that have a prediction near; that of all where a class has too few to tell."""
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for placed, like in read:
        near = like.max(axis=1, initial=0.0) >= rules.near
        total.update(placed.labels)
        found.update(name for name, hit in zip(placed.labels, near.tolist(), strict=True) if hit)
    every = sum(found.values()) / max(sum(total.values()), 1)
    return {name: found[name] / n if n >= _LEAST_OF_CLASS else every for name, n in total.items()}


def _compared(
    placed: Placed, predicted: Placed, like: Floats, known: Mapping[str, float], rules: Rules
) -> Iterator[Told]:
    """(region, type, given, suggested, score, evidence) of one label."""
    equal = same(placed.labels, predicted.labels)
    # What is equal in class is matched first, so that a crowd of boxes is not read as a crowd of wrong classes.
    worth = like + (equal & (like >= SAME_THING))
    pairs = match_boxes(worth, rules.near, like >= rules.near)
    matched_labels, matched_predictions = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    for i, j, _ in pairs:
        share, sure = float(like[i, j]), predicted.scores[j]
        given, suggested = placed.labels[i], predicted.labels[j]
        why = {**placed.where(i), **_predicted(predicted, j), "likeness": round(share, 4)}
        if not equal[i, j] and share >= SAME_THING and sure >= SURE:
            yield placed.regions[i] or None, "wrong_class", given, suggested, sure * share, why
        elif equal[i, j] and share < rules.placed and sure >= SURE:
            yield placed.regions[i] or None, rules.off, given, given, sure * (1 - share / 2), why
    for j in range(len(predicted)):
        most, sure = float(like[:, j].max(initial=0.0)), predicted.scores[j]
        if j not in matched_predictions and sure >= SURE and most < SAME_THING:
            why = {**_predicted(predicted, j), "likeness": round(most, 4)}
            yield None, "missing", None, predicted.labels[j], sure * (1 - most), why
    for i, name in enumerate(placed.labels):
        if i in matched_labels or like[i].max(initial=0.0) >= rules.near:
            continue
        # That a model says nothing tells less than that it says something: models miss more than they make up.
        why = {**placed.where(i), "class_found": round(known[name], 4)}
        yield placed.regions[i] or None, "extra", name, None, known[name] / 2, why


def _predicted(predicted: Placed, at: int) -> dict[str, Any]:
    (place,) = predicted.where(at).values()
    return {"predicted": place, "confidence": round(predicted.scores[at], 4)}
