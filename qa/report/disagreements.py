"""The tasks on which people agree least, with what each of them said, and which classes they take for each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from labelloop.label_config import Control
from qa.agreement.counting import Said, current_labels, labels_of, said_under
from qa.agreement.running import Running
from qa.kinds.kind import Kind
from qa.report.bars import Confused

#: Tasks whose disagreement is drawn, and tasks that are named for two confused classes.
MOST_TASKS, MOST_EXAMPLES = 20, 5


@dataclass(frozen=True)
class Answer:
    """What one person said: the value as the control's kind reads it (None for nothing), and whether it was said blind."""

    annotator: int
    value: Any
    blind: bool


@dataclass(frozen=True)
class Disagreement:
    """One task under one control: how far people agree there, its data, and everybody's answer."""

    task: int
    control: Control
    score: float | None
    data: Mapping[str, Any]
    answers: tuple[Answer, ...]


def worst_disagreements(
    report: Mapping[str, Any],
    labels: pl.DataFrame,
    measured: Sequence[tuple[Control, Kind]],
    most: int = MOST_TASKS,
    *,
    gold: bool = False,
) -> list[Disagreement]:
    """The tasks of an agreement report with the lowest scores, over all controls, the worst first.

    `measured` are the controls and kinds of `qa.kinds.registry.measurable`. A task comes once for each control that it is bad in.
    """
    kinds = {control.name: (control, kind) for control, kind in measured}
    rows = [
        (row["score"], row["task"], name)
        for name, control in report["controls"].items()
        for row in control.get("tasks", ())
        if name in kinds and row["score"] is not None
    ]
    worst = sorted(rows, key=lambda row: row[:2])[:most]
    wanted = labels.filter(pl.col("task_id").is_in([row[1] for row in worst]))
    kept = labels_of(current_labels(wanted, gold=gold)[0])
    answers: dict[tuple[str, int], list[Answer]] = defaultdict(list)
    for name in {row[2] for row in worst}:
        said = said_under(kept, *kinds[name])
        for at, place in enumerate(said.place.tolist()):
            answer = Answer(int(said.readings.annotator[at]), said.readings.values[at], bool(kept.shown[place] < 0))
            answers[(name, int(kept.task[place]))].append(answer)
    return [
        Disagreement(task, kinds[name][0], score, kept.data.get(task, {}), tuple(answers[(name, task)]))
        for score, task, name in worst
    ]


def confused_pairs(running: Running, said: Sequence[Said], report: Mapping[str, Any]) -> dict[str, list[Confused]]:
    """Of each control the pairs of classes that two people gave to one thing, over the basis of the report.

    Counted are pairs of judgments; the tasks named are among those on which people agree least.
    """
    return {each.control.name: _confused(running, each, report) for each in said if each.kind.level == "nominal"}


def _confused(running: Running, said: Said, report: Mapping[str, Any]) -> list[Confused]:
    meetings = running.tallies[said.control.name].tables["meetings"]
    apart = meetings.filter((pl.col("basis") == report["basis"]) & (pl.col("left") != pl.col("right")))
    counts: Counter[tuple[str, str]] = Counter()
    for left, right, n in apart.group_by("left", "right").agg(pl.col("rows").sum()).sort("left", "right").iter_rows():
        counts[_ordered(left, right)] += n
    bad = [row["task"] for row in report["controls"][said.control.name]["tasks"]]
    examples = _examples(said, bad)
    return [
        Confused(_name(first), _name(second), n, tuple(examples.get((first, second), ())[:MOST_EXAMPLES]))
        for (first, second), n in counts.most_common()
    ]


def _examples(said: Said, tasks: Iterable[int]) -> dict[tuple[str, str], list[int]]:
    """Of these tasks, those that have judgments of both classes about one thing."""
    at = np.flatnonzero(np.isin(said.readings.task, np.array(list(tasks), dtype=np.int64)))
    part = said.readings.at(at)
    judged = said.kind.compare(part).judged
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for _, rows in judged.group_by("unit", maintain_order=True):
        task = int(part.task[rows["place"][0]])
        for first, second in combinations(sorted(set(map(str, rows["value"].to_list()))), 2):
            if task not in found[(first, second)]:
                found[(first, second)].append(task)
    return found


def _ordered(left: str, right: str) -> tuple[str, str]:
    return (left, right) if left <= right else (right, left)


def _name(value: str) -> str:
    return value or "(no class)"
