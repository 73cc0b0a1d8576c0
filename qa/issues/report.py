"""Findings, hotspots and problems of data as one report, and that report for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from labelloop.errors import NotReady
from labelloop.label_config import Control, LabelConfig
from qa.issues.causes import disputed_tasks, hotspots, with_causes
from qa.issues.classes import CONFIDENT_LEARNING, class_findings, opinions
from qa.issues.data_problems import (
    Answer,
    DataProblem,
    class_drift,
    conflicts,
    duplicate_problems,
    leakage,
    outliers,
    outlying_texts,
)
from qa.issues.finding import Finding, Label
from qa.issues.placed import placed_in
from qa.issues.region_errors import region_findings, regions_of_others
from qa.issues.sets import chosen, set_findings
from qa.issues.slips import slips
from qa.kinds.kind import Kind, under
from qa.kinds.likeness import LIKENESS
from qa.kinds.registry import kind_of

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Clues:
    """What labels are judged by, as far as there is any.

    `chances`: by control, task and class, probabilities of a model that did not see the task's labels. `regions`: predicted
    regions by task ([] where a model found nothing). `about`: evidence on the predictions of a task. `groups`: tasks that show
    nearly the same. `splits`: which one a task belongs to. `vectors`: embeddings by task; `texts`: what is shown,
    in place of them. `skipped`: (detector, reason) of what
    could not be made.
    """

    chances: Mapping[str, Mapping[int, Mapping[str, float]]] = field(default_factory=dict)
    regions: Mapping[int, Sequence[dict[str, Any]]] = field(default_factory=dict)
    about: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    groups: Sequence[Sequence[int]] = ()
    splits: Mapping[int, str] = field(default_factory=dict)
    vectors: Mapping[int, Sequence[float]] = field(default_factory=dict)
    texts: Mapping[int, str] = field(default_factory=dict)
    skipped: Sequence[tuple[str, str]] = ()


def error_report(labels: Sequence[Label], config: LabelConfig, clues: Clues) -> dict[str, Any]:
    """Plain JSON values, as docs/schemas/errors.schema.json describes them; what could not be looked for says why."""
    found: list[Finding] = []
    data: list[DataProblem] = []
    skipped = list(clues.skipped)
    shares: dict[str, dict[str, float]] = {}
    disputed: dict[str, frozenset[int]] = {}
    for control in (*config.controls, *config.answers):
        part = _part_of(labels, control)
        if part is None:
            skipped.append((f"labels of {control.name}", f"label errors of <{control.tag}> are not looked for"))
            continue
        found += part.findings(clues, skipped)
        data += part.problems(clues)
        shares[control.name], disputed[control.name] = part.shares(), part.disputed()
    data += duplicate_problems(clues.groups) + leakage(clues.groups, clues.splits)
    try:
        if clues.vectors:
            tasks = sorted(clues.vectors)
            data += outliers(tasks, np.array([clues.vectors[task] for task in tasks], dtype=np.float64))
        elif clues.texts:
            data += outlying_texts(clues.texts)
    except NotReady as error:
        skipped.append(("outliers", str(error)))
    told = with_causes(merged(found), disputed)
    told.sort(key=lambda each: (-each.score, each.task, each.annotation or 0, each.control, each.type))
    return {
        "schema_version": SCHEMA_VERSION,
        "n_labels": len(labels),
        "findings": [each.to_json() for each in told],
        "hotspots": [each.to_json() for each in hotspots(told, labels, shares)],
        "data": [each.to_json() for each in data],
        "skipped": [{"detector": detector, "reason": reason} for detector, reason in dict.fromkeys(skipped)],
    }


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """What several detectors say of one region is one finding: its score is that one of them is right."""
    kept: dict[tuple[Any, ...], Finding] = {}
    for at, each in enumerate(findings):
        about = each.region if each.region is not None or each.type == "wrong_class" else f"#{at}"
        key = (each.annotation, each.control, about, each.type, each.suggested)
        before = kept.get(key)
        kept[key] = each if before is None else replace(
            before, score=1 - (1 - before.score) * (1 - each.score), detector=f"{before.detector}+{each.detector}",
            evidence={**each.evidence, **before.evidence}, cause=before.cause or each.cause,
        )  # fmt: skip
    return list(kept.values())


class _Part(Protocol):
    """What is looked for under one control."""

    def findings(self, clues: Clues, skipped: list[tuple[str, str]]) -> list[Finding]: ...
    def problems(self, clues: Clues) -> list[DataProblem]: ...
    def shares(self) -> dict[str, float]: ...
    def disputed(self) -> frozenset[int]: ...


def _part_of(labels: Sequence[Label], control: Control) -> _Part | None:
    """The part of a control; None for answers that are not looked at."""
    kind = kind_of(control)
    if kind is None:
        return None
    if kind.name in ("categories", "ratings"):
        return _Classes(labels, control, kind)
    if kind.name == "sets":
        return _Sets(labels, control, kind)
    return _Regions(labels, control, kind) if kind.name in LIKENESS else None


class _Classes:
    """Classes and ratings of tasks as wholes."""

    def __init__(self, labels: Sequence[Label], control: Control, kind: Kind) -> None:
        self._labels, self._control, self._kind = labels, control, kind
        self._said = opinions(labels, control, kind)
        self._answers: dict[int, list[Answer]] = defaultdict(list)
        for each in self._said:
            self._answers[each.label.task].append((each.label.annotator, each.value))

    def findings(self, clues: Clues, skipped: list[tuple[str, str]]) -> list[Finding]:
        chances = clues.chances.get(self._control.name, {})
        try:
            return class_findings(self._labels, self._control, self._kind, chances)
        except NotReady as error:
            skipped.append((f"{CONFIDENT_LEARNING} of {self._control.name}", str(error)))
            return class_findings(self._labels, self._control, self._kind, {})

    def problems(self, clues: Clues) -> list[DataProblem]:
        weeks = [(each.label.task, each.label.week, each.value) for each in self._said]
        return conflicts(clues.groups, self._control.name, self._answers) + class_drift(self._control.name, weeks)

    def shares(self) -> dict[str, float]:
        return _shares(each.value for each in self._said)

    def disputed(self) -> frozenset[int]:
        return disputed_tasks({task: [value for _, value in said] for task, said in self._answers.items()})


class _Sets:
    """Several classes of tasks as wholes."""

    def __init__(self, labels: Sequence[Label], control: Control, kind: Kind) -> None:
        self._control = control
        self._said = chosen(labels, control, kind)
        self._answers: dict[int, list[Answer]] = defaultdict(list)
        for each in self._said:
            self._answers[each.label.task].append((each.label.annotator, " + ".join(sorted(each.values))))

    def findings(self, clues: Clues, skipped: list[tuple[str, str]]) -> list[Finding]:
        try:
            return set_findings(self._said, self._control, clues.chances.get(self._control.name, {}))
        except NotReady as error:
            skipped.append((f"{CONFIDENT_LEARNING} of {self._control.name}", str(error)))
            return set_findings(self._said, self._control, {})

    def problems(self, clues: Clues) -> list[DataProblem]:
        weeks = [(each.label.task, each.label.week, name) for each in self._said for name in sorted(each.values)]
        return conflicts(clues.groups, self._control.name, self._answers) + class_drift(self._control.name, weeks)

    def shares(self) -> dict[str, float]:
        return _shares(name for each in self._said for name in each.values)

    def disputed(self) -> frozenset[int]:
        return disputed_tasks({task: [value for _, value in said] for task, said in self._answers.items()})


class _Regions:
    """Regions of images, texts and sounds."""

    def __init__(self, labels: Sequence[Label], control: Control, kind: Kind) -> None:
        self._labels, self._control, self._kind = labels, control, kind
        self._read = [placed_in(label.result, control, kind, label.data) for label in labels]

    def findings(self, clues: Clues, skipped: list[tuple[str, str]]) -> list[Finding]:
        labels, control, kind = self._labels, self._control, self._kind
        judged = [label for label in labels if label.task in clues.regions]
        if not judged:
            reason = "no task with labels has predicted regions; --out-of-fold makes some, --predictions reads a file"
            skipped.append((f"predictions of {control.name}", reason))
        elif not any(under(clues.regions[label.task], control) for label in judged):
            # A model that was not made for a control says nothing by saying nothing.
            skipped.append((f"predictions of {control.name}", "none of the predicted regions is of this control"))
            judged = []
        predicted = {
            label.annotation: placed_in(clues.regions[label.task], control, kind, label.data) for label in judged
        }
        return (
            region_findings(labels, control, kind, predicted, evidence=clues.about)
            + region_findings(labels, control, kind, regions_of_others(labels, control, kind), detector="consensus")
            + slips(labels, control, kind)
        )

    def problems(self, clues: Clues) -> list[DataProblem]:
        rows = [
            (label.task, label.week, name)
            for label, placed in zip(self._labels, self._read, strict=True)
            for name in placed.labels
        ]
        return class_drift(self._control.name, rows)

    def shares(self) -> dict[str, float]:
        return _shares(name for placed in self._read for name in placed.labels)

    def disputed(self) -> frozenset[int]:
        """Tasks on which people do not even count the same number of each class."""
        said: dict[int, list[Any]] = defaultdict(list)
        for label, placed in zip(self._labels, self._read, strict=True):
            said[label.task].append(tuple(sorted(Counter(placed.labels).items())))
        return disputed_tasks(said)


def _shares(names: Any) -> dict[str, float]:
    counts = Counter(names)
    every = sum(counts.values())
    return {name: n / every for name, n in counts.items()}


def errors_text(report: Mapping[str, Any], most: int = 20) -> str:
    """The report for people: the surest findings, where they gather, and what is wrong with the data."""
    findings, spots, data = report["findings"], report["hotspots"], report["data"]
    kinds = Counter(each["type"] for each in findings)
    named = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in kinds.most_common())
    lines = [f"{report['n_labels']} labels, {len(findings)} findings" + (f": {named}" if named else "")]
    for each in findings[:most]:
        what = " -> ".join(str(part) for part in (each["given"], each["suggested"]) if part is not None)
        who = "" if each["annotator"] is None else f", annotator {each['annotator']}"
        lines.append(
            f"  {each['score']:.3f}  task {each['task']}{who}  {each['type'].replace('_', ' ')}: {what}  ({each['cause']}, "
            f"by {each['detector'].replace('_', ' ')})"
        )
    if len(findings) > most:
        lines.append(f"  ... and {len(findings) - most} less sure; --json has all")
    for each in spots[:most]:
        lines.append(
            f"hotspot {each['by'].replace('_', ' ')} {each['key']}: {each['n']} findings where chance gives "
            f"{each['expected']:.1f}; tasks {_some(each['tasks'])}"
        )
    for kind, n in Counter(each["type"] for each in data).items():
        first = next(each for each in data if each["type"] == kind)
        lines.append(f"data: {n} {kind}, first: {first['key']}, tasks {_some(first['tasks'])}")
    lines += [f"not looked for: {each['detector']}: {each['reason']}" for each in report["skipped"]]
    return "\n".join(lines)


def _some(tasks: Sequence[int], most: int = 5) -> str:
    return ", ".join(map(str, tasks[:most])) + (f" and {len(tasks) - most} more" if len(tasks) > most else "")
