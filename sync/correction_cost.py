"""What suggestions cost or save in a project: its people's labels, what each was shown and how long it took, from the store."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from labelloop.label_config import parse_label_config
from labelloop.store import LabelRow, ProjectRow, Store
from labelloop.store.showings import last_showings
from labelloop.store.shown import UNKNOWN, Shown, shown_predictions
from labelloop.store.tables import outcomes
from labelloop.values import UNSHOWN_ROLES
from qa.annotators.work import PAUSED_S
from qa.corrections.labels import ClassOf, CostLabel, Standing
from qa.corrections.report import Cost, correction_cost
from sync.review_cases import review_answers
from sync.suggestion_fates import class_names, classes_in, suggestion_fates


def cost_of(store: Store, project: ProjectRow, *, fates: bool = True) -> Cost:
    """The cost of corrections in a project; without `fates` in seconds alone, which is quicker.

    Blind are labels of tasks whose role lets nobody see a suggestion: drawn at random, they compare with the others. Labels of
    other tasks that showed nothing don't: a model that suggests nothing chose them.
    """
    rows = store.labels(project.project_id)
    reader = _Reader(store, project, rows, fates)
    labels = [found for row in rows if (found := reader.read(row)) is not None]
    labels = _with_hardness(store, project.project_id, labels, reader.asked)
    reader.left_out["no_time"] += sum(label.seconds is None for label in labels)
    return correction_cost(labels, standings(store, project.project_id), +reader.left_out)


def standings(store: Store, project_id: int) -> dict[ClassOf, Standing]:
    """What was decided last about showing suggestions of each class."""
    return {
        key: Standing(each.verdict == "hidden", each.at, each.by, each.reason)
        for key, each in last_showings(store, project_id).items()
    }


class _Reader:
    """Makes rows of the store labels that the cost is counted on; notes why others are left out."""

    def __init__(self, store: Store, project: ProjectRow, rows: Sequence[LabelRow], fates: bool) -> None:
        self.config = parse_label_config(project.label_config)
        self.names = class_names(self.config)
        self.left_out: Counter[str] = Counter()
        self._reviews = review_answers(store, project.project_id)
        self._tells_fates = fates
        self._data = {task.task_id: task.data for task in store.tasks(project.project_id)} if fates else {}
        parents = {row.parent_prediction for row in rows if row.parent_prediction is not None}
        copies = shown_predictions(store, project.project_id, parents)
        self._copies = {(copy.ls_prediction_id, copy.task_id): copy for copy in copies}
        #: The model version that was served for each task that was read, also where it showed nothing.
        self.asked: dict[int, str] = {}

    def read(self, label: LabelRow) -> CostLabel | None:
        """The label, None when it tells nothing of what suggestions cost."""
        suggestion = self._suggestion(label)
        if isinstance(suggestion, str):
            self.left_out[suggestion] += 1
            return None
        beside = self._copies.get((label.parent_prediction or 0, label.task_id))
        if beside is not None:
            self.asked[label.task_id] = beside.model_version
        regions = suggestion.result if suggestion is not None else label.result
        return CostLabel(
            label.task_id,
            label.person_id,
            _seconds(label),
            label.created_at,
            suggestion.model_version if suggestion is not None else None,
            frozenset(classes_in(regions, self.names)),
            self._fates(suggestion, label),
        )

    def _suggestion(self, label: LabelRow) -> Shown | str | None:
        """What was shown, None for a blind label, or why the label is left out."""
        if label.annotation_id in self._reviews:
            return "review"
        is_blind = label.role in UNSHOWN_ROLES
        if label.shown_serving_id is None:
            return None if is_blind else "nothing_suggested"
        copy = self._copies.get((label.parent_prediction or 0, label.task_id))
        if label.shown_serving_id == UNKNOWN or copy is None:
            return "suggestion_unknown"
        return "suggestion_on_blind_task" if is_blind else copy

    def _fates(self, suggestion: Shown | None, label: LabelRow) -> Counter[Any]:
        if suggestion is None or not self._tells_fates:
            return Counter()
        data: Mapping[str, Any] = self._data.get(label.task_id, {})
        return suggestion_fates(suggestion.result, label.result, self.config, data)


def _seconds(label: LabelRow) -> float | None:
    """How long a label took; None where that is not known, or its person was away."""
    seconds = label.lead_time_s
    return seconds if seconds is not None and 0 < seconds <= PAUSED_S else None


def _with_hardness(
    store: Store, project_id: int, labels: Sequence[CostLabel], asked: Mapping[int, str]
) -> list[CostLabel]:
    """The labels with the place of their task among those of the same model version, by how unsure that was."""
    tasks: dict[str, set[int]] = {}
    for label in labels:
        if label.task_id in asked:
            tasks.setdefault(asked[label.task_id], set()).add(label.task_id)
    hardness: dict[int, float] = {}
    for version, task_ids in tasks.items():
        unsure = _uncertainties(store, project_id, version, sorted(task_ids))
        ordered = sorted(unsure.values())
        hardness |= {task_id: bisect_left(ordered, value) / len(ordered) for task_id, value in unsure.items()}
    return [replace(label, hardness=hardness.get(label.task_id)) for label in labels]


def _uncertainties(store: Store, project_id: int, version: str, task_ids: Sequence[int]) -> dict[int, float]:
    c = outcomes.c
    query = select(c.task_id, c.uncertainty).where(
        store.scope(outcomes, project_id), c.model_version == version, c.uncertainty.is_not(None)
    )
    with store.read() as connection:
        return {
            task_id: float(uncertainty)
            for chunk in store.chunks(task_ids)
            for task_id, uncertainty in connection.execute(query.where(c.task_id.in_(chunk)))
        }
