"""The jobs as RQ knows them: dotted names and JSON arguments are a wire format (pinned by a test); the work is elsewhere."""

from __future__ import annotations

import logging
from functools import cache

from labelloop.errors import NotReady, ServiceDown, UsageError
from labelloop.queueing import prelabel_request, promote_request, top_up_request
from labelloop.store import ProjectRow
from sync.runtime import Runtime, open_runtime

log = logging.getLogger(__name__)


@cache
def runtime() -> Runtime:
    """This process's runtime, opened by its first job (a work horse is a process of its own)."""
    return open_runtime()


def _project(project_id: int) -> ProjectRow:
    project = runtime().store.project(project_id)
    if project is None:
        raise UsageError(f"labelloop does not look after project {project_id}; add it first")
    return project


def reconcile(project: int) -> None:
    """Bring the store up to date with a project and act on what is new; hints that come meanwhile stay for the next."""
    from sync.reconcile import reconcile_project

    queue = runtime().queue
    if not queue.begin_reconcile(project, runtime().services.reconcile_every_s):
        return
    read = queue.dirty(project)
    if reconcile_project(runtime(), project) is not None:
        queue.mark_clean(project, read)


def train(project: int, dataset: str, attempt: int) -> None:
    """Train one attempt and, when it is promoted, go on with its promotion."""
    from sync.training import run_training

    promotion = run_training(runtime(), project, dataset, attempt)
    if promotion is not None:
        runtime().queue.enqueue(promote_request(promotion))
    runtime().queue.mark_dirty(project)


def train_now(project: int) -> None:
    """Freeze a dataset and train it, however few labels are new."""
    from sync.reconcile import reconcile_project, trigger_training

    reconcile_project(runtime(), project)
    decision, training = trigger_training(runtime(), _project(project), now=True)
    if training is None:
        log.warning("no training started", extra={"project": project, "reason": decision.reason})


def promote(promotion: str) -> None:
    """Take a promotion as far as it goes; a service that is away is asked again by the next reconcile."""
    from sync.promotion import run_promotion

    try:
        run_promotion(runtime(), promotion)
    except (NotReady, ServiceDown) as error:
        log.warning("promotion waits", extra={"promotion": promotion, "reason": str(error)})


def predict(project: int, version: str, lo: int, hi: int, every: bool = False) -> None:
    """Bring the open tasks with ids lo to hi up to the served version; with `every` the finished ones too."""
    from sync.topping_up import top_up

    request = (prelabel_request if every else top_up_request)(project, version, lo, hi)

    def progress(share: float, message: str) -> None:
        runtime().queue.report(request.job_id, share, message)

    top_up(runtime(), _project(project), version, lo, hi, every=every, progress=progress)


def rank(project: int, version: str) -> None:
    """Rank the open tasks anew with a version that was promoted before, and serve that order."""
    from sync.promotion import plan_ranking

    promotion = plan_ranking(runtime(), _project(project), version)
    runtime().queue.enqueue(promote_request(promotion))


def check_quality(project: int) -> None:
    """Measure agreement on the labels that changed, keep the report, and sort what needs a third person or a review."""
    from sync.agreement_checks import check_agreement
    from sync.reviewing import review_pass

    checked = check_agreement(runtime(), _project(project))
    try:
        review_pass(runtime(), _project(project), checked.tasks)
    except (NotReady, ServiceDown) as error:
        # Decisions that were made are stored; the next pass makes good what Label Studio did not hear of.
        log.warning("the review pass was put off", extra={"project": project, "reason": str(error)})


def retire(project: int) -> None:
    """Delete from Label Studio the predictions that nobody can hold any more (slow there: 3 s per 1,000)."""
    from sync.promotion import retire_due

    retire_due(runtime(), _project(project))


def register(project: int, training: str) -> None:
    """Log a training attempt that MLflow missed."""
    from sync.registration import register_training
    from sync.training import clear_left_behind

    clear_left_behind(runtime(), project)
    try:
        register_training(runtime(), _project(project), training)
    except (NotReady, ServiceDown) as error:
        log.warning("registration put off", extra={"training": training, "reason": str(error)})
