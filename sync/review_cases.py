"""The labels of some tasks as the cases that the review policy judges, read from the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import String, cast, select

from labelloop.label_config import LabelConfig
from labelloop.settings import QualitySection
from labelloop.store import LabelRow, ProjectRow, Store
from labelloop.store.decisions import APPROVED, REFUSED, REQUESTED, REVIEW, Decision, decisions_of, reviewed
from labelloop.store.newest import is_newest
from labelloop.store.shown import versions_served
from labelloop.store.tables import decisions, outcomes, revisions
from labelloop.values import Region
from qa.review.pair_scores import Answer, Compared, compare_answers
from qa.review.policy import Case, Opinion, Rules, is_low_confidence
from sync.roles import salted_unit
from sync.runtime import Runtime

#: A region that a model was less sure of is not taken for what it says.
_SAID = 0.5
#: Ids further apart than this are read by queries of their own.
_APART = 20
#: Key of the model's answer among the answers to a task, which go by their annotation.
_MODEL = -1
#: Key of a known answer; several of one task count down.
_GOLD = -2


@dataclass
class TaskLabels:
    """A task, its current labels by people, what was decided about them, and its known answers (gold)."""

    task_id: int
    overlap: int
    role: str
    data: Mapping[str, Any]
    labels: list[LabelRow]
    decisions: list[Decision] = field(default_factory=list)
    gold: list[tuple[int, list[Region]]] = field(default_factory=list)

    @property
    def is_gold(self) -> bool:
        """Whether it tests people, and is itself beyond question."""
        return self.role == "gold" or bool(self.gold)

    def verdict(self, label: LabelRow) -> str | None:
        """What a reviewer said of a label as it is now."""
        return reviewed(self.decisions, label.annotation_id, label.rev_hash, label.updated_at)

    def request(self, before: LabelRow | None = None) -> Decision | None:
        """The last time that a reviewer was asked to look (before a label was made)."""
        asked = [d for d in self.decisions if (d.stage, d.verdict) == (REVIEW, REQUESTED)]
        return next((d for d in reversed(asked) if before is None or d.at <= before.created_at), None)

    def open_request(self) -> Decision | None:
        """The request that no verdict has answered."""
        request = self.request()
        if request is None:
            return None
        later = [d for d in self.decisions if d.decision_id > request.decision_id and d.stage == REVIEW]
        return None if any(d.verdict not in (REQUESTED, REFUSED) for d in later) else request

    def is_review(self, label: LabelRow) -> bool:
        """Whether a label is known as a reviewer's answer, in this or an earlier content."""
        return any(
            d.stage == REVIEW and d.verdict == APPROVED and d.annotation_id == label.annotation_id
            and d.by == str(label.person_id)
            for d in self.decisions
        )  # fmt: skip


def rules_of(quality: QualitySection) -> Rules:
    """What the settings ask for."""
    return Rules(
        quality.agreement_threshold,
        quality.min_annotators_per_sample,
        quality.review_gate,
        quality.auto_flag_low_confidence,
    )


def read_tasks(store: Store, project_id: int, task_ids: Sequence[int]) -> list[TaskLabels]:
    """Those of these tasks that have labels, in order."""
    labels: dict[int, list[LabelRow]] = {}
    for label in store.labels(project_id, task_ids=task_ids):
        labels.setdefault(label.task_id, []).append(label)
    found: dict[int, TaskLabels] = {}
    for lo, hi in _runs(sorted(labels)):
        for task in store.tasks(project_id, lo, hi):
            if task.task_id in labels:
                found[task.task_id] = TaskLabels(task.task_id, task.overlap, task.role, task.data, labels[task.task_id])
        for decision in decisions_of(store, project_id, lo, hi):
            if decision.task_id in found:
                found[decision.task_id].decisions.append(decision)
    for task_id, annotation_id, result in _gold(store, project_id, list(found)):
        found[task_id].gold.append((annotation_id, result))
    return list(found.values())


def _runs(task_ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of ids that lie so close that one query for all between them is less work than several."""
    first = 0
    for place in range(1, len(task_ids) + 1):
        if place == len(task_ids) or task_ids[place] - task_ids[place - 1] > _APART:
            yield task_ids[first], task_ids[place - 1]
            first = place


def authors(store: Store, project_id: int, task_ids: Collection[int]) -> dict[int, dict[int, set[int]]]:
    """By task and person every annotation that the person ever made of it, also those that are gone."""
    r = revisions.c
    query = select(r.task_id, r.person_id, r.annotation_id).where(
        store.scope(revisions, project_id), r.person_id.is_not(None), r.kind == "human"
    )
    found: dict[int, dict[int, set[int]]] = {}
    with store.read() as connection:
        for chunk in store.chunks(sorted(task_ids)):
            for task_id, person, annotation_id in connection.execute(query.where(r.task_id.in_(chunk)).distinct()):
                found.setdefault(task_id, {}).setdefault(person, set()).add(annotation_id)
    return found


def review_answers(store: Store, project_id: int) -> set[int]:
    """Annotations that reviewers made as their answer to a review: made with the others' in sight, so no second opinions."""
    d, r = decisions.c, revisions.c
    query = (
        select(d.annotation_id)
        .join(revisions, (r.instance == d.instance) & (r.annotation_id == d.annotation_id))
        .where(
            store.scope(decisions, project_id), d.stage == REVIEW, d.verdict == APPROVED,
            d.by == cast(r.person_id, String),
        )
    )  # fmt: skip
    with store.read() as connection:
        return set(connection.execute(query.distinct()).scalars())


def _gold(store: Store, project_id: int, task_ids: Sequence[int]) -> Iterable[tuple[int, int, list[Region]]]:
    """The known answers to tasks: (task, annotation, result) of current annotations marked as ground truth."""
    r = revisions.c
    query = select(r.task_id, r.annotation_id, r.result).where(
        store.scope(revisions, project_id), r.ground_truth.is_(True), r.state == "submitted", is_newest()
    )
    with store.read() as connection:
        for chunk in store.chunks(task_ids):
            for row in connection.execute(query.where(r.task_id.in_(chunk)).order_by(r.annotation_id)):
                yield row.task_id, row.annotation_id, row.result


class Judge:
    """Makes cases of a project's tasks: who agrees with whom, with the model, and with known answers."""

    def __init__(self, runtime: Runtime, project: ProjectRow, config: LabelConfig) -> None:
        self.store, self.project, self.config = runtime.store, project, config
        self.quality = runtime.project_settings(project).quality
        served = runtime.store.served(project.project_id)
        self._served = served.model_version if served is not None and served.digest else None
        self._versions: dict[str, str] = {}

    def compared(self, tasks: Sequence[TaskLabels]) -> Compared:
        """Every two answers to each task: labels by annotation, the known answers."""
        answers = [
            Answer(task.task_id, label.annotation_id, label.result, task.data)
            for task in tasks
            for label in task.labels
        ]
        for task in tasks:
            answers += [Answer(task.task_id, _GOLD - n, result, task.data) for n, (_, result) in enumerate(task.gold)]
        return compare_answers(answers, self.config)

    def case(self, task: TaskLabels, compared: Compared, doubtful: Collection[int]) -> Case:
        """A task as the policy sees it; reviewers' own answers are no opinions."""
        own = {label.annotation_id for label in task.labels if task.is_review(label)}
        opinions = tuple(
            Opinion(
                label.annotation_id,
                task.verdict(label),
                unsure=(task.task_id, label.annotation_id) in compared.unsure,
                sampled=self.is_drawn(label.annotation_id),
                low_confidence=label.annotation_id in doubtful,
            )
            for label in task.labels
            if label.annotation_id not in own
        )
        request = task.open_request()
        return Case(
            task.task_id,
            task.overlap,
            opinions,
            {pair: score for pair, score in compared.of(task.task_id).items() if not own & set(pair)},
            tuple(request.reason.partition(":")[0].split(", ")) if request is not None else (),
            any(task.verdict(label) == APPROVED for label in task.labels if label.annotation_id in own),
        )

    def is_drawn(self, annotation_id: int) -> bool:
        """Whether a label is among those drawn for a spot check; for ever, as long as the share does not shrink."""
        return salted_unit(self.project.salt, "spot check", str(annotation_id)) < self.quality.spot_check

    def gold_score(self, task: TaskLabels, label: LabelRow, compared: Compared) -> float | None:
        """How far a label agrees with the closest known answer; None without one, or where nothing can be compared."""
        scores = compared.of(task.task_id)
        found = [scores.get((_GOLD - n, label.annotation_id)) for n in range(len(task.gold))]
        return max((score for score in found if score is not None), default=None)

    def doubtful(self, tasks: Sequence[TaskLabels]) -> set[int]:
        """Annotations of low confidence by what the model behind the suggestion, else the one that is served, said.

        Holdout and gold tasks measure models, so no model has a say in what is looked at there.
        """
        if not self.quality.auto_flag_low_confidence:
            return set()
        wanted = [(task, label) for task in tasks if task.role not in ("holdout", "gold") for label in task.labels]
        of_label = self._versions_of([label for _, label in wanted])
        said = self._said({(task.task_id, of_label[label.annotation_id]) for task, label in wanted})
        answers: list[Answer] = []
        keys: dict[tuple[int, str], int] = {}
        for (task_id, version), (_, result) in sorted(said.items()):
            keys[task_id, version] = _MODEL - len(keys)
            answers.append(Answer(task_id, keys[task_id, version], result))
        for task, label in wanted:
            if (task.task_id, of_label[label.annotation_id]) in said:
                answers.append(Answer(task.task_id, label.annotation_id, label.result, task.data))
        compared = compare_answers(answers, self.config)
        found = set()
        for task, label in wanted:
            key = (task.task_id, of_label[label.annotation_id])
            if key not in said:
                continue
            score = compared.of(task.task_id).get((keys[key], label.annotation_id))
            if is_low_confidence(
                score, said[key][0], accepted=_accepted(label), threshold=self.quality.agreement_threshold
            ):
                found.add(label.annotation_id)
        return found

    def _versions_of(self, labels: Sequence[LabelRow]) -> dict[int, str]:
        """By annotation the model version to ask; "" where there is none."""
        shown = {label.shown_serving_id for label in labels if label.shown_serving_id}
        new = shown - self._versions.keys()
        if new:
            self._versions |= versions_served(self.store, self.project.project_id, new)
        return {
            label.annotation_id: self._versions.get(label.shown_serving_id, "")
            if label.shown_serving_id
            else self._served or ""
            for label in labels
        }

    def _said(self, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], tuple[float | None, list[Region]]]:
        """Confidence and answer of each (task, version) that said something."""
        o = outcomes.c
        found: dict[tuple[int, str], tuple[float | None, list[Region]]] = {}
        for version in sorted({version for _, version in wanted if version}):
            task_ids = sorted(task_id for task_id, each in wanted if each == version)
            query = select(o.task_id, o.confidence, o.result).where(
                self.store.scope(outcomes, self.project.project_id), o.model_version == version, o.status == "ok"
            )
            with self.store.read() as connection:
                for chunk in self.store.chunks(task_ids):
                    for task_id, confidence, result in connection.execute(query.where(o.task_id.in_(chunk))):
                        said = [region for region in result if (region.get("score") or 1.0) >= _SAID]
                        found[task_id, version] = (confidence, said)
        return found


def _accepted(label: LabelRow) -> bool:
    """Whether a label is the suggestion as it was shown."""
    return bool(label.shown_serving_id and label.result) and all(
        region.get("origin") == "prediction" for region in label.result
    )
