"""Tasks and their annotations: what changed since a moment, the light full listing, and single changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from labelloop.errors import ServiceError
from labelloop.label_studio.listing import TASK_FIELDS, IdSpan, Listing, PageSize, between_ids, by_time
from labelloop.label_studio.rows import (
    HeldPrediction,
    ShownPrediction,
    SweptTask,
    TaskMark,
    TaskRow,
    moment,
    shown_prediction,
    swept_task,
    task_row,
)

_SWEEP_FIELDS = "id,updated_at,overlap,total_annotations,cancelled_annotations,annotations_ids"
#: Tasks of one page at most: whole, light, and of the last minute.
PAGE, LIGHT_PAGE, LATELY = 500, 1000, 100

#: Label Studio cuts the text of a computed column here.
_CUT = 500


class Tasks(Listing):
    """Calls about tasks and annotations."""

    def set_task_overlap(self, task_id: int, overlap: int, *, reopen: bool = False) -> None:
        """Ask for `overlap` people on one task (0.1 s).

        A task that is finished stays finished, and is served to nobody, unless `reopen`; the label that completes the
        new number finishes it again.
        """
        body: dict[str, Any] = {"overlap": overlap}
        if reopen:
            body["is_labeled"] = False
        self.request("PATCH", f"/api/tasks/{task_id}/", json=body)

    def delete_task(self, task_id: int) -> None:
        """Delete one task with its labels."""
        self.request("DELETE", f"/api/tasks/{task_id}/")

    def next_task(self, project_id: int) -> dict[str, Any] | None:
        """The task that the label stream serves this account now, or None; Label Studio locks it for the account."""
        try:
            return dict(self.request("GET", f"/api/projects/{project_id}/next/"))
        except ServiceError as error:
            if error.status != 404:
                raise
            return None

    def changed_tasks(
        self, project_id: int, after: datetime | None = None, page_size: int = PAGE
    ) -> Iterator[list[TaskRow]]:
        """Pages of tasks with `updated_at` > `after`, oldest change first; each task once unless it changes meanwhile.

        Tasks that share the last value of a full page wait for the next question; a page of one single value is walked
        by id instead, so ties neither loop nor lose rows. Creating, editing and deleting an annotation and
        `set_task_overlap` move a task's `updated_at`; deleting a task, changing `maximum_annotations` and bulk
        predictions do not (see `light_spans`).

        `/api/tasks?fields=all` with `include` was the cheapest question of those measured, for 200 tasks with one
        annotation and two predictions each: 0.19 s; without `include` 0.83 s; with predictions 0.54 s;
        `/api/projects/N/tasks/` 0.43 s (0.18 s with `include`, but newest first and without filters).
        """
        size = PageSize(page_size)
        bound = [] if after is None else [by_time("greater", after)]
        while True:
            raw, whole = self._page(project_id, size, bound, "tasks:updated_at")
            if whole:
                if raw:
                    yield [task_row(task) for task in raw]
                return
            last = raw[-1]["updated_at"]
            complete = [task for task in raw if task["updated_at"] != last]
            if complete:
                yield [task_row(task) for task in complete]
                bound = [by_time("greater", moment(complete[-1]["updated_at"]))]
                continue
            for tied in self._spans(project_id, page_size, filters=[by_time("equal", moment(last))]):
                if tied.rows:
                    yield [task_row(task) for task in tied.rows]
            bound = [by_time("greater", moment(last))]

    def task_spans(self, project_id: int, after: int = 0, page_size: int = PAGE) -> Iterator[IdSpan[TaskRow]]:
        """Every task with an id above `after`, whole, span by span (3 ms per task)."""
        for span in self._spans(project_id, page_size, after=after):
            yield span.of(task_row)

    def light_spans(
        self, project_id: int, after: int = 0, changed_after: datetime | None = None, page_size: int = LIGHT_PAGE
    ) -> Iterator[IdSpan[SweptTask]]:
        """Every task with its annotation ids and counters, span by span (1 ms per task): shows deletes and drift.

        `changed_after` keeps to the tasks with a later `updated_at`.
        """
        filters = [] if changed_after is None else [by_time("greater", changed_after)]
        for span in self._spans(project_id, page_size, after=after, filters=filters, include=_SWEEP_FIELDS):
            yield span.of(swept_task)

    def changed_lately(
        self, project_id: int, after: datetime | None, at_most: int = LATELY
    ) -> tuple[list[SweptTask], int]:
        """Tasks with `updated_at` > `after` as the light listing has them, and how many there are (0.05 s per 20,000).

        The list is whole where there are at most `at_most` of them.
        """
        filters = [] if after is None else [by_time("greater", after)]
        answer, _ = self._ask(project_id, at_most, filters, include=_SWEEP_FIELDS, full=True)
        return [swept_task(raw) for raw in answer["tasks"]], int(answer["total"])

    def newest_change(self, project_id: int) -> datetime | None:
        """The latest `updated_at` of a project's tasks; None without tasks."""
        answer, _ = self._ask(project_id, 1, [], "-tasks:updated_at", include="id,updated_at")
        return max((moment(task["updated_at"]) for task in answer["tasks"]), default=None)

    def task_ids(self, project_id: int) -> set[int]:
        """The ids of every task (0.7 s per 1,000)."""
        spans = self._spans(project_id, LIGHT_PAGE, include="id", full=False)
        return {int(raw["id"]) for span in spans for raw in span.rows}

    def tasks_by_id(self, project_id: int, task_ids: Sequence[int]) -> list[TaskRow]:
        """These tasks as they are now, in order of id; ids that no longer exist are left out."""
        pages = self._selected(project_id, task_ids, TASK_FIELDS, at_once=200)
        return sorted((task_row(raw) for page in pages for raw in page), key=lambda row: row.task_id)

    def predictions_of(self, project_id: int, task_ids: Sequence[int]) -> list[ShownPrediction]:
        """Every prediction that these tasks have, of whatever version (3 ms per task)."""
        pages = self._selected(project_id, task_ids, "id,predictions", at_once=100)
        return [shown_prediction(raw) for page in pages for task in page for raw in task.get("predictions") or []]

    def task_marks(self, project_id: int, page_size: int = LIGHT_PAGE) -> Iterator[TaskMark]:
        """Every task's `meta` and overlap, in order of id (0.5 s per 1,000); asked for page by page."""
        for span in self._spans(project_id, page_size, include="id,meta,overlap", full=False):
            yield from (TaskMark(int(raw["id"]), raw.get("meta") or {}, int(raw["overlap"])) for raw in span.rows)

    def predictions_held(
        self, project_id: int, serving_id: str, lo: int, hi: int
    ) -> dict[int, tuple[HeldPrediction, ...]]:
        """The predictions of one model version by task, oldest first, for every task there is with an id from lo to hi.

        A task without one is there with none (3 ms per task: Label Studio sends all its predictions).
        """
        found: dict[int, tuple[HeldPrediction, ...]] = {}
        for span in self._spans(project_id, PAGE, filters=[between_ids(lo, hi)], include="id,predictions"):
            for task in span.rows:
                rows = [
                    HeldPrediction(int(p["id"]), int(task["id"]), p["score"], list(p["result"] or []))
                    for p in task.get("predictions") or []
                    if p["model_version"] == serving_id
                ]
                found[int(task["id"])] = tuple(sorted(rows, key=lambda row: row.prediction_id))
        return found

    def tasks_holding(self, project_id: int, serving_id: str) -> set[int]:
        """Ids of the tasks with a prediction of one model version (1.2 s per 1,000 tasks)."""
        found: set[int] = set()
        for span in self._spans(project_id, LIGHT_PAGE, include="id,predictions_model_versions"):
            for task in span.rows:
                task_id, listed = int(task["id"]), str(task.get("predictions_model_versions") or "")
                if len(listed) >= _CUT:
                    if self.predictions_held(project_id, serving_id, task_id, task_id).get(task_id):
                        found.add(task_id)
                elif serving_id in (name.strip() for name in listed.split(",")):
                    found.add(task_id)
        return found
