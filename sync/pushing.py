"""One prediction per task in Label Studio under one serving id, whatever stopped half-way before or answered in between.

Its bulk import only ever adds rows and may drop some without a word, and a live /predict is stored under the same id.
So what it holds is read first, and only the difference is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from labelloop.errors import ServiceDown, ServiceError
from labelloop.label_studio import HeldPrediction, LabelStudio
from labelloop.store import Store
from labelloop.store.promotions import predictions_of

log = logging.getLogger(__name__)

#: A row that was sent this often, and is still not there, does not fit Label Studio's label config.
TRIES = 2

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Differences:
    """What must be written so that each task has its row exactly once."""

    missing: list[Row]
    stale: list[tuple[HeldPrediction, Row]]
    doubles: list[HeldPrediction]

    def __len__(self) -> int:
        return len(self.missing) + len(self.stale) + len(self.doubles)


def differences(rows: Sequence[Row], held: Mapping[int, Sequence[HeldPrediction]]) -> Differences:
    """Compare rows (task_id, result, order_key) with what is held of tasks that exist; tasks that do not are left out.

    The oldest prediction of a task is kept and changed where it differs: somebody may hold the task shown with it.
    """
    found = Differences([], [], [])
    for row in rows:
        present = held.get(row["task_id"])
        if present is None:
            continue
        if not present:
            found.missing.append(row)
            continue
        oldest, *younger = present
        found.doubles.extend(younger)
        if oldest.score != row["order_key"] or oldest.result != row["result"]:
            found.stale.append((oldest, row))
    return found


def settle(
    client: LabelStudio,
    project_id: int,
    serving_id: str,
    rows: Sequence[Row],
    span: tuple[int, int],
    check: Callable[[], None],
    refuse: Callable[[Sequence[int]], None],
) -> int:
    """Bring Label Studio's predictions of one serving id in a span of task ids to `rows`; how many differed.

    `check` is called before each write and may raise. Rows that Label Studio keeps dropping go to `refuse` and are
    sent without regions, so that their task keeps its place. Raises ServiceDown and ServiceError; calling again is safe.
    """
    wanted, first = list(rows), None
    for sent in range(TRIES + 1):
        found = differences(wanted, client.predictions_held(project_id, serving_id, *span))
        first = len(found) if first is None else first
        if sent == TRIES:
            left = [*found.missing, *(row for _, row in found.stale)]
            dropped = {row["task_id"] for row in left if row["result"]}
            log.warning("regions refused by Label Studio", extra={"project": project_id, "tasks": sorted(dropped)[:50]})
            refuse(sorted(dropped))
            emptied = {row["task_id"]: {**row, "result": []} for row in wanted if row["task_id"] in dropped}
            wanted = [emptied.get(row["task_id"], row) for row in wanted]
            found = differences(wanted, client.predictions_held(project_id, serving_id, *span))
        if _write(client, project_id, serving_id, found, check):
            return first
    raise ServiceError(
        f"Label Studio did not take {len(found)} predictions of {serving_id} for tasks {span[0]} to {span[1]} of project "
        f"{project_id}, even without regions; see its log, and run this again"
    )


def _write(
    client: LabelStudio, project_id: int, serving_id: str, found: Differences, check: Callable[[], None]
) -> bool:
    """Write the differences; False when some were not taken, which another look will show."""
    taken = True
    for prediction, row in found.stale:
        check()
        taken &= _taken(partial(client.update_prediction, prediction.prediction_id, row["result"], row["order_key"]))
    for prediction in found.doubles:
        check()
        taken &= _taken(partial(client.delete_prediction, prediction.prediction_id))
    check()
    return _push(client, project_id, [push_row(row, serving_id) for row in found.missing]) and taken


def _push(client: LabelStudio, project_id: int, rows: Sequence[dict[str, Any]]) -> bool:
    """Push rows; where one makes the whole request fail, in halves, so that the others arrive."""
    if not rows:
        return True
    try:
        client.push_predictions(project_id, rows)
    except ServiceError as error:
        if not _worth_another_look(error):
            raise
        if error.status != 400 or len(rows) == 1:
            return False
        middle = len(rows) // 2
        first = _push(client, project_id, rows[:middle])
        return _push(client, project_id, rows[middle:]) and first
    return True


def _taken(call: Callable[[], object]) -> bool:
    try:
        call()
    except ServiceError as error:
        if not _worth_another_look(error):
            raise
        return False
    return True


def _worth_another_look(error: ServiceError) -> bool:
    """Rows dropped (an error without a status), or a task or a prediction that is refused or gone meanwhile."""
    log.warning("a prediction was not taken", extra={"reason": str(error)})
    return not isinstance(error, ServiceDown) and error.status in (None, 400, 404)


def push_ranking(client: LabelStudio, store: Store, project_id: int, serving_id: str, check: Callable[[], None]) -> int:
    """Send the stored order of a serving id in bulk, counted; how many predictions were made.

    Rows of an earlier try are deleted first, tasks that are gone meanwhile left out; `check` is called before anything new
    is written. Which tasks there are is asked only when Label Studio refuses one: asking takes half as long as sending.
    """
    client.delete_model_version(project_id, serving_id)
    rows = [push_row(row, serving_id) for row in predictions_of(store, project_id, serving_id)]
    check()
    try:
        return client.push_predictions(project_id, rows)
    except ServiceError as error:
        if error.status != 400:
            raise
        present = client.task_ids(project_id)
        there = [row for row in rows if row["task"] in present]
        if len(there) == len(rows):
            raise
    log.info("tasks are gone", extra={"project": project_id, "tasks": len(rows) - len(there)})
    client.delete_model_version(project_id, serving_id)
    check()
    return client.push_predictions(project_id, there)


def push_row(row: Row, serving_id: str) -> dict[str, Any]:
    """A stored prediction as Label Studio's bulk import takes it; `score` is the order key and nothing else."""
    return {
        "task": row["task_id"],
        "result": row["result"],
        "score": row["order_key"],
        "model_version": serving_id,
    }
