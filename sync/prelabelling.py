"""A whole project predicted through the queue: planned in blocks, joined when it runs already, watched to its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select

from labelloop.errors import NotReady, ServiceError
from labelloop.queueing import prelabel_request, top_up_request
from labelloop.store import ProjectRow, Served
from labelloop.store.promotions import count_predictions, unserved
from labelloop.store.tables import outcomes
from labelloop.store.tables import tasks as tasks_table
from sync.lacking import blocks_with, lacking
from sync.prediction import forget_failed
from sync.reconcile import reconcile_project
from sync.runtime import Runtime

POLL_S = 0.5
#: Jobs of one block before it is given up: a worker may die, Label Studio may be started anew.
ATTEMPTS = 3
#: Without any worker this long, waiting is over; the jobs stay.
WORKERLESS_S = 60.0

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class PrelabelReport:
    """How far a project is under what it serves.

    `predicted` tasks have an outcome of the version, `by_reason` says which; `pushed` counts what Label Studio holds of
    the serving id; `lacking` tasks have no prediction yet. `queued` jobs were enqueued by this call.
    """

    project: int
    title: str
    model_version: str
    serving_id: str
    tasks: int
    predicted: int
    pushed: int
    by_reason: dict[str, int]
    lacking: int
    queued: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As `prelabel --json` prints it."""
        return asdict(self)


def prelabel(
    runtime: Runtime,
    project: ProjectRow,
    *,
    wait: bool,
    retry: bool,
    progress: Progress,
    poll_s: float = POLL_S,
    workerless_s: float = WORKERLESS_S,
) -> PrelabelReport:
    """Enqueue a job for each block of tasks that lacks predictions of the served id, and wait until none does.

    Blocks that wait or run already are joined. `retry` predicts again what failed for a reason that may have passed.
    Raises NotReady (no model is served, no worker), ServiceDown (Redis, Label Studio) or ServiceError (a job failed).
    """
    call = _Prelabelling(runtime, project, progress, poll_s, workerless_s)
    try:
        return call.run(wait=wait, retry=retry)
    finally:
        progress(1.0, "over")


class _Prelabelling:
    """One call: what it asked for, and how often."""

    def __init__(
        self, runtime: Runtime, project: ProjectRow, progress: Progress, poll_s: float, workerless_s: float
    ) -> None:
        self.runtime, self.project, self.progress = runtime, project, progress
        self.poll_s, self.workerless_s = poll_s, workerless_s
        self.began = time.monotonic()
        self.asked: Counter[tuple[str, int, int]] = Counter()
        self.watched: set[str] = set()
        self.queued = 0

    def run(self, *, wait: bool, retry: bool) -> PrelabelReport:
        served = self._served()
        self.runtime.queue.workers("predict")  # an unreachable Redis is told before anything is begun
        if retry:
            forget_failed(self.runtime.store, self.project.project_id, served.model_version)
        served, blocks, before = self._plan()
        self._ask(served, blocks)
        self.asked.clear()
        # Then for tasks that only Label Studio knows yet; it leaves alone the blocks that were just asked for.
        reconcile_project(self.runtime, self.project.project_id)
        while True:
            served, blocks, count = self._plan()
            jobs = self._ask(served, blocks)
            if not wait or not count:
                return self._report(served, count)
            if jobs:
                self._watch(jobs, served)
                if count == before:
                    # Tasks that Label Studio has no longer are the store's matter first.
                    reconcile_project(self.runtime, self.project.project_id, sweep=True)
                before = count
            elif unserved(self.runtime.store, self.project.project_id):
                self._pause(served, "a promotion is on its way", [])
            else:
                return self._given_up(served, count)

    def _served(self) -> Served:
        served = self.runtime.store.served(self.project.project_id)
        if served is None or not served.digest:
            title = self.project.title
            raise NotReady(
                f"project {title!r} serves no model yet; train one (labelloop train {title!r}) or bring one in "
                f"(labelloop register {title!r} SOURCE)"
            )
        return served

    def _plan(self) -> tuple[Served, list[tuple[int, int]], int]:
        """What is served, the blocks that lack predictions of it, and how many tasks lack one."""
        served, project_id = self._served(), self.project.project_id
        wanted = lacking(self.runtime, self.project, served, every=True, compare=True)
        if unserved(self.runtime.store, project_id):
            # What is served is about to change, and a job for it would do nothing.
            return served, [], len(wanted)
        return served, blocks_with(self.runtime.store, project_id, wanted), len(wanted)

    def _ask(self, served: Served, blocks: Sequence[tuple[int, int]]) -> list[str]:
        """Enqueue what is not under way; the jobs to watch. A block that is being topped up has its turn afterwards."""
        topped_up = [top_up_request(self.project.project_id, served.model_version, *block).job_id for block in blocks]
        busy = self.runtime.queue.active(topped_up)
        jobs: list[str] = []
        for block, other in zip(blocks, topped_up, strict=True):
            request = prelabel_request(self.project.project_id, served.model_version, *block)
            if self.asked[served.serving_id, *block] >= ATTEMPTS:
                continue
            self.asked[served.serving_id, *block] += 1
            if other in busy:
                jobs.append(other)
            else:
                self.queued += self.runtime.queue.enqueue(request)
                jobs.append(request.job_id)
        self.watched |= set(jobs)
        return jobs

    def _watch(self, jobs: Sequence[str], served: Served) -> None:
        """Wait until none of the jobs waits or runs."""
        workerless_since: float | None = None
        while active := self.runtime.queue.active(jobs):
            if self.runtime.queue.workers("predict"):
                workerless_since = None
            elif workerless_since is None:
                workerless_since = time.monotonic()
            elif time.monotonic() - workerless_since > self.workerless_s:
                raise NotReady(
                    "no worker takes jobs of the queue 'predict'; start one (labelloop up, or python -m sync.worker "
                    "predict) and run this again: the jobs wait, and it joins them"
                )
            told = "no worker yet" if workerless_since is not None else f"{len(active)} jobs"
            self._pause(served, told, sorted(active))

    def _pause(self, served: Served, told: str, active: Sequence[str]) -> None:
        reports = [message for _, message in self.runtime.queue.progress(active[:20]).values()]
        share, counted = self._progress(served)
        self.progress(min(share, 0.999), "; ".join([counted, *(reports[:2] or [told])]))
        time.sleep(self.poll_s)

    def _progress(self, served: Served) -> tuple[float, str]:
        """By the store: half for an outcome, half for a place in the order."""
        total, reasons = self._tasks(), self._reasons(served)
        predicted = sum(reasons.values())
        placed = count_predictions(self.runtime.store, self.project.project_id, served.serving_id)
        return (predicted + placed) / (2 * total or 1), f"{predicted} of {total} predicted, {placed} placed"

    def _tasks(self) -> int:
        where = self.runtime.store.scope(tasks_table, self.project.project_id) & tasks_table.c.deleted_at.is_(None)
        with self.runtime.store.read() as connection:
            return int(connection.execute(select(func.count()).select_from(tasks_table).where(where)).scalar_one())

    def _reasons(self, served: Served) -> dict[str, int]:
        """Outcomes of the served version for tasks that still exist, by status."""
        o, t = outcomes.c, tasks_table.c
        same = (o.instance == t.instance) & (o.project_id == t.project_id) & (o.task_id == t.task_id)
        query = (
            select(o.status, func.count())
            .select_from(outcomes.join(tasks_table, same))
            .where(
                self.runtime.store.scope(outcomes, self.project.project_id),
                o.model_version == served.model_version,
                t.deleted_at.is_(None),
            )
            .group_by(o.status)
            .order_by(o.status)
        )
        with self.runtime.store.read() as connection:
            return {status: int(count) for status, count in connection.execute(query)}

    def _report(self, served: Served, count: int) -> PrelabelReport:
        reasons = self._reasons(served)
        return PrelabelReport(
            project=self.project.project_id,
            title=self.project.title,
            model_version=served.model_version,
            serving_id=served.serving_id,
            tasks=self._tasks(),
            predicted=sum(reasons.values()),
            pushed=self.runtime.client.count_predictions(self.project.project_id, served.serving_id),
            by_reason=reasons,
            lacking=count,
            queued=self.queued,
            seconds=round(time.monotonic() - self.began, 3),
        )

    def _given_up(self, served: Served, count: int) -> PrelabelReport:
        """Each block was tried often enough: the reason of a job that failed, or a report of what is left."""
        failures = [self.runtime.queue.failure(job) for job in sorted(self.watched)]
        told = next((failure for failure in failures if failure), None)
        if told is not None:
            raise ServiceError(
                f"{count} tasks of project {self.project.title!r} have no prediction after {ATTEMPTS} tries: {told}; what "
                "is done is kept: see the worker's log, and run this again"
            )
        return self._report(served, count)


def prelabel_text(report: PrelabelReport, *, waited: bool) -> str:
    """A report in a few lines."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in report.by_reason.items()) or "none"
    lines = [
        f"{report.predicted} of {report.tasks} tasks predicted by {report.model_version} ({reasons}); {report.pushed} "
        f"predictions in Label Studio as {report.serving_id}"
    ]
    if report.lacking and not waited:
        lines.append(f"{report.queued} jobs queued for {report.lacking} tasks; look again: labelloop prelabel")
    elif report.lacking:
        lines.append(f"{report.lacking} tasks have no prediction; does Label Studio still have them? labelloop sync")
    return "\n".join(lines)
