"""Pre-annotations into Label Studio and the store: as predictions of an import, or as annotations that count as no person's."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from labelloop.errors import ServiceDown, ServiceError
from labelloop.label_studio import LabelStudio
from labelloop.store import Store
from labelloop.store.tables import outcomes
from labelloop.store.types import utc_now
from labelloop.values import UNSHOWN_ROLES, Region
from sync.ingesting.items import Rejected
from sync.ingesting.journal import Candidate
from sync.ingesting.labelled import LabelOptions
from sync.ingesting.run_files import RunFiles
from sync.pushing import push_row, settle

#: Tasks whose predictions are compared with Label Studio's at once.
_BLOCK = 500
#: An order key for what has no score: in the middle.
_NO_SCORE = 0.5


@dataclass(frozen=True)
class LabelledTask:
    """A task of the project with the candidate that brought it, or its labels."""

    task_id: int
    candidate: Candidate
    role: str

    @property
    def result(self) -> list[Region]:
        """The regions that fit."""
        return list(self.candidate.body["labels"]["result"])

    @property
    def has_any(self) -> bool:
        """Whether there is something to say: regions, or that nothing is there; not where every region was refused."""
        labels = self.candidate.body["labels"]
        return bool(labels["result"]) or not labels["refused"]


@dataclass
class LabelCounts:
    """`sent` predictions or annotations are new in Label Studio, `present` were there, `withheld` are in the store alone.

    `resent` is how many Label Studio had dropped, and took when they were sent again.
    """

    sent: int = 0
    present: int = 0
    withheld: int = 0
    resent: int = 0


class LabelPlacing:
    """Gives tasks the labels that came with their items; each step may be repeated and adds nothing twice."""

    def __init__(
        self,
        client: LabelStudio,
        store: Store,
        project_id: int,
        options: LabelOptions,
        files: RunFiles,
        check: Callable[[], None],
    ) -> None:
        self._client, self._store, self._project_id = client, store, project_id
        self._options, self._files, self._check = options, files, check
        self.counts = LabelCounts()

    @property
    def version(self) -> str:
        """The model version of the predictions."""
        return self._options.version

    def inline(self, candidate: Candidate) -> list[dict[str, Any]]:
        """The annotations that a task is imported with."""
        task = LabelledTask(0, candidate, "pool") if candidate.labelled else None
        if task is None or self._options.kind != "annotations" or not task.has_any:
            return []
        return [{key: value for key, value in self._annotation(task).items() if key != "unique_id"}]

    def place(self, tasks: Sequence[LabelledTask], *, new: bool) -> None:
        """Bring the labels of these tasks to where they belong; `new` tasks have just been imported."""
        wanted = sorted((task for task in tasks if task.candidate.labelled), key=lambda task: task.task_id)
        for start in range(0, len(wanted), _BLOCK):
            block = wanted[start : start + _BLOCK]
            if self._options.kind == "predictions":
                self._predict(block, new=new)
            elif new:
                self.counts.sent += sum(task.has_any for task in block)
            else:
                self._annotate([task for task in block if task.has_any])

    # -- annotations ------------------------------------------------------------------------------------------------

    def _annotation(self, task: LabelledTask) -> dict[str, Any]:
        """An annotation whose `id` is the sign that it was imported, the same in every run."""
        sign = hashlib.sha256(f"{self.version}\x1f{task.candidate.content}".encode()).digest()
        return {
            "id": int.from_bytes(sign[:7], "big"),
            "unique_id": str(uuid.UUID(bytes=sign[:16])),
            "result": task.result,
            "ground_truth": False,
        }

    def _annotate(self, tasks: Sequence[LabelledTask]) -> None:
        there = {
            (row.task_id, annotation.import_id): annotation.result
            for row in self._client.tasks_by_id(self._project_id, [task.task_id for task in tasks])
            for annotation in row.annotations
        }
        for task in tasks:
            wanted = self._annotation(task)
            held = there.get((task.task_id, wanted["id"]))
            if held is None:
                self._check()
                self._client.add_annotation(task.task_id, wanted)
                self.counts.sent += 1
                continue
            self.counts.present += 1
            if held != wanted["result"]:
                detail = f"task {task.task_id} has other regions of {self.version}; give this import another --name"
                self._files.reject(Rejected(task.candidate.body["labels"]["source"], "annotation_differs", detail))

    # -- predictions ------------------------------------------------------------------------------------------------

    def _predict(self, tasks: Sequence[LabelledTask], *, new: bool) -> None:
        self._note_outcomes(tasks)
        self.counts.withheld += sum(task.role in UNSHOWN_ROLES for task in tasks)
        rows = [
            {"task_id": task.task_id, "result": task.result, "order_key": order_key(task.result)}
            for task in tasks
            if task.role not in UNSHOWN_ROLES and task.has_any
        ]
        if not rows:
            return
        sent = self._push(rows) if new else False
        changed = 0 if sent else self._settle(rows, tasks)
        self.counts.sent += len(rows) if new else changed
        self.counts.present += 0 if new else len(rows) - changed
        self.counts.resent += changed if new else 0

    def _note_outcomes(self, tasks: Sequence[LabelledTask]) -> None:
        """What this import says, as an outcome of a model version of its name: kept for tasks that must not show it, too."""
        with self._store.begin() as connection:
            rows = [_outcome_row(self._project_id, self.version, task) for task in tasks]
            changed = ("created_at", "status", "confidence", "uncertainty", "result")
            self._store.upsert(connection, outcomes, rows, changed)

    def _push(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the bulk import took every row."""
        self._check()
        try:
            self._client.push_predictions(self._project_id, [push_row(row, self.version) for row in rows])
        except ServiceError as error:
            if isinstance(error, ServiceDown) or error.status not in (None, 400):
                raise
            return False
        return True

    def _settle(self, rows: Sequence[dict[str, Any]], tasks: Sequence[LabelledTask]) -> int:
        by_id = {task.task_id: task for task in tasks}
        span = (min(by_id), max(by_id))

        def refuse(task_ids: Sequence[int]) -> None:
            for task_id in task_ids:
                source = by_id[task_id].candidate.body["labels"]["source"]
                self._files.reject(Rejected(source, "does_not_fit", "Label Studio drops this prediction"))

        return settle(self._client, self._project_id, self.version, rows, span, self._check, refuse)


def order_key(result: Sequence[Region]) -> float:
    """Where a prediction stands among those of its version: least sure first."""
    scores = _scores(result)
    return min(scores) if scores else _NO_SCORE


def _scores(result: Sequence[Region]) -> list[float]:
    found = [region.get("score") for region in result]
    return [float(each) for each in found if isinstance(each, int | float) and not isinstance(each, bool)]


def _outcome_row(project_id: int, version: str, task: LabelledTask) -> dict[str, Any]:
    scores = _scores(task.result)
    return {
        "project_id": project_id,
        "model_version": version,
        "task_id": task.task_id,
        "created_at": utc_now(),
        "status": "ok" if task.has_any else "class_not_in_config",
        "confidence": fmean(scores) if scores else None,
        "uncertainty": 1.0 - min(scores) if scores else None,
        "result": task.result,
        "fired_rules": None,
    }
