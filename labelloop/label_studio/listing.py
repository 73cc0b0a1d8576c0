"""Label Studio's task list by keyset: spans of ids, filters, and pages that shrink where tasks are large."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import httpx
import orjson

from labelloop.errors import ServiceDown
from labelloop.label_studio.connection import Connection, decoded
from labelloop.label_studio.rows import wire_moment

TASK_FIELDS = (
    "id,data,meta,overlap,is_labeled,created_at,updated_at,"
    # The server applies `include` to the annotations inside as well, so their fields are named too.
    "annotations,result,completed_by,was_cancelled,ground_truth,lead_time,parent_prediction,import_id,last_action,"
    "bulk_created"
)
#: An answer above this many bytes halves the next page, one below a quarter of it doubles it.
LARGE_ANSWER = 8_000_000
FIRST_PAGE = 100
_TIMEOUT_S = 120.0

Filter = dict[str, Any]
Raw = dict[str, Any]
Row = TypeVar("Row")
Other = TypeVar("Other")


def by_time(operator: str, at: datetime) -> Filter:
    """A condition on a task's `updated_at`."""
    value = wire_moment(at)
    return {"filter": "filter:tasks:updated_at", "operator": operator, "type": "Datetime", "value": value}


def after_id(task_id: int) -> Filter:
    """Ids above this one."""
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": str(task_id)}


def between_ids(lo: int, hi: int) -> Filter:
    """Ids from lo to hi, both included."""
    return {"filter": "filter:tasks:id", "operator": "in", "type": "Number", "value": {"min": lo, "max": hi}}


@dataclass(frozen=True)
class IdSpan(Generic[Row]):
    """Every task there is with `after` < id <= `last` (None: without an end), in order of id."""

    after: int
    last: int | None
    rows: list[Row]

    def of(self, make: Callable[[Row], Other]) -> IdSpan[Other]:
        """The same span with other rows."""
        return IdSpan(self.after, self.last, [make(row) for row in self.rows])


@dataclass
class PageSize:
    """How many tasks to ask for next: `most`, or fewer while their answers are large or slow."""

    most: int
    now: int = 0

    def __post_init__(self) -> None:
        self.now = min(self.most, FIRST_PAGE)

    def note(self, received: int) -> None:
        """Follow the size of an answer in bytes."""
        if received > LARGE_ANSWER:
            self.shrink()
        elif received < LARGE_ANSWER // 4:
            self.now = min(self.most, self.now * 2)

    def shrink(self) -> None:
        """Ask for half as many."""
        self.now = max(1, self.now // 2)


class Listing(Connection):
    """Questions to the task list; only first pages are asked for, so that deletes meanwhile shift nothing."""

    def _page(
        self,
        project_id: int,
        size: PageSize,
        filters: Sequence[Filter],
        ordering: str = "tasks:id",
        *,
        include: str = TASK_FIELDS,
        full: bool = True,
    ) -> tuple[list[Raw], bool]:
        """The first tasks of a filter, and whether these are all; asked again for fewer when the server takes too long."""
        while True:
            asked = size.now
            try:
                answer, received = self._ask(project_id, asked, filters, ordering, include=include, full=full)
            except ServiceDown as error:
                if asked == 1 or not isinstance(error.__cause__, httpx.ReadTimeout):
                    raise
                size.shrink()
                continue
            size.note(received)
            return answer["tasks"], len(answer["tasks"]) < asked

    def _ask(
        self,
        project_id: int,
        page_size: int,
        filters: Sequence[Filter],
        ordering: str = "tasks:id",
        *,
        include: str,
        full: bool = False,
        selected: Sequence[int] | None = None,
    ) -> tuple[dict[str, Any], int]:
        """One answer of the task list and its size in bytes; `full` is needed for annotations, predictions, their ids."""
        query: dict[str, Any] = {
            "filters": {"conjunction": "and", "items": list(filters)},
            "ordering": [ordering],
        }
        if selected is not None:
            query["selectedItems"] = {"all": False, "included": list(selected)}
        params = {
            "project": project_id,
            "page_size": page_size,
            "include": include,
            "resolve_uri": "false",
            "query": orjson.dumps(query).decode(),
        } | ({"fields": "all"} if full else {})
        response = self.answered("GET", "/api/tasks/", params=params, timeout_s=_TIMEOUT_S)
        return decoded(response), len(response.content)

    def _selected(self, project_id: int, task_ids: Sequence[int], include: str, at_once: int) -> Iterator[list[Raw]]:
        """These tasks, in pages; ids that no longer exist are left out."""
        for start in range(0, len(task_ids), at_once):
            chosen = task_ids[start : start + at_once]
            answer, _ = self._ask(project_id, len(chosen), [], include=include, full=True, selected=chosen)
            yield answer["tasks"]

    def _spans(
        self,
        project_id: int,
        most: int,
        *,
        after: int = 0,
        filters: Sequence[Filter] = (),
        include: str = TASK_FIELDS,
        full: bool = True,
    ) -> Iterator[IdSpan[Raw]]:
        """Every task with an id above `after`, span by span; the last span has no end.

        Without further filters a question is bounded on both sides, as the server counts all that a filter lets pass
        before it cuts the page: a page of a large project then costs what a page of a small one does.
        """
        size, width, newest = PageSize(most), most, None
        while True:
            bounded = newest is not None and after < newest
            bound = between_ids(after + 1, after + width) if bounded else after_id(after)
            rows, whole = self._page(project_id, size, [*filters, bound], include=include, full=full)
            last = int(rows[-1]["id"]) if not whole else after + width if bounded else None
            yield IdSpan(after, last, rows)
            if last is None:
                return
            if bounded:
                # Ids are given out over all projects: where others' lie between, the step grows.
                width = max(size.now, width // 2) if not whole else width * 2 if 2 * len(rows) < size.now else width
            elif not filters:
                newest = self._newest_id(project_id)
            after = last

    def _newest_id(self, project_id: int) -> int:
        answer, _ = self._ask(project_id, 1, [], "-tasks:id", include="id")
        return max((int(task["id"]) for task in answer["tasks"]), default=0)
