"""How good a version is on the holdout, counted task by task for each control, beside what knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.choice_regions import chosen_classes
from backends.control_metrics import Counts, counted, f1, headline, majority_class, metric_name
from backends.spacy_nlp.backend import SpacyBackend
from backends.spacy_nlp.converters.labels import Span, region_spans
from backends.spacy_nlp.dictionary import dictionary_spans, surface_forms
from backends.spacy_nlp.examples import LabelledTask, read_tasks, takes_several
from labelloop.datasets import Dataset
from labelloop.label_config import Control
from labelloop.values import Metrics, Outcome, TaskItem


@dataclass(frozen=True)
class _Judged:
    """What was said of the holdout for one control, and what the baseline says: counts by task id."""

    control: Control
    said: Mapping[int, Counts]
    naive: Mapping[int, Counts]


def judge_version(version: Path, dataset: Dataset, controls: Sequence[Control]) -> Metrics:
    """The headline of a version over the controls that people have answered; one that it does not answer is all missed."""
    read = [(c, read_tasks(dataset, c, "holdout"), read_tasks(dataset, c, "train")) for c in controls]
    read = [one for one in read if any(task.spans or task.chosen for task in (*one[1], *one[2]))] or read
    data = {task.task_id: TaskItem(task.task_id, task.data) for _, held, _ in read for task in held}
    said = dict(zip(data, SpacyBackend(version).predict(list(data.values())), strict=True))
    judged = [_judged(control, held, train, said) for control, held, train in read]
    per_item = _per_item([(each.control, each.said) for each in judged])
    usual = _per_item([(each.control, each.naive) for each in judged])
    extra = {
        f"f1/{each.control.name + '/' if len(judged) > 1 else ''}{label}": f1(list(each.said.values()), label)
        for each in judged
        for label in each.control.classes
    }
    true = sum(sum(counts["tp"].values()) + sum(counts["fn"].values()) for j in judged for counts in j.said.values())
    name = metric_name(_target(each.control) for each in judged)
    return Metrics(name, headline(per_item), len(per_item), true, per_item, headline(usual), extra)


def _target(control: Control) -> str:
    return "choices" if control.tag == "Choices" else "spans"


def _judged(
    control: Control, held: Sequence[LabelledTask], train: Sequence[LabelledTask], said: Mapping[int, Outcome]
) -> _Judged:
    baseline = _baseline(control, train)
    return _Judged(
        control,
        {task.task_id: counted(_said(control, task, said[task.task_id]), _true(task)) for task in held},
        {task.task_id: counted(baseline(task), _true(task)) for task in held},
    )


def _said(control: Control, task: LabelledTask, outcome: Outcome) -> Iterable[Any]:
    if task.document is None:
        return ()
    if control.tag == "Choices":
        return chosen_classes(outcome.regions, control.classes, control.name)
    found, _ = region_spans(task.document, outcome.regions, control.name, control.region_type)
    return _keys(task.joined(found))


def _true(task: LabelledTask) -> Collection[Any]:
    return task.chosen or _keys(task.spans)


def _keys(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label) for span in spans]


def _baseline(control: Control, train: Sequence[LabelledTask]) -> Callable[[LabelledTask], Iterable[Any]]:
    """What would be said without a model: the names of the training split, its most frequent class, none of several."""
    if control.tag != "Choices":
        known = surface_forms((task.text, task.spans) for task in train)
        return lambda task: _keys(dictionary_spans(task.text, known))
    usual = None if takes_several(control) else majority_class([name for task in train for name in task.chosen])
    return lambda task: () if usual is None else (usual,)


def _per_item(controls: Sequence[tuple[Control, Mapping[int, Counts]]]) -> tuple[dict[str, Any], ...]:
    """The counts of every task that was judged for any control, in the shape that `headline` takes."""
    items: dict[int, dict[str, Any]] = {}
    for control, counts_by_task in controls:
        for task_id, counts in counts_by_task.items():
            item = items.setdefault(task_id, {"task_id": task_id, "choices": {}, "spans": {}})
            item[_target(control)][control.name] = counts
    return tuple(items[task_id] for task_id in sorted(items))
