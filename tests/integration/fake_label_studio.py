"""A Label Studio in memory, for faults that a real one cannot be made to have, and a loop on top of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from labelloop.errors import ServiceDown, ServiceError
from labelloop.label_studio import AnnotationRow, HeldPrediction, ProjectCounts, ShownPrediction, SweptTask, TaskRow
from labelloop.label_studio.listing import IdSpan
from labelloop.label_studio.prediction_dump import PredictionDump
from labelloop.queueing import JobRequest
from labelloop.registry import Registration
from labelloop.settings import Settings, load_settings
from labelloop.store import ProjectRow, Store
from sync.runtime import Runtime

XML = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/></Choices></View>'
)
SEA = ("wave", "harbour", "sail", "tide", "anchor", "whale", "reef", "island")
LAND = ("mountain", "forest", "road", "field", "valley", "horse", "farm", "desert")
PROJECT = 1


def choice(label: str) -> list[dict[str, Any]]:
    return [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


class FakeLabelStudio:
    """The calls that mirror, promotion and top-up make, on rows in memory; `fail` names calls that raise next time."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskRow] = {}
        self.predictions: list[dict[str, Any]] = []
        self.model_version = ""
        self.config = XML
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.page_size, self.lately = 200, 100
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.after: dict[str, Exception] = {}
        self.before_call: Callable[[str], None] = lambda name: None
        self.after_dump: Callable[[], Any] = lambda: None
        self._annotation = 0
        self._prediction = 0

    # -- what people do -------------------------------------------------------------------------------------------

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def add_task(self, task_id: int, data: dict[str, Any] | None = None, overlap: int = 1, **meta: Any) -> None:
        at = self.tick()
        self.tasks[task_id] = TaskRow(
            task_id, data or {"text": f"text {task_id}"}, {"labelloop": meta}, overlap, False, at, at, ()
        )

    def annotate(self, task_id: int, label: str = "sea", person: int = 1, **changes: Any) -> int:
        at = self.tick()
        self._annotation += 1
        row = AnnotationRow(
            self._annotation, task_id, choice(label), person, False, False, at, at, 1.0, None, None, None, False
        )
        task = self.tasks[task_id]
        self.tasks[task_id] = replace(task, annotations=(*task.annotations, replace(row, **changes)), updated_at=at)
        return self._annotation

    def change(self, annotation_id: int, **changes: Any) -> None:
        at = self.tick()
        for task_id, task in self.tasks.items():
            if any(a.annotation_id == annotation_id for a in task.annotations):
                rows = tuple(
                    replace(a, **{"updated_at": at, **changes}) if a.annotation_id == annotation_id else a
                    for a in task.annotations
                )
                self.tasks[task_id] = replace(task, annotations=rows, updated_at=at)

    def unannotate(self, annotation_id: int, *, noticed: bool = True) -> None:
        for task_id, task in self.tasks.items():
            rows = tuple(a for a in task.annotations if a.annotation_id != annotation_id)
            if len(rows) < len(task.annotations):
                self.tasks[task_id] = replace(
                    task, annotations=rows, updated_at=self.tick() if noticed else task.updated_at
                )

    # -- what labelloop calls -------------------------------------------------------------------------------------

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.before_call(name)
        if name in self.fail:
            raise self.fail.pop(name)

    def _over(self, name: str) -> None:
        """The call had its effect, and its answer got lost."""
        if name in self.after:
            raise self.after.pop(name)

    def changed_tasks(self, project_id: int, after: datetime | None = None) -> Iterator[list[TaskRow]]:
        self._called("changed_tasks")
        rows = sorted(
            (t for t in self.tasks.values() if after is None or t.updated_at > after), key=lambda t: t.updated_at
        )
        for start in range(0, len(rows), self.page_size):
            self._called("changed_tasks page")
            yield rows[start : start + self.page_size]

    def _spans(self, name: str, rows: Sequence[TaskRow], after: int) -> Iterator[IdSpan[TaskRow]]:
        rows = sorted((t for t in rows if t.task_id > after), key=lambda t: t.task_id)
        while True:
            self._called(name)
            page = rows[: self.page_size]
            rows = rows[self.page_size :]
            last = page[-1].task_id if rows else None
            yield IdSpan(after, last, page)
            if last is None:
                return
            after = last

    def task_spans(self, project_id: int, after: int = 0) -> Iterator[IdSpan[TaskRow]]:
        return self._spans("task_spans page", list(self.tasks.values()), after)

    def light_spans(
        self, project_id: int, after: int = 0, changed_after: datetime | None = None
    ) -> Iterator[IdSpan[SweptTask]]:
        rows = [t for t in self.tasks.values() if changed_after is None or t.updated_at > changed_after]
        for span in self._spans("light_spans page", rows, after):
            yield span.of(_swept)

    def changed_lately(self, project_id: int, after: datetime | None) -> tuple[list[SweptTask], int]:
        self._called("changed_lately")
        rows = [t for t in self.tasks.values() if after is None or t.updated_at > after]
        return [_swept(t) for t in rows[: self.lately]], len(rows)

    def newest_change(self, project_id: int) -> datetime | None:
        self._called("newest_change")
        return max((t.updated_at for t in self.tasks.values()), default=None)

    def task_ids(self, project_id: int) -> set[int]:
        self._called("task_ids")
        return set(self.tasks)

    def predictions_of(self, project_id: int, task_ids: Sequence[int]) -> list[ShownPrediction]:
        self._called("predictions_of")
        return [
            ShownPrediction(row["id"], row["task"], row["model_version"], self.now, row["score"], row["result"])
            for row in self.predictions
            if row["task"] in task_ids
        ]

    def dump_predictions(self, project_id: int) -> PredictionDump:
        self._called("dump_predictions")
        calls = list(self.calls)
        dump = PredictionDump(self.predictions_of(project_id, list(self.tasks)))
        self.calls = calls
        self.after_dump()
        return dump

    def counts(self, project_id: int) -> ProjectCounts:
        self._called("counts")
        return ProjectCounts(len(self.tasks), 0, self._annotation, 0, 0, len(self.predictions))

    def tasks_by_id(self, project_id: int, task_ids: Sequence[int]) -> list[TaskRow]:
        self._called("tasks_by_id")
        return [self.tasks[task_id] for task_id in task_ids if task_id in self.tasks]

    def push_predictions(self, project_id: int, rows: Sequence[dict[str, Any]]) -> int:
        self._called("push_predictions")
        if unknown := {row["task"] for row in rows} - self.tasks.keys():
            raise ServiceError(f"no tasks {sorted(unknown)}", status=400)
        for row in rows:
            self._prediction += 1
            self.predictions.append({"id": self._prediction, **row})
        self._over("push_predictions")
        return len(rows)

    def predictions_held(
        self, project_id: int, serving_id: str, lo: int, hi: int
    ) -> dict[int, tuple[HeldPrediction, ...]]:
        self._called("predictions_held")
        return {
            task_id: tuple(
                HeldPrediction(row["id"], task_id, row["score"], row["result"])
                for row in self.predictions
                if row["task"] == task_id and row["model_version"] == serving_id
            )
            for task_id in sorted(self.tasks)
            if lo <= task_id <= hi
        }

    def tasks_holding(self, project_id: int, serving_id: str) -> set[int]:
        self._called("tasks_holding")
        return {row["task"] for row in self.predictions if row["model_version"] == serving_id}

    def update_prediction(self, prediction_id: int, result: list[dict[str, Any]], score: float) -> None:
        self._called("update_prediction")
        (row,) = [row for row in self.predictions if row["id"] == prediction_id]
        row.update(result=result, score=score)

    def delete_prediction(self, prediction_id: int) -> None:
        self._called("delete_prediction")
        self.predictions = [row for row in self.predictions if row["id"] != prediction_id]

    def count_predictions(self, project_id: int, serving_id: str) -> int:
        self._called("count_predictions")
        return sum(row["model_version"] == serving_id for row in self.predictions)

    def delete_model_version(self, project_id: int, serving_id: str) -> int:
        self._called("delete_model_version")
        kept = [row for row in self.predictions if row["model_version"] != serving_id]
        gone = len(self.predictions) - len(kept)
        self.predictions = kept
        if self.model_version == serving_id:
            self.model_version = ""
        return gone

    def get_project(self, project_id: int) -> dict[str, Any]:
        self._called("get_project")
        return {"id": project_id, "model_version": self.model_version, "label_config": self.config}

    def label_config(self, project_id: int) -> str:
        self._called("label_config")
        return self.config

    def set_model_version(self, project_id: int, serving_id: str) -> None:
        self._called("set_model_version")
        self.model_version = serving_id
        self._over("set_model_version")

    def by_version(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.predictions:
            counts[row["model_version"]] = counts.get(row["model_version"], 0) + 1
        return counts


def _swept(task: TaskRow) -> SweptTask:
    skipped = sum(a.was_cancelled for a in task.annotations)
    ids = frozenset(a.annotation_id for a in task.annotations)
    return SweptTask(task.task_id, task.updated_at, task.overlap, len(ids) - skipped, skipped, ids)


class FakeRegistry:
    """MLflow in memory; `down` makes every call raise."""

    def __init__(self) -> None:
        self.registrations: list[Registration] = []
        self.champions: list[str] = []
        self.down = False

    def _called(self) -> None:
        if self.down:
            raise ServiceDown("MLflow is away")

    @property
    def registered(self) -> list[str]:
        return [each.training_id for each in self.registrations]

    def register(self, registration: Registration) -> str:
        self._called()
        self.registrations.append(registration)
        return "1"

    def set_champion(self, model: str, version: str) -> None:
        self._called()
        self.champions.append(version)


@dataclass
class RecordedQueue:
    """What was asked of the queue, in order, as Redis would have been asked."""

    requests: list[JobRequest] = field(default_factory=list)

    def enqueue(self, request: JobRequest) -> bool:
        self.requests.append(request)
        return True

    def active(self, jobs: Sequence[str]) -> set[str]:
        return set()

    def report(self, job: str, share: float, message: str) -> None:
        assert 0.0 <= share <= 1.0

    def names(self, function: str) -> list[str]:
        return [r.job_id for r in self.requests if r.function == f"sync.jobs.{function}"]


@dataclass
class Loop:
    """A project in a store of its own, on a Label Studio in memory."""

    runtime: Runtime
    remote: FakeLabelStudio
    registry: FakeRegistry
    queue: RecordedQueue

    @property
    def store(self) -> Store:
        return self.runtime.store

    @property
    def project(self) -> ProjectRow:
        found = self.store.project(PROJECT)
        assert found is not None
        return found

    def fill(self, n: int, start: int = 1, seed: int = 0) -> None:
        """Tasks whose words tell their topic."""
        source = random.Random(seed + start)
        for task_id in range(start, start + n):
            words = SEA if task_id % 2 else LAND
            self.remote.add_task(task_id, {"text": " ".join(source.choices(words, k=6))})

    def label(self, task_ids: Sequence[int], wrong: float = 0.0, seed: int = 0) -> None:
        """One label each; a share of them wrong."""
        source = random.Random(seed)
        for task_id in task_ids:
            truth = bool(task_id % 2) != (source.random() < wrong)
            self.remote.annotate(task_id, "sea" if truth else "land")


def make_loop(data: Path, *, mlflow_uri: str | None = None, **environ: str) -> Loop:
    """A loop on `data`; settings as environment variables, as in QUALITY__SPOT_CHECK="0.1"."""
    loaded = load_settings(None, {f"LABELLOOP_{key}": value for key, value in environ.items()})
    services = loaded.services.model_copy(
        update={"data": data, "webhook_secret": SecretStr("s"), **({"mlflow_uri": mlflow_uri} if mlflow_uri else {})}
    )
    runtime = Runtime(Settings(services=services, defaults=loaded.defaults))
    loop = Loop(runtime, FakeLabelStudio(), FakeRegistry(), RecordedQueue())
    runtime.__dict__["client"] = loop.remote
    runtime.__dict__["queue"] = loop.queue
    if mlflow_uri is None:
        runtime.__dict__["registry"] = loop.registry
    runtime.store.put_project(
        project_id=PROJECT,
        title="Texts",
        task_type="text-classification",
        backend="sklearn_text",
        label_config=XML,
        settings={},
        holdout_threshold=0.3,
    )
    return loop
