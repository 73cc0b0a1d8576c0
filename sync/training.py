"""One training: a frozen dataset in, a candidate out, judged against the champion on the same blind holdout."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from backends import backend_entry, backend_module
from backends.protocols import Trainer
from labelloop.artefacts import fetch_artefact, write_digest
from labelloop.datasets import Dataset, read_dataset
from labelloop.errors import Cancelled, DataError, LeaseLost, ServiceDown, UsageError
from labelloop.store import ProjectRow, TrainingRow
from labelloop.store.leases import HeldLease, holding
from labelloop.store.promotions import promotions_of
from labelloop.store.trainings import (
    finish_training,
    gates_served,
    queue_training,
    training,
    training_id_of,
    trainings_of,
    update_training,
    version_row,
)
from labelloop.store.types import utc_now
from labelloop.values import Artefact, Budget, Metrics
from sync.cancelling import CancellableLease
from sync.devices import bound_gpu_memory, gpu_name, turn_on
from sync.freezing import open_dataset
from sync.gate import Minimum, Verdict, headline_interval, judge
from sync.promotion import plan_promotion, uses_media
from sync.registration import register_or_leave
from sync.runtime import Runtime
from sync.training_data import TrainingData, lay_out_to_train
from sync.versions import published
from sync.waiting_labels import pin_of

log = logging.getLogger(__name__)

LEASE_TTL_S = 30.0
#: Share of a training's progress at which its model is fitted; the rest is measuring and publishing.
FITTED = 0.9


def run_training(runtime: Runtime, project_id: int, dataset_id: str, attempt: int) -> str | None:
    """Train, judge and record one attempt; the id of the promotion it earned, or None.

    Does nothing when the attempt is over already or another worker holds the project's train lease. LeaseLost stops it
    without a trace; a failure of the training itself is its recorded outcome, one of a service leaves it open to repeat.
    """
    project = runtime.store.project(project_id)
    if project is None:
        raise UsageError(f"no project {project_id}; labelloop does not look after it")
    row = _attempt(runtime, project, dataset_id, attempt)
    if row.outcome is not None:
        return None
    with holding(runtime.store, project_id, "train", LEASE_TTL_S) as lease:
        # Another worker may have ended the attempt, or given it up, before the lease came.
        if lease is None or training(runtime.store, project_id, row.training_id).outcome is not None:
            return None
        runtime.clear_scratch(f"train-p{project_id}-")
        with lease.writing() as connection:
            update_training(runtime.store, connection, project_id, row.training_id, started_at=utc_now())
        scratch = runtime.scratch(row.training_id)
        try:
            return _TrainingRun(runtime, project, row, CancellableLease(lease, row), scratch).run()
        except LeaseLost:
            raise
        except Cancelled as asked:
            with lease.writing() as connection:
                finish_training(runtime.store, connection, row, "cancelled", str(asked))
            return None
        except ServiceDown as error:
            # The attempt is as if it had not begun: a reconcile asks for it again until the service is back.
            with lease.writing() as connection:
                update_training(
                    runtime.store,
                    connection,
                    project_id,
                    row.training_id,
                    started_at=None,
                    reason=f"waits: {error}"[:2000],
                )
            raise
        except Exception as error:
            log.exception("training failed", extra={"training": row.training_id})
            with lease.writing() as connection:
                finish_training(runtime.store, connection, row, "failed", f"{type(error).__name__}: {error}"[:2000])
            return None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _attempt(runtime: Runtime, project: ProjectRow, dataset_id: str, attempt: int) -> TrainingRow:
    training_id = training_id_of(project.project_id, dataset_id, attempt)
    for row in trainings_of(runtime.store, project.project_id):
        if row.training_id == training_id:
            return row
    return queue_training(runtime.store, project.project_id, dataset_id, 0, None, attempt)


def clear_left_behind(runtime: Runtime, project_id: int) -> None:
    """Remove what a training that was killed after its outcome left on this machine; nothing while one runs."""
    with holding(runtime.store, project_id, "train", LEASE_TTL_S) as lease:
        if lease is not None:
            runtime.clear_scratch(f"train-p{project_id}-")


def champion_of(runtime: Runtime, project: ProjectRow) -> TrainingRow | None:
    """The attempt that made the version last promoted, or None while the project is at its cold start."""
    for steps in reversed(promotions_of(runtime.store, project.project_id)):
        detail = steps[0].detail
        if detail["digest"]:
            return version_row(runtime.store, project.project_id, detail["model_version"])
    return None


class _TrainingRun:
    """The parts of one attempt that share its project, lease and scratch folder."""

    def __init__(
        self, runtime: Runtime, project: ProjectRow, row: TrainingRow, lease: CancellableLease, scratch: Path
    ) -> None:
        self.runtime, self.project, self.row, self.lease, self.scratch = runtime, project, row, lease, scratch
        self.settings = runtime.project_settings(project)
        self.trainer: Trainer = backend_module(project.backend).trainer()

    def run(self) -> str | None:
        store = self.runtime.store
        self.lease.check()
        frozen = open_dataset(self.runtime.services.artifacts, self.row.dataset_id, self.scratch)
        data = lay_out_to_train(frozen, self.scratch / "dataset", self._fetch(), self.lease.check)
        folder = data.folder
        champion = champion_of(self.runtime, self.project)
        champion_folder = self._fetch_version(champion)
        artefact = self._fit(folder, champion_folder)
        self._tell(FITTED, "measuring on the holdout")
        candidate = self.trainer.evaluate(artefact.path, folder)
        self.lease.check()
        self._tell(0.96, "measuring the served version")
        served = self._measured(champion_folder, folder) if champion_folder is not None else None
        self._tell(0.98, "judging and publishing")
        self.lease.check()
        learning = self.settings.active_learning
        minimum = Minimum(learning.gate_min_items, learning.gate_min_objects)
        verdict = judge(candidate, served, self.trainer.scores, minimum)
        verdict = self._unless_pinned(verdict)
        digest = write_digest(artefact.path)
        self.lease.check()
        record = self._record(artefact, candidate, served, verdict, data, frozen)
        record["labels"] = read_dataset(folder).count_truths("train")
        record["interval"] = headline_interval(candidate, self.trainer.scores)
        self.lease.check()
        with (
            published(self.runtime, self.project, artefact.path, digest) as version,
            self.lease.writing() as connection,
        ):
            update_training(
                store, connection, self.project.project_id, self.row.training_id, candidate=version.name,
                path=version.path, digest=digest, base_version=champion.candidate if champion else None,
            )  # fmt: skip
            reason = f"{verdict.reason}; gate {record['gate']['gates_served']} of this holdout"
            finish_training(store, connection, self.row, verdict.outcome, reason, record)
            promotion = None
            if verdict.outcome == "promoted":
                promotion = plan_promotion(
                    store, connection, self.project, version.name, version.path, digest, self.row.training_id
                )
        log.info("training over", extra={"training": self.row.training_id, "outcome": verdict.outcome})
        register_or_leave(self.runtime, self.project, self.row.training_id)
        return promotion

    def _unless_pinned(self, verdict: Verdict) -> Verdict:
        """The verdict; undecided where somebody went back to an older version after this training was asked for."""
        pin = pin_of(self.runtime.store, self.project.project_id)
        if verdict.outcome != "promoted" or pin is None or self.row.queued_at > pin.at:
            return verdict
        return replace(verdict, outcome="undecided", reason=f"{pin.model_version} is pinned since; {verdict.reason}")

    def _fetch(self) -> Any:
        return self.runtime.media.fetch if uses_media(self.project) else None

    def _measured(self, champion: Path, folder: Path) -> Metrics | None:
        """The champion on the same holdout; None for one that was brought in and that this trainer cannot measure."""
        try:
            return self.trainer.evaluate(champion, folder)
        except (DataError, UsageError) as error:
            log.warning("champion not measured", extra={"training": self.row.training_id, "reason": str(error)})
            return None

    def _fetch_version(self, row: TrainingRow | None) -> Path | None:
        if row is None or row.path is None or row.digest is None:
            return None
        return fetch_artefact(row.path, row.digest, self.runtime.services.data.absolute() / "versions")

    def _fit(self, folder: Path, champion: Path | None) -> Artefact:
        learning = self.settings.active_learning
        services = self.runtime.services
        out = self.scratch / "artefact"
        out.mkdir(parents=True)

        warm = learning.warm_start == "champion" or getattr(self.trainer, "needs_start", False)
        with self._turn() as gpu:

            def progress(share: float, message: str) -> None:
                if gpu is not None:
                    gpu.check()
                self.lease.check()
                self._tell(FITTED * share, message)

            return self.trainer.fit(
                folder,
                out,
                start=champion if warm else None,
                budget=Budget(
                    learning.epochs,
                    seed=self.row.number,
                    device=services.device,
                    threads=services.threads,
                    seconds=60 * learning.max_training_minutes if learning.max_training_minutes else None,
                ),
                progress=progress,
            )

    @contextmanager
    def _turn(self) -> Iterator[HeldLease | None]:
        """This host's GPU for the length of the fit, where the backend's trainer computes on it."""
        services, entry = self.runtime.services, backend_entry(self.project.backend)
        if gpu_name(services.device) is None or not entry.trains_on_gpu:
            yield None
            return
        project_id = self.project.project_id
        wait = partial(self._tell, 0.0)
        with turn_on(self.runtime.store, project_id, services.device, self.lease.check, wait) as gpu:
            # What is left is told from here on: a wait says nothing of how fast it goes.
            with self.lease.writing() as connection:
                update_training(self.runtime.store, connection, project_id, self.row.training_id, started_at=utc_now())
            bound_gpu_memory(services.device, services.train_gpu_memory, entry.libraries)
            yield gpu

    def _tell(self, share: float, message: str) -> None:
        self.runtime.queue.report(self.row.training_id, share, message)

    def _record(
        self,
        artefact: Artefact,
        candidate: Metrics,
        champion: Metrics | None,
        verdict: Verdict,
        data: TrainingData,
        dataset: Dataset,
    ) -> dict[str, Any]:
        judged_on = dataset.holdout_hash
        earlier = gates_served(trainings_of(self.runtime.store, self.project.project_id), judged_on)
        return {
            "candidate": _summary(candidate),
            "champion": _summary(champion) if champion else None,
            "gate": {**verdict.to_json(), "holdout_hash": judged_on, "gates_served": earlier + 1},
            "left_out": {str(task): reason for task, reason in data.left_out.items()},
            "fused": {"tasks": data.fusing.tasks, "without_quorum": data.fusing.without_quorum},
            "config_hash": dataset.manifest["body"]["config_hash"],
            "params": {key: str(value) for key, value in artefact.params.items()},
            "curve": [dict(point) for point in artefact.training_curve],
        }


def _summary(metrics: Metrics) -> dict[str, Any]:
    summary = asdict(metrics)
    del summary["per_item"]
    return summary


def evaluate_version(
    runtime: Runtime, project: ProjectRow, model_versions: list[str], dataset_id: str
) -> dict[str, Metrics]:
    """Metrics of several versions on the holdout of one dataset version, all on the same items."""
    trainer: Trainer = backend_module(project.backend).trainer()
    scratch = runtime.scratch(f"evaluate-p{project.project_id}-{dataset_id}")
    try:
        frozen = open_dataset(runtime.services.artifacts, dataset_id, scratch)
        fetch = runtime.media.fetch if uses_media(project) else None
        folder = lay_out_to_train(frozen, scratch / "dataset", fetch, lambda: None).folder
        found = {}
        for version in model_versions:
            row = version_row(runtime.store, project.project_id, version)
            if row is None or row.path is None or row.digest is None:
                raise UsageError(f"project {project.title!r} has no model version {version!r}")
            artefact = fetch_artefact(row.path, row.digest, runtime.services.data.absolute() / "versions")
            found[version] = trainer.evaluate(artefact, folder)
        return found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
