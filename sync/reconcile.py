"""One reconcile: read what is new, train when enough labels came, go on with what stopped, retire what was replaced."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from backends import NO_BACKEND
from labelloop.progress import Counting, not_counted
from labelloop.queueing import (
    prelabel_request,
    promote_request,
    quality_request,
    register_request,
    retire_request,
    top_up_request,
    train_request,
)
from labelloop.store import ProjectRow, TrainingRow
from labelloop.store.leases import held, holding
from labelloop.store.promotions import unserved
from labelloop.store.trainings import (
    MAX_ATTEMPTS,
    finish_training,
    note_queued,
    queue_training,
    running_training,
    training,
    trainings_of,
)
from labelloop.store.types import utc_now
from sync.agreement_checks import labels_at_last_check
from sync.cancelling import end_cancelled
from sync.forgetting import erase_latecomers
from sync.freezing import TRAINING_POLICY, freeze
from sync.lacking import blocks_with, lacking
from sync.mirror import Mirror, Mirrored
from sync.mirroring.configs import follow_config
from sync.promotion import plan_cold_start, retirements
from sync.roles import RolePolicy
from sync.runtime import Runtime
from sync.trigger import Decision, decide
from sync.waiting_labels import waiting

log = logging.getLogger(__name__)

LEASE_TTL_S = 60.0
#: So many new revisions change what a database should know of its tables.
MANY_NEW = 100
#: A training that was queued this long ago and left no trace is asked for again.
LOST_AFTER = timedelta(seconds=30)


@dataclass(frozen=True)
class Reconciled:
    """What a reconcile did; None where another worker holds the lease."""

    mirrored: Mirrored
    decision: Decision
    training_id: str | None


def reconcile_project(
    runtime: Runtime, project_id: int, *, sweep: bool | None = None, count: Counting = not_counted
) -> Reconciled | None:
    """Bring the store up to date with one project and act on it; None while another worker does the same.

    `sweep` forces or forbids the full comparison; by default it runs when the last one is `sweep_every_s` ago. The first
    read looks at every task, and is one.
    """
    project = runtime.store.project(project_id)
    if project is None:
        return None
    with holding(runtime.store, project_id, "sync", LEASE_TTL_S) as lease:
        if lease is None:
            return None
        project = follow_config(runtime.store, runtime.client, project, lease)
        mirror = Mirror(runtime.store, runtime.client, project, role_policy(runtime, project), lease, count)
        before = mirror.last_full_pass()
        compare = sweep if sweep is not None else _sweep_is_due(runtime, before)
        mirrored = mirror.read()
        if compare and mirror.last_full_pass() == before:
            mirrored += mirror.sweep()
    if mirrored.revisions_added >= MANY_NEW:
        runtime.store.refresh_statistics()
    erase_latecomers(runtime, project)
    start_cold(runtime, project)
    recover_training(runtime, project)
    decision, training_id = trigger_training(runtime, project)
    resume_promotions(runtime, project)
    top_up_if_needed(runtime, project, compare=compare)
    retire_if_due(runtime, project)
    register_missed(runtime, project)
    check_quality_if_due(runtime, project)
    return Reconciled(mirrored, decision, training_id)


def role_policy(runtime: Runtime, project: ProjectRow) -> RolePolicy:
    """How the project assigns roles."""
    settings = runtime.project_settings(project)
    return RolePolicy(
        project.salt,
        project.holdout_threshold or 0.0,
        settings.active_learning.blind_share,
        settings.quality.overlap_share,
        settings.quality.min_annotators_per_sample,
    )


def _sweep_is_due(runtime: Runtime, last: datetime | None) -> bool:
    return last is None or utc_now() - last >= timedelta(seconds=runtime.services.sweep_every_s)


# -- training ---------------------------------------------------------------------------------------------------------


def trigger_training(runtime: Runtime, project: ProjectRow, *, now: bool = False) -> tuple[Decision, str | None]:
    """Freeze a dataset and enqueue its training when enough labels are new (`now`: however few); the training's id."""
    with holding(runtime.store, project.project_id, "trigger", LEASE_TTL_S) as lease:
        if lease is None:
            return Decision(False, 0, "another worker decides on a training at this moment"), None
        return _trigger(runtime, project, now)


def _trigger(runtime: Runtime, project: ProjectRow, now: bool) -> tuple[Decision, str | None]:
    store, project_id = runtime.store, project.project_id
    learning = runtime.project_settings(project).active_learning
    # Looked at first: a training that ends in between then holds this decision back, and is not counted from too early.
    running = running_training(store, project_id) is not None
    found = waiting(runtime, project)
    last = found.last
    if project.backend == NO_BACKEND:
        return Decision(False, found.labels, "no backend learns this project's labels"), None
    if now and not running:
        decision = Decision(True, found.labels, "asked for")
    else:
        decision = decide(
            found.labels,
            found.every,
            running=running,
            paused=project.training_paused,
            enabled=learning.enabled,
            overdue=_is_overdue(last, learning.retrain_every_hours) and not found.holds,
        )
    if not decision.train:
        return decision, None
    options = dict(learning.model_options)
    if learning.model_checkpoint:
        options["model_checkpoint"] = learning.model_checkpoint
    parent = last.dataset_id if last else None
    dataset_id = freeze(
        store, project, runtime.services.artifacts, parent=parent, options=options, policy=TRAINING_POLICY
    )
    same = [row for row in trainings_of(store, project_id) if row.dataset_id == dataset_id]
    attempt = max((row.attempt for row in same), default=0) + 1
    row = queue_training(store, project_id, dataset_id, found.labels, last.candidate if last else None, attempt)
    runtime.queue.enqueue(train_request(project_id, dataset_id, attempt))
    log.info("training queued", extra={"training": row.training_id, "labels": found.labels})
    return decision, row.training_id


def _is_overdue(last: TrainingRow | None, hours: float | None) -> bool:
    """Whether the last finished training is so many hours ago; never before the first, which is no matter of time."""
    if hours is None or last is None or last.finished_at is None:
        return False
    return utc_now() - last.finished_at >= timedelta(hours=hours)


def recover_training(runtime: Runtime, project: ProjectRow) -> None:
    """Ask again for a training whose job was lost, and put a new attempt in place of one whose worker died."""
    store, project_id = runtime.store, project.project_id
    row = running_training(store, project_id)
    if row is None or held(store, project_id, "train"):
        return
    if row.cancel_asked is not None:
        end_cancelled(runtime, row)
        return
    if utc_now() - row.queued_at < LOST_AFTER:
        return
    if row.started_at is None:
        runtime.queue.enqueue(train_request(project_id, row.dataset_id, row.attempt))
        return
    with holding(store, project_id, "train", LEASE_TTL_S) as lease:
        # What was read above may be old: its worker may have ended it since.
        if lease is None or training(store, project_id, row.training_id).outcome is not None:
            return
        again = row.attempt + 1
        runtime.clear_scratch(f"train-p{project_id}-")
        with lease.writing() as connection:
            finish_training(store, connection, row, "failed", "its worker died; see the log")
            if again <= MAX_ATTEMPTS:
                note_queued(store, connection, project_id, row.dataset_id, row.label_count, row.base_version, again)
    if again <= MAX_ATTEMPTS:
        runtime.queue.enqueue(train_request(project_id, row.dataset_id, again))
        log.warning("training repeated", extra={"dataset": row.dataset_id, "attempt": again})


# -- promotions -------------------------------------------------------------------------------------------------------


def start_cold(runtime: Runtime, project: ProjectRow) -> None:
    """Give a project its first order once it has tasks, wherever they came from."""
    if runtime.store.served(project.project_id) is None and runtime.store.task_ids(project.project_id):
        plan_cold_start(runtime, project)


def retire_if_due(runtime: Runtime, project: ProjectRow) -> None:
    """Enqueue the deletion of replaced predictions when nobody can hold them any more."""
    if retirements(runtime.store, project.project_id, timedelta(seconds=runtime.services.task_lock_ttl_s)):
        runtime.queue.enqueue(retire_request(project.project_id))


def resume_promotions(runtime: Runtime, project: ProjectRow) -> None:
    """Enqueue the newest promotion that has not served yet; its job does nothing while another one works on it."""
    pending = unserved(runtime.store, project.project_id)
    for promotion_id in pending:
        if not held(runtime.store, project.project_id, "promote"):
            runtime.queue.enqueue(promote_request(promotion_id))


def top_up_if_needed(runtime: Runtime, project: ProjectRow, *, compare: bool) -> None:
    """Enqueue predictions for tasks that came, or became open again, after the served ranking was made.

    With `compare` also for those whose prediction Label Studio has lost, or holds twice: a worker killed between noting
    and pushing leaves that, a person who deletes predictions, and a live /predict that was stored meanwhile.
    """
    store, project_id = runtime.store, project.project_id
    served = store.served(project_id)
    if served is None or unserved(store, project_id):
        return
    wanted = lacking(runtime, project, served, every=False, compare=compare)
    blocks = blocks_with(store, project_id, wanted)
    prelabelled = [prelabel_request(project_id, served.model_version, *block).job_id for block in blocks]
    busy = runtime.queue.active(prelabelled)
    for block, other in zip(blocks, prelabelled, strict=True):
        if other not in busy:
            runtime.queue.enqueue(top_up_request(project_id, served.model_version, *block))


# -- the rest ---------------------------------------------------------------------------------------------------------


def register_missed(runtime: Runtime, project: ProjectRow) -> None:
    """Enqueue the registration of finished trainings that MLflow has not got."""
    for row in trainings_of(runtime.store, project.project_id):
        missed = row.finished_at is not None and row.registered_at is None
        if missed and row.finished_at is not None and utc_now() - row.finished_at >= LOST_AFTER:
            runtime.queue.enqueue(register_request(project.project_id, row.training_id))


def check_quality_if_due(runtime: Runtime, project: ProjectRow) -> None:
    """Enqueue the agreement report when `quality.check_every_n_labels` labels came since the last one."""
    every = runtime.project_settings(project).quality.check_every_n_labels
    count = runtime.store.count_labels(project.project_id)
    if count - labels_at_last_check(runtime, project) >= every:
        runtime.queue.enqueue(quality_request(project.project_id))
