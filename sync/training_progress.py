"""How far a training is: its share, what it does, how long it has taken and how long it will; and watching one to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from labelloop.errors import NotReady
from labelloop.progress import duration
from labelloop.queueing import Queue, manual_training_request
from labelloop.store import ProjectRow, TrainingRow
from labelloop.store.trainings import running_training, trainings_of
from labelloop.store.types import utc_now
from sync.runtime import Runtime

#: Below this share nothing is said of the time that is left: the first steps tell little of the others.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class TrainingProgress:
    """A training that is not over. `share` is in [0, 1]; None where it has not told, or where nobody can know."""

    training_id: str
    state: str
    share: float | None
    message: str
    elapsed_s: float | None
    left_s: float | None

    def to_json(self) -> dict[str, Any]:
        """As the reports have it; seconds to a tenth."""
        told = asdict(self)
        for name in ("elapsed_s", "left_s"):
            told[name] = None if told[name] is None else round(told[name], 1)
        return told


def seconds_left(share: float, taken_s: float, ago_s: float = 0.0) -> float | None:
    """Seconds that are left when a share took `taken_s`, as was told `ago_s` ago; None below LEAST_SHARE."""
    if share <= LEAST_SHARE:
        return None
    return max(taken_s * (1.0 - share) / share - ago_s, 0.0)


def progress_of(queue: Queue, row: TrainingRow, now: datetime | None = None) -> TrainingProgress:
    """How far an open attempt is; ServiceDown when Redis is away."""
    now = now or utc_now()
    ending = "is being cancelled; " if row.cancel_asked is not None else ""
    if row.started_at is None:
        return TrainingProgress(
            row.training_id, "waits", None, ending + (row.reason or "waits for a worker"), None, None
        )
    elapsed = max((now - row.started_at).total_seconds(), 0.0)
    told = queue.last_report(row.training_id)
    if told is None:
        return TrainingProgress(row.training_id, "runs", None, f"{ending}has not told how far it is", elapsed, None)
    ago = min(max((now - told.at).total_seconds(), 0.0), elapsed)
    left = seconds_left(told.share, elapsed - ago, ago)
    return TrainingProgress(row.training_id, "runs", told.share, ending + told.message, elapsed, left)


def progress_text(progress: dict[str, Any]) -> str:
    """ "training T: 45 %, thresholds, part 3 of 5; 12 s so far, about 15 s left"."""
    share = "" if progress["share"] is None else f"{progress['share']:.0%}, "
    if progress["elapsed_s"] is None:
        return f"training {progress['training_id']} {progress['message']}"
    left = progress["left_s"]
    rest = "time left unknown" if left is None else f"about {duration(left)} left"
    took = duration(progress["elapsed_s"])
    return f"training {progress['training_id']}: {share}{progress['message']}; {took} so far, {rest}"


def ask_and_follow(
    runtime: Runtime, project: ProjectRow, tell: Callable[[dict[str, Any]], None], poll_s: float = 1.0
) -> TrainingRow:
    """Ask for a training unless one waits or runs, and watch it to its end; NotReady where none was started.

    `tell` is told how far it is, as TrainingProgress.to_json has it, at each look.
    """
    store, project_id = runtime.store, project.project_id
    request = manual_training_request(project_id)
    known = {row.training_id for row in trainings_of(store, project_id) if row.outcome is not None}
    if running_training(store, project_id) is None:
        runtime.queue.enqueue(request)
    while True:
        # Before the rows: a request that is over has left its row by then.
        asked = bool(runtime.queue.active([request.job_id]))
        row = next((row for row in reversed(trainings_of(store, project_id)) if row.training_id not in known), None)
        if row is not None and row.outcome not in (None, "imported"):
            return row
        if row is not None and row.outcome is None:
            tell(progress_of(runtime.queue, row).to_json())
        elif not asked:
            why = runtime.queue.failure(request.job_id)
            raise NotReady(f"no training was started{f': {why}' if why else ''}; the log of worker-sync says why")
        time.sleep(poll_s)


def wait_for_outcome(runtime: Runtime, row: TrainingRow, seconds: float, poll_s: float = 0.2) -> TrainingRow:
    """The attempt's row once it has an outcome, or as it stands after so many seconds."""
    end = utc_now() + timedelta(seconds=seconds)
    while True:
        rows = trainings_of(runtime.store, row.project_id)
        now = next(each for each in rows if each.training_id == row.training_id)
        if now.outcome is not None or utc_now() >= end:
            return now
        time.sleep(poll_s)
