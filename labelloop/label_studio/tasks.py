"""Tasks and their annotations: what changed since a moment, the light full listing, and single changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

from labelloop.errors import ServiceError
from labelloop.label_studio.connection import Connection
from labelloop.label_studio.rows import (
    HeldPrediction,
    SweptTask,
    TaskMark,
    TaskRow,
    moment,
    swept_task,
    task_row,
    wire_moment,
)

_TASK_FIELDS = "id,data,meta,overlap,is_labeled,created_at,updated_at"
# The server applies `include` to the annotations inside as well, so their fields are named too.
_ANNOTATION_FIELDS = (
    "annotations,result,completed_by,was_cancelled,ground_truth,lead_time,parent_prediction,import_id,last_action,"
    "bulk_created"
)
_SWEEP_FIELDS = "id,updated_at,overlap,total_annotations,cancelled_annotations,annotations_ids"

#: Label Studio cuts the text of a computed column here.
_CUT = 500

Filter = dict[str, Any]


def _by_time(operator: str, at: datetime) -> Filter:
    value = wire_moment(at)
    return {"filter": "filter:tasks:updated_at", "operator": operator, "type": "Datetime", "value": value}


def _after_id(task_id: int) -> Filter:
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": str(task_id)}


class Tasks(Connection):
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
        self, project_id: int, since: datetime | None = None, page_size: int = 200
    ) -> Iterator[list[TaskRow]]:
        """Pages of tasks with `updated_at` >= `since`, oldest change first; each task once unless it changes meanwhile.

        Keyset, never page 2: the next question starts after the last value that is complete. Tasks that share the last
        value of a full page wait for the next question; a page of one single value is walked by id instead, so ties
        neither loop nor lose rows. Creating, editing and deleting an annotation and `set_task_overlap` move a task's
        `updated_at`; deleting a task, changing `maximum_annotations` and bulk predictions do not (see `sweep`).

        `/api/tasks?fields=all` with `include` was the cheapest question of those measured, for 200 tasks with one
        annotation and two predictions each: 0.19 s; without `include` 0.83 s; with predictions 0.54 s;
        `/api/projects/N/tasks/` 0.43 s (0.18 s with `include`, but newest first and without filters).
        """
        bound = [] if since is None else [_by_time("greater_or_equal", since)]
        while True:
            raw = self._list(project_id, page_size, bound, "tasks:updated_at")
            if len(raw) < page_size:
                if raw:
                    yield self._rows(project_id, raw)
                return
            last = raw[-1]["updated_at"]
            complete = [task for task in raw if task["updated_at"] != last]
            if complete:
                yield self._rows(project_id, complete)
                bound = [_by_time("greater", moment(complete[-1]["updated_at"]))]
                continue
            for tied in self._by_id(project_id, page_size, [_by_time("equal", moment(last))]):
                yield self._rows(project_id, tied)
            bound = [_by_time("greater", moment(last))]

    def tasks_by_id(self, project_id: int, task_ids: Sequence[int]) -> list[TaskRow]:
        """These tasks as they are now, in order of id; ids that no longer exist are left out."""
        rows: list[TaskRow] = []
        for start in range(0, len(task_ids), 200):
            selected = {"all": False, "included": list(task_ids[start : start + 200])}
            raw = self._list(project_id, 200, [], "tasks:id", selected=selected)
            rows += self._rows(project_id, raw)
        return sorted(rows, key=lambda row: row.task_id)

    def sweep(self, project_id: int, page_size: int = 1000) -> list[SweptTask]:
        """Every task with its annotation ids and counters, by id (0.6 s per 1,000): shows deletes and drift."""
        pages = self._by_id(project_id, page_size, [], include=_SWEEP_FIELDS)
        return [swept_task(raw) for page in pages for raw in page]

    def task_marks(self, project_id: int, page_size: int = 1000) -> Iterator[TaskMark]:
        """Every task's `meta` and overlap, in order of id (0.5 s per 1,000); asked for page by page."""
        for page in self._by_id(project_id, page_size, [], include="id,meta,overlap", full=False):
            yield from (TaskMark(int(raw["id"]), raw.get("meta") or {}, int(raw["overlap"])) for raw in page)

    def predictions_held(
        self, project_id: int, serving_id: str, lo: int, hi: int
    ) -> dict[int, tuple[HeldPrediction, ...]]:
        """The predictions of one model version by task, oldest first, for every task there is with an id from lo to hi.

        A task without one is there with none (3 ms per task: Label Studio sends all its predictions).
        """
        between = {"filter": "filter:tasks:id", "operator": "in", "type": "Number", "value": {"min": lo, "max": hi}}
        found: dict[int, tuple[HeldPrediction, ...]] = {}
        for page in self._by_id(project_id, 500, [between], include="id,predictions"):
            for task in page:
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
        for page in self._by_id(project_id, 1000, [], include="id,predictions_model_versions"):
            for task in page:
                task_id, listed = int(task["id"]), str(task.get("predictions_model_versions") or "")
                if len(listed) >= _CUT:
                    if self.predictions_held(project_id, serving_id, task_id, task_id).get(task_id):
                        found.add(task_id)
                elif serving_id in (name.strip() for name in listed.split(",")):
                    found.add(task_id)
        return found

    def _by_id(
        self,
        project_id: int,
        page_size: int,
        filters: list[Filter],
        *,
        include: str = f"{_TASK_FIELDS},{_ANNOTATION_FIELDS}",
        full: bool = True,
    ) -> Iterator[list[dict[str, Any]]]:
        """Pages in order of id, each starting after the last id: deletes meanwhile shift nothing."""
        last = 0
        while True:
            bound = [*filters, _after_id(last)]
            page = self._list(project_id, page_size, bound, "tasks:id", include=include, full=full)
            if page:
                yield page
                last = page[-1]["id"]
            if len(page) < page_size:
                return

    def _list(
        self,
        project_id: int,
        page_size: int,
        filters: list[Filter],
        ordering: str,
        *,
        include: str = f"{_TASK_FIELDS},{_ANNOTATION_FIELDS}",
        full: bool = True,
        selected: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        query: dict[str, Any] = {"filters": {"conjunction": "and", "items": filters}, "ordering": [ordering]}
        if selected is not None:
            query["selectedItems"] = selected
        params = {
            "project": project_id,
            "page_size": page_size,
            "include": include,
            "resolve_uri": "false",
            "query": orjson.dumps(query).decode(),
        }
        if full:
            params["fields"] = "all"
        return list(self.request("GET", "/api/tasks/", params=params, timeout_s=120)["tasks"])

    def _rows(self, project_id: int, raw: list[dict[str, Any]]) -> list[TaskRow]:
        """Task rows; one more question fetches the predictions of those tasks whose labels began from one."""
        begun = [task["id"] for task in raw if any(a.get("parent_prediction") for a in task.get("annotations") or [])]
        versions: dict[int, dict[int, str]] = {}
        for start in range(0, len(begun), 100):
            selected = {"all": False, "included": begun[start : start + 100]}
            for task in self._list(project_id, 100, [], "tasks:id", include="id,predictions", selected=selected):
                versions[task["id"]] = {p["id"]: p["model_version"] or "" for p in task.get("predictions") or []}
        return [task_row(task, versions.get(task["id"], {})) for task in raw]
