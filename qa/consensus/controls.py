"""The consensus under any control as a report: one answer for each task, or regions with their support."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control
from qa.agreement.counting import Labels, Said, current_labels, labels_of, said_under
from qa.consensus.region_votes import Drawn, Fused, quorum_of, region_consensus
from qa.consensus.report import METHODS, SCHEMA_VERSION, consensus_report
from qa.kinds.kind import Kind, is_untouched
from qa.kinds.likeness import LIKENESS
from qa.measures.ratings import Floats, Ratings, ratings_of

_STEP = " / "
#: kind -> the methods that fit it, the first one by default.
FITTING: Mapping[str, tuple[str, ...]] = {
    "categories": ("dawid_skene", "majority", "weighted", "one_coin"),
    "sets": ("majority", "dawid_skene", "one_coin"),
    **dict.fromkeys(LIKENESS, ("majority", "weighted")),
}
_ELSE = ("majority",)


def fitting_method(kind: Kind, control: Control, method: str | None) -> str:
    """The method that was asked for, or the kind's own; UsageError when it does not fit the control."""
    fitting = FITTING.get(kind.name, _ELSE)
    if method is not None and method not in fitting:
        raise UsageError(
            f"--method {method} does not fit <{control.tag} name={control.name!r}>; take one of {list(fitting)}"
        )
    return method or fitting[0]


def control_consensus(labels: pl.DataFrame, control: Control, kind: Kind, method: str | None = None) -> dict[str, Any]:
    """The report of one control, as docs/schemas/consensus.schema.json describes it.

    `labels` are as `qa.agreement.measure_agreement` takes them. DataError without any answer.
    """
    chosen = fitting_method(kind, control, method)
    found = labels_of(current_labels(labels)[0])
    said = said_under(found, control, kind)
    if not any(value is not None for value in said.readings.values):
        raise DataError("there is no judgment to find a consensus of; label some tasks first, or check --control")
    if kind.name == "categories":
        return _categories(found, said, chosen)
    tasks = list(_tasks(found, said, chosen))
    return {
        "schema_version": SCHEMA_VERSION,
        "control": control.name,
        "method": chosen,
        "n_tasks": len(tasks),
        "n_judgments": len(said.readings),
        "labels": list(control.classes),
        "tasks": tasks,
        "annotators": {
            str(person): {"judgments": count, "confusion": None}
            for person, count in sorted(Counter(said.readings.annotator.tolist()).items())
        },
    }


def _tasks(labels: Labels, said: Said, method: str) -> Iterator[dict[str, Any]]:
    kind, readings = said.kind, said.readings
    spans = [
        (first, after) for first, after in readings.tasks() if any(v is not None for v in readings.values[first:after])
    ]
    if kind.name == "sets":
        yield from _sets(said, spans, method, labels)
        return
    weights = trust_of(said) if method == "weighted" else {}
    for first, after in spans:
        task = {"task": int(readings.task[first]), "n_people": after - first}
        values = readings.values[first:after]
        if kind.name in LIKENESS:
            drawn = [_drawn(labels, said, place, weights) for place in range(first, after)]
            kept, rejected = region_consensus(kind.name, drawn)
            yield {
                **task,
                "quorum": quorum_of(len(drawn)),
                "regions": [_told(each) for each in kept],
                "rejected": [_told(each) for each in rejected],
            }
            continue
        given = [value for value in values if value is not None]
        label, told = _ONE[kind.name](given)
        support = sum(value == label for value in given)
        yield {
            **task,
            "label": told,
            "probability": support / len(given),
            "support": support,
            "judgments": len(given),
            "anchored": sum(
                values[place - first] == label and _accepted_whole(labels, said, place) for place in range(first, after)
            ),
        }


def _told(found: Fused) -> dict[str, Any]:
    return {
        "label": found.label, "item": found.item, "value": found.value, "probability": round(found.probability, 6),
        "support": found.support, "anchored": found.anchored, "people": list(found.people),
    }  # fmt: skip


# -- who merely accepted, and who is trusted --------------------------------------------------------------------------


def _drawn(labels: Labels, said: Said, place: int, weights: Mapping[int, float]) -> Drawn:
    at, person = int(said.place[place]), int(said.readings.annotator[place])
    accepted: frozenset[str] = frozenset()
    if labels.shown[at] >= 0:
        accepted = frozenset(str(region.get("id") or "") for region in labels.results[at] if is_untouched(region))
    return Drawn(person, said.readings.values[place], weights.get(person, 1.0), accepted)


def _accepted_whole(labels: Labels, said: Said, place: int) -> bool:
    """Whether a label about the task as a whole is a suggestion that its person left as it was."""
    at = int(said.place[place])
    regions = [region for region in labels.results[at] if region.get("from_name") == said.control.name]
    return bool(labels.shown[at] >= 0) and bool(regions) and all(map(is_untouched, regions))


def trust_of(said: Said) -> dict[int, float]:
    """How much each person counts: the mean score of their labels with others', 1 for those who met nobody."""
    pairs = said.kind.compare(said.readings).pairs
    left, right, score = (pairs[name].to_numpy() for name in ("left", "right", "score"))
    people = said.readings.annotator
    sums: dict[int, list[float]] = {}
    for side in (left, right):
        for person, each in zip(people[side].tolist(), score.tolist(), strict=True):
            total = sums.setdefault(person, [0.0, 0.0])
            total[0] += each
            total[1] += 1
    return {person: total / count for person, (total, count) in sums.items()}


# -- about the task as a whole ----------------------------------------------------------------------------------------


def _categories(labels: Labels, said: Said, method: str) -> dict[str, Any]:
    given = [place for place, value in enumerate(said.readings.values) if value is not None]
    tasks, people = said.readings.task[given], said.readings.annotator[given]
    values = [said.readings.values[place] for place in given]
    ratings = ratings_of(tasks, people, values)
    trust = trust_of(said) if method == "weighted" else {}
    weights = np.array([trust.get(int(person), 1.0) for person in ratings.rater_names.tolist()])
    report = consensus_report(ratings, method, said.control.name, weights if method == "weighted" else None)
    anchored: Counter[tuple[int, str]] = Counter()
    for place in given:
        if _accepted_whole(labels, said, place):
            anchored[(int(said.readings.task[place]), said.readings.values[place])] += 1
    for task in report["tasks"]:
        task["anchored"] = anchored[(task["task"], task["label"])]
    return report


def _sets(said: Said, spans: Sequence[tuple[int, int]], method: str, labels: Labels) -> Iterator[dict[str, Any]]:
    """The members that are more probable than not, each asked for by itself; of a taxonomy the deepest path of them."""
    readings = said.readings
    sets = [_with_prefixes(value or frozenset()) for value in readings.values]
    asked = [place for first, after in spans for place in range(first, after)]
    members = sorted({member for place in asked for member in sets[place]})
    tasks = readings.task[asked]
    share: dict[str, Mapping[int, float]] = {}
    for member in members:
        has = np.array([member in sets[place] for place in asked], dtype=np.int64)
        share[member] = _probability(ratings_of(tasks, readings.annotator[asked], has, possible=[0, 1]), method)
    for first, after in spans:
        task = int(readings.task[first])
        probable = {member: share[member][task] for member in members}
        answer = {member for member, probability in probable.items() if probability > 0.5}
        deepest = sorted(each for each in answer if not any(other.startswith(each + _STEP) for other in answer))
        same = [place for place in range(first, after) if sets[place] == answer]
        yield {
            "task": task, "n_people": after - first, "label": deepest,
            "probability": round(min((max(p, 1 - p) for p in probable.values()), default=1.0), 6),
            "support": len(same), "judgments": after - first,
            "anchored": sum(_accepted_whole(labels, said, place) for place in same),
        }  # fmt: skip


def _with_prefixes(value: frozenset[str]) -> frozenset[str]:
    return frozenset(
        _STEP.join(steps[:depth])
        for steps in (member.split(_STEP) for member in value)
        for depth in range(1, len(steps) + 1)
    )


def _probability(ratings: Ratings, method: str) -> Mapping[int, float]:
    posterior: Floats = METHODS[method](ratings).posterior
    return dict(zip(ratings.unit_names.tolist(), posterior[:, 1].tolist(), strict=True))


def _middle(given: Sequence[float]) -> tuple[float, Any]:
    found = median(given)
    return found, found


def _borda(given: Sequence[tuple[tuple[str, ...], ...]]) -> tuple[Any, Any]:
    """Items by their mean place (Borda 1784), those of a bucket at its middle; items that fewer ranked come after."""
    places: dict[str, list[float]] = {}
    for groups in given:
        before = 0
        for group in groups:
            for item in group:
                places.setdefault(item, []).append(before + (len(group) - 1) / 2)
            before += len(group)
    order = sorted(
        places, key=lambda item: (len(places[item]) * 2 < len(given), sum(places[item]) / len(places[item]), item)
    )
    return tuple((item,) for item in order), order


def _medoid(given: Sequence[str]) -> tuple[str, str]:
    """The text that is closest to all the others; of equal ones the first that was given."""
    from rapidfuzz.distance import Levenshtein

    best = max(
        range(len(given)),
        key=lambda at: (sum(Levenshtein.normalized_similarity(given[at], other) for other in given), -at),
    )
    return given[best], given[best]


_ONE: Mapping[str, Callable[[Sequence[Any]], tuple[Any, Any]]] = {
    "ratings": _middle, "numbers": _middle, "moments": _middle, "rankings": _borda, "texts": _medoid,
}  # fmt: skip
