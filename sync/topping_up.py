"""Predictions under the served id for a block of tasks that lack them: predicted, placed in the order, in Label Studio once."""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection, select, update

from backends.version_labels import Thresholds
from labelloop.errors import NotReady
from labelloop.store import ProjectRow, Served, Store, TaskRow
from labelloop.store.leases import HeldLease, holding
from labelloop.store.promotions import predictions_of, unserved
from labelloop.store.tables import predictions
from sync.hidden_classes import shown_thresholds
from sync.lacking import outdated_ids
from sync.prediction import load_version, outcomes_of, predict_tasks, without_outcome
from sync.promotion import LEASE_TTL_S, prediction_row, uses_media
from sync.pushing import settle
from sync.runtime import Runtime

#: Another worker pushes a block in seconds; a promotion holds the lease for minutes, and then ours is not wanted.
LEASE_WAIT_S = 900.0


class _NoLongerServed(Exception):
    """The version is served no longer, or a promotion is on its way that brings a ranking of its own."""


def top_up(
    runtime: Runtime,
    project: ProjectRow,
    model_version: str,
    lo: int,
    hi: int,
    *,
    every: bool = False,
    progress: Callable[[float, str], None] = lambda _share, _message: None,
) -> int:
    """Give the tasks with ids lo to hi their prediction of the served id; how many Label Studio lacked or held wrongly.

    Open tasks, and those that Label Studio holds a prediction of anyway; with `every` the finished ones too. May be
    stopped at any point and run again, also by several workers at once: an outcome and a place are written once, and
    Label Studio is compared before it is written to. Nothing is done for a version that is served no longer.
    """
    try:
        return _TopUp(runtime, project, model_version, (lo, hi)).run(every, progress)
    except _NoLongerServed:
        return 0


class _TopUp:
    """One block of task ids under one served version; also what its outcomes are written under."""

    def __init__(self, runtime: Runtime, project: ProjectRow, model_version: str, span: tuple[int, int]) -> None:
        self.runtime, self.project, self.model_version, self.span = runtime, project, model_version, span
        self.store: Store = runtime.store

    def served(self) -> Served:
        """What is served, if that is still this version."""
        served = self.store.served(self.project.project_id)
        if served is None or served.model_version != self.model_version:
            raise _NoLongerServed
        if unserved(self.store, self.project.project_id):
            raise _NoLongerServed
        return served

    def check(self) -> None:
        """End the work when it is not wanted any more."""
        self.served()

    def writing(self) -> AbstractContextManager[Connection]:
        """Outcomes belong to their version and are inserted once: they need no lease."""
        return self.store.begin()

    def run(self, every: bool, progress: Callable[[float, str], None]) -> int:
        served = self.served()
        tasks = self._tasks(served, every)
        thresholds = self._predict(served, tasks, progress)
        with self._lease() as (lease, now):
            renewed = self._place(now, tasks, thresholds, lease)
            progress(1.0, "writing to Label Studio")
            return self._settle(now, renewed, lease)

    def _tasks(self, served: Served, every: bool) -> list[TaskRow]:
        project_id = self.project.project_id
        tasks = self.store.tasks(project_id, *self.span)
        if every:
            return tasks
        wanted = self.store.open_task_ids(project_id)
        held = self.runtime.client.predictions_held(project_id, served.serving_id, *self.span)
        wanted |= {task_id for task_id, rows in held.items() if rows}
        return [task for task in tasks if task.task_id in wanted]

    def _predict(
        self, served: Served, tasks: Sequence[TaskRow], progress: Callable[[float, str], None]
    ) -> Thresholds | None:
        """Outcomes of the served version for those tasks that have none yet; what of them is shown (None: all)."""
        if not served.digest:
            return None
        thresholds = shown_thresholds(self.runtime, self.project, served.path, served.digest)
        missing = without_outcome(self.store, self.project.project_id, served.model_version, tasks)
        if missing:
            backend = load_version(self.runtime.services, self.project, served.path, served.digest)
            fetch = self.runtime.media.fetch if uses_media(self.project) else None
            predict_tasks(
                self.store, self.project, served.model_version, backend, missing, fetch, self,
                lambda share, message: progress(0.9 * share, message),
            )  # fmt: skip
        return thresholds

    @contextmanager
    def _lease(self) -> Iterator[tuple[HeldLease, Served]]:
        """The promote lease, under which the served id cannot change; NotReady when it does not come free."""
        end = time.monotonic() + LEASE_WAIT_S
        while time.monotonic() < end:
            self.check()
            with holding(self.store, self.project.project_id, "promote", LEASE_TTL_S) as lease:
                if lease is not None:
                    yield lease, self.served()
                    return
            time.sleep(0.2)
        raise NotReady(
            f"another worker has written predictions of project {self.project.title!r} for {LEASE_WAIT_S:.0f} s; "
            "what is predicted is kept, and the next try goes on from there"
        )

    def _place(
        self, served: Served, tasks: Sequence[TaskRow], thresholds: Thresholds | None, lease: HeldLease
    ) -> dict[int, dict[str, Any]]:
        """Write rows with an order key for tasks that have none; give back, unwritten, those whose failure has passed since."""
        project_id, store = self.project.project_id, self.store
        ranked = {row["task_id"]: row for row in predictions_of(store, project_id, served.serving_id, *self.span)}
        found = outcomes_of(store, project_id, served.model_version, *self.span)
        passed = outdated_ids(store, project_id, served)
        wanted = [task for task in tasks if task.task_id not in ranked or task.task_id in passed]
        if not wanted:
            return {}
        uncertainties = _uncertainties(store, project_id, served.serving_id)
        rows = [
            prediction_row(
                self.project, served.model_version, served.serving_id, task.task_id,
                _place_among(uncertainties, task.role, (found.get(task.task_id) or {}).get("uncertainty")),
                task.role if task.role != "pool" else "strategy" if task.task_id in found else "cold",
                found.get(task.task_id), task.role, thresholds,
            )
            for task in wanted
        ]  # fmt: skip
        with lease.writing() as connection:
            store.insert_missing(connection, predictions, [row for row in rows if row["task_id"] not in ranked])
        return {row["task_id"]: row for row in rows if row["task_id"] in ranked}

    def _change(self, connection: Connection, served: Served, task_id: int, values: dict[str, Any]) -> None:
        c = predictions.c
        connection.execute(
            update(predictions)
            .where(self.store.in_queue(self.project.project_id, served.serving_id), c.task_id == task_id)
            .values(**{name: value for name, value in values.items() if name not in ("project_id", "created_at")})
        )

    def _settle(self, served: Served, renewed: Mapping[int, dict[str, Any]], lease: HeldLease) -> int:
        """Bring Label Studio to the rows; a renewed row is noted afterwards, so that a stop between does it again."""
        project_id = self.project.project_id
        refused: set[int] = set()

        def refuse(task_ids: Sequence[int]) -> None:
            refused.update(task_ids)
            with lease.writing() as connection:
                for task_id in task_ids:
                    self._change(connection, served, task_id, {"status": "class_not_in_config", "result": []})

        client = self.runtime.client
        noted = predictions_of(self.store, project_id, served.serving_id, *self.span)
        rows = [renewed.get(row["task_id"], row) for row in noted]
        changed = settle(client, project_id, served.serving_id, rows, self.span, lease.check, refuse)
        with lease.writing() as connection:
            for task_id in renewed.keys() - refused:
                self._change(connection, served, task_id, renewed[task_id])
        if changed and not client.get_project(project_id)["model_version"]:
            # A version that was promoted before there were tasks could not be switched to: nothing carried its id.
            client.set_model_version(project_id, served.serving_id)
        return changed


def _uncertainties(store: Store, project_id: int, serving_id: str) -> list[float]:
    """Uncertainties of the tasks that the strategy has placed, lowest first."""
    c = predictions.c
    query = select(c.uncertainty).where(store.in_queue(project_id, serving_id), c.order_reason == "strategy")
    with store.read() as connection:
        return sorted(value or 0.0 for value in connection.execute(query).scalars())


def _place_among(ranked: Sequence[float], role: str, uncertainty: float | None) -> float:
    """An order key among those ranked before: by uncertainty for a pool task, at random for the others."""
    if role != "pool" or uncertainty is None or not ranked:
        return random.random()
    return (len(ranked) - bisect_right(ranked, uncertainty)) / len(ranked)
