"""A promotion: predict, rank, push, ready, switch, alias, serve, retire. Each step is idempotent and noted, so it resumes.

Three systems have no common commit (Label Studio, MLflow, the store), so nothing is taken back: a promotion that stopped
half-way goes on from its last finished step, under the project's promote lease.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any

import httpx
from sqlalchemy import Connection

from backends.protocols import Backend
from backends.version_labels import Thresholds
from labelloop.errors import NotReady, ServiceDown, UsageError
from labelloop.label_config import parse_label_config
from labelloop.registry import model_name
from labelloop.store import ProjectRow, PromotionStep, Store
from labelloop.store.leases import HeldLease, holding
from labelloop.store.promotions import (
    STEPS,
    add_step,
    move_serving,
    next_serving_id,
    promotions_of,
    steps_of,
    unserved,
)
from labelloop.store.tables import predictions
from labelloop.store.types import utc_now
from sync.hidden_classes import hide_slow_classes, shown_thresholds
from sync.prediction import (
    load_version,
    open_tasks,
    outcomes_of,
    predict_tasks,
    shown_result,
    without_outcome,
)
from sync.pushing import push_ranking
from sync.ranking.gathering import gather
from sync.ranking.order import Candidate, rank_tasks
from sync.ranking.strategies import order_pool
from sync.registration import register_training
from sync.runtime import Runtime
from sync.waiting_labels import PINNED, pin_detail

log = logging.getLogger(__name__)
_parsed = lru_cache(maxsize=8)(parse_label_config)

LEASE_TTL_S = 30.0
READY_TIMEOUT_S = 120.0


def plan_promotion(
    store: Store,
    connection: Connection,
    project: ProjectRow,
    model_version: str,
    path: str,
    digest: str,
    training_id: str | None,
    strategy: str | None = None,
) -> str:
    """Note that a version is to be served, within the caller's transaction; the promotion's id, which is its serving id.

    `strategy` is that of its order, None the project's. An empty `digest` is the cold start: no model, and the evaluation
    tasks already interleaved. What its version says is then what was imported under its name, if anything.
    """
    serving_id = next_serving_id(store, connection, project.project_id, model_version)
    detail = {
        "model_version": model_version,
        "serving_id": serving_id,
        "path": path,
        "digest": digest,
        "training_id": training_id,
    } | ({"strategy": strategy} if strategy else {})
    add_step(store, connection, project.project_id, serving_id, "planned", detail)
    return serving_id


def plan_cold_start(runtime: Runtime, project: ProjectRow, imported: str | None = None) -> str | None:
    """Plan the order before the first model (version 0), once; None when the project already serves or plans something.

    `imported` is a version that was brought in as pre-annotations: it is served, and shown, as long as no model is.
    """
    planned = [steps[0].detail for steps in promotions_of(runtime.store, project.project_id)]
    if imported is None and planned:
        return None
    if any(detail["digest"] or detail["model_version"] == imported for detail in planned):
        return None
    with runtime.store.begin() as connection:
        version = imported or f"{project.backend}-p{project.project_id}-v0"
        return plan_promotion(runtime.store, connection, project, version, "", "", None)


def begun_cold_start(store: Store, project_id: int) -> str | None:
    """A cold start that was planned and has not served yet, if it is still the newest promotion."""
    pending = unserved(store, project_id)
    return pending[-1] if pending and not steps_of(store, pending[-1])[0].detail["digest"] else None


def plan_ranking(
    runtime: Runtime, project: ProjectRow, model_version: str, *, pinned: bool = False, strategy: str | None = None
) -> str:
    """Plan a new ranking (and so a new serving id) of a version that was promoted before: also the way back to it.

    `pinned`: no training replaces it until enough labels are made after this moment.
    """
    pin = pin_detail(runtime.store, project.project_id, model_version, anew=pinned)
    for steps in reversed(promotions_of(runtime.store, project.project_id)):
        detail = steps[0].detail
        if detail["model_version"] == model_version:
            with runtime.store.begin() as connection:
                promotion = plan_promotion(
                    runtime.store, connection, project, model_version,
                    detail["path"], detail["digest"], detail["training_id"], strategy,
                )  # fmt: skip
                if pin is not None:
                    add_step(runtime.store, connection, project.project_id, promotion, PINNED, pin)
            return promotion
    raise UsageError(
        f"project {project.title!r} has never served {model_version!r}; `labelloop models` lists what it has"
    )


def run_promotion(runtime: Runtime, promotion_id: str) -> bool:
    """Take a promotion to "served"; False when another worker has the lease or a newer promotion replaces this one.

    Raises NotReady or ServiceDown when a step must wait for a service: call again later.
    """
    steps = steps_of(runtime.store, promotion_id)
    if not steps:
        raise UsageError(f"no promotion {promotion_id!r} was planned")
    project = _project_of(runtime, promotion_id)
    with holding(runtime.store, project.project_id, "promote", LEASE_TTL_S) as lease:
        if lease is None:
            return False
        if promotion_id not in unserved(runtime.store, project.project_id):
            return False
        # The newest one planned, whether it has served or still waits: an older one must not come after it.
        newest = promotions_of(runtime.store, project.project_id)[-1][0].promotion_id
        if newest != promotion_id:
            with lease.writing() as connection:
                add_step(runtime.store, connection, project.project_id, promotion_id, "superseded", {"by": newest})
            return False
        _Promotion(runtime, project, steps[0], lease).run()
    return True


def _project_of(runtime: Runtime, promotion_id: str) -> ProjectRow:
    for project in runtime.store.projects():
        if any(steps[0].promotion_id == promotion_id for steps in promotions_of(runtime.store, project.project_id)):
            return project
    raise UsageError(f"no project has a promotion {promotion_id!r}")


class _Promotion:
    """One promotion under its lease."""

    def __init__(self, runtime: Runtime, project: ProjectRow, planned: PromotionStep, lease: HeldLease) -> None:
        self.runtime, self.project, self.lease = runtime, project, lease
        self.promotion_id = planned.promotion_id
        self.model_version: str = planned.detail["model_version"]
        self.serving_id: str = planned.detail["serving_id"]
        self.path: str = planned.detail["path"]
        self.digest: str = planned.detail["digest"]
        self.training_id: str | None = planned.detail["training_id"]
        own = runtime.project_settings(project).active_learning.strategy
        self.strategy: str = planned.detail.get("strategy") or own

    def run(self) -> None:
        actions: dict[str, Callable[[], dict[str, Any]]] = {
            "predicted": self.predict,
            "ranked": self.rank,
            "pushed": self.push,
            "ready": self.make_ready,
            "switched": self.switch,
            "aliased": self.alias,
        }
        done = {step.step for step in steps_of(self.runtime.store, self.promotion_id)}
        for step in STEPS:
            if step in done or step not in actions:
                continue
            self.lease.check()
            self._finish(step, actions[step]())
        self.serve()

    def _finish(self, step: str, detail: dict[str, Any]) -> None:
        with self.lease.writing() as connection:
            add_step(self.runtime.store, connection, self.project.project_id, self.promotion_id, step, detail)
        log.info("promotion step", extra={"promotion": self.promotion_id, "step": step, "detail": detail})

    def _progress(self, share: float, message: str) -> None:
        self.runtime.queue.report(f"promote-{self.promotion_id}", share, message)

    def predict(self) -> dict[str, Any]:
        """An outcome of this version for every task that still wants labels."""
        if not self.digest:
            return {"tasks": 0}
        store, project_id = self.runtime.store, self.project.project_id
        waiting = open_tasks(store, project_id)
        missing = without_outcome(store, project_id, self.model_version, waiting)
        if missing:
            backend = self._load()
            fetch = self.runtime.media.fetch if uses_media(self.project) else None
            predict_tasks(store, self.project, self.model_version, backend, missing, fetch, self.lease, self._progress)
        return {"tasks": len(missing)}

    def _load(self) -> Backend:
        return load_version(self.runtime.services, self.project, self.path, self.digest)

    def rank(self) -> dict[str, Any]:
        """A prediction row with an order key for each of those tasks, in one transaction."""
        store, project_id = self.runtime.store, self.project.project_id
        learning = self.runtime.project_settings(self.project).active_learning
        found = outcomes_of(store, project_id, self.model_version)
        waiting = open_tasks(store, project_id)
        roles = {task.task_id: task.role for task in waiting}
        pool = gather(store, self.project, self.model_version, [t for t in waiting if t.role == "pool"], self.strategy)
        seed = int(hashlib.sha256(f"{self.project.salt}{self.serving_id}".encode()).hexdigest()[:12], 16)
        ordered = order_pool(
            pool, self.strategy, batch=learning.query_batch_size, head=learning.retrain_every_n_labels, seed=seed
        )
        self.lease.check()
        ranked = rank_tasks(
            [Candidate(task.task_id, task.role) for task in waiting],
            ordered,
            explore_share=1.0 if self.strategy == "random" else learning.explore_share,
            head=learning.retrain_every_n_labels,
            seed=seed,
            cold=pool.is_cold,
        )
        thresholds = self._thresholds()
        rows = [
            prediction_row(
                self.project, self.model_version, self.serving_id, place.task_id, place.order_key, place.reason,
                found.get(place.task_id), roles[place.task_id], thresholds,
            )
            for place in ranked
        ]  # fmt: skip
        with self.lease.writing() as connection:
            store.insert_missing(connection, predictions, rows)
        return {"tasks": len(rows)}

    def _thresholds(self) -> Thresholds | None:
        if not self.digest:
            return None
        hide_slow_classes(self.runtime.store, self.project, self.lease)
        return shown_thresholds(self.runtime, self.project, self.path, self.digest)

    def push(self) -> dict[str, Any]:
        """Every ranked task's prediction in Label Studio, counted; rows of an earlier try at this push are deleted first."""
        created = push_ranking(
            self.runtime.client, self.runtime.store, self.project.project_id, self.serving_id, self.lease.check
        )
        return {"created": created}

    def make_ready(self) -> dict[str, Any]:
        """The running backend has the version loaded; NotReady while it has not. Without a known backend: nothing to do."""
        url = self.runtime.services.backend_urls.get(self.project.backend)
        if not self.digest or url is None:
            return {"backend": None}
        body = {
            "project": self.project.project_id,
            "model_version": self.model_version,
            "path": self.path,
            "digest": self.digest,
        }
        headers = {"X-Labelloop-Secret": self.runtime.services.secret()}
        try:
            answer = httpx.post(f"{url}/ready", json=body, headers=headers, timeout=READY_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise ServiceDown(
                f"the backend {self.project.backend} at {url} cannot be reached; the promotion waits for it"
            ) from error
        if answer.status_code != 200:
            raise NotReady(f"the backend {self.project.backend} at {url} is not ready: {answer.text[:500]}")
        return {"backend": url}

    def switch(self) -> dict[str, Any]:
        """Label Studio serves this order from now on."""
        client, project_id = self.runtime.client, self.project.project_id
        if client.count_predictions(project_id, self.serving_id):
            client.set_model_version(project_id, self.serving_id)
        return {"serving_id": self.serving_id}

    def alias(self) -> dict[str, Any]:
        """MLflow's alias champion points at this version."""
        if not self.digest or self.training_id is None:
            return {"champion": None}
        register_training(self.runtime, self.project, self.training_id)
        model = model_name(self.runtime.store.instance, self.project.project_id, self.project.backend)
        self.runtime.registry.set_champion(model, self.model_version)
        return {"champion": self.model_version}

    def serve(self) -> None:
        """The serving row moves in the transaction of the last step."""
        row = {
            "backend": self.project.backend,
            "model_version": self.model_version,
            "serving_id": self.serving_id,
            "digest": self.digest,
            "path": self.path,
        }
        store = self.runtime.store
        with self.lease.writing() as connection:
            generation = move_serving(store, connection, self.project.project_id, row)
            add_step(
                store, connection, self.project.project_id, self.promotion_id, "served", {"generation": generation}
            )
        log.info("served", extra={"promotion": self.promotion_id, "generation": generation})


def uses_media(project: ProjectRow) -> bool:
    """Whether the project's tasks are images."""
    return parse_label_config(project.label_config).has_media


def prediction_row(
    project: ProjectRow,
    model_version: str,
    serving_id: str,
    task_id: int,
    order_key: float,
    reason: str,
    outcome: dict[str, Any] | None,
    role: str,
    thresholds: Thresholds | None,
) -> dict[str, Any]:
    """A row of the table predictions: an outcome's shown regions (None: all of them) at their place in the queue."""
    status = "no_model" if outcome is None else outcome["status"] if role == "pool" else "blind"
    shown = shown_result(outcome, role, thresholds) if outcome else []
    config = _parsed(project.label_config)
    return {
        "project_id": project.project_id,
        "task_id": task_id,
        "model_version": model_version,
        "serving_id": serving_id,
        "created_at": utc_now(),
        "confidence": outcome["confidence"] if outcome else None,
        "uncertainty": outcome["uncertainty"] if outcome else None,
        "order_key": order_key,
        "order_reason": reason,
        "status": status,
        "result": [config.as_stored(region) for region in shown],
        "fired_rules": outcome["fired_rules"] if outcome else None,
    }


def retirements(store: Store, project_id: int, lock_ttl: timedelta) -> list[tuple[str, list[str]]]:
    """(promotion, serving ids that it replaced) for each promotion whose replaced predictions nobody can hold any more.

    A task's lock is invisible from outside, and an annotator who holds a task shown with a deleted prediction gets a 400
    on submit. So the replaced rows stay until TASK_LOCK_TTL has passed since the switch away from them.
    """
    due: list[tuple[str, list[str]]] = []
    replaced: list[str] = []
    for steps in promotions_of(store, project_id):
        by_name = {step.step: step for step in steps}
        serving_id = by_name["planned"].detail["serving_id"]
        if "switched" in by_name:
            passed = utc_now() - by_name["switched"].at >= lock_ttl
            if replaced and passed and "served" in by_name and "retired" not in by_name:
                due.append((steps[0].promotion_id, list(replaced)))
        elif "superseded" not in by_name:
            continue
        replaced.append(serving_id)
    return due


def retire_due(runtime: Runtime, project: ProjectRow) -> list[str]:
    """Delete replaced predictions from Label Studio whose time has come; the serving ids of which some were there."""
    store = runtime.store
    gone: list[str] = []
    lock_ttl = timedelta(seconds=runtime.services.task_lock_ttl_s)
    for promotion_id, replaced in retirements(store, project.project_id, lock_ttl):
        with holding(store, project.project_id, "promote", LEASE_TTL_S) as lease:
            if lease is None:
                return gone
            counts = {old: runtime.client.delete_model_version(project.project_id, old) for old in replaced}
            with lease.writing() as connection:
                add_step(store, connection, project.project_id, promotion_id, "retired", {"deleted": counts})
        gone += [old for old in replaced if counts[old]]
    return gone
