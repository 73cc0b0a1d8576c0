"""A model that was not trained here becomes a version like any other: published, registered, and promoted if wanted."""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import backend_module
from labelloop.artefacts import write_digest
from labelloop.errors import ServiceDown, UsageError
from labelloop.label_config import parse_label_config
from labelloop.queueing import promote_request
from labelloop.store import ProjectRow
from labelloop.store.promotions import promotions_of, unserved
from labelloop.store.trainings import note_imported, trainings_of
from labelloop.values import Artefact
from sync.freezing import config_hash
from sync.promotion import plan_promotion
from sync.registration import register_or_leave
from sync.runtime import Runtime
from sync.versions import Version, published

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """A version that was brought in; `known` when the project had the same artefact before.

    `promotion` is the id of the promotion that was planned, None without one; `queued` says that its job waits.
    """

    version: Version
    known: bool
    promotion: str | None
    queued: bool


def import_version(
    runtime: Runtime,
    project: ProjectRow,
    sources: Sequence[str],
    options: Mapping[str, Any],
    *,
    promote: bool,
) -> Imported:
    """Make a version of the project's backend from `sources` and, with `promote`, plan to serve it.

    UsageError when the backend trains its models here only, or has no such option; what the backend raises on sources
    that it cannot use passes through. Away, MLflow and Redis are caught up with by a reconcile.
    """
    make = getattr(backend_module(project.backend), "import_model", None)
    if make is None:
        raise UsageError(
            f"models of the backend {project.backend!r} are trained here only; use: labelloop train {project.title!r}"
        )
    _check_options(make, project.backend, options)
    config = parse_label_config(project.label_config)
    with tempfile.TemporaryDirectory(prefix="import-", dir=runtime.scratch("imports")) as folder:
        out = Path(folder) / "artefact"
        out.mkdir()
        artefact = make(list(sources), config, out, **options)
        digest = write_digest(artefact.path)
        version, training_id = _known(runtime, project, digest), f"import-p{project.project_id}-{digest[:16]}"
        if version is None:
            with published(runtime, project, artefact.path, digest) as version:
                promotion = _note(runtime, project, version, training_id, artefact, sources, promote)
            known = False
        else:
            promotion = _plan(runtime, project, version, training_id) if promote else None
            known = True
    log.info("version imported", extra={"version": version.name, "known": known, "promotion": promotion})
    register_or_leave(runtime, project, training_id)
    return Imported(version, known, promotion, _enqueue(runtime, promotion))


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as a mapping, values read as YAML (so that true, 0.5 and [1, 2] are what they look like)."""
    import yaml

    found = {}
    for pair in pairs:
        key, given, text = pair.partition("=")
        if not given or not key.strip():
            raise UsageError(f"--option takes KEY=VALUE, got {pair!r}")
        try:
            found[key.strip().replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--option {pair!r}: the value does not read: {error}") from error
    return found


def _check_options(make: Any, backend: str, options: Mapping[str, Any]) -> None:
    try:
        inspect.signature(make).bind([], None, None, **options)
    except TypeError as error:
        raise UsageError(f"the backend {backend!r} takes no such option: {error}") from error


def _known(runtime: Runtime, project: ProjectRow, digest: str) -> Version | None:
    for row in trainings_of(runtime.store, project.project_id):
        if row.outcome == "imported" and row.digest == digest and row.candidate and row.path:
            return Version(row.candidate, row.path, digest)
    return None


def _note(
    runtime: Runtime,
    project: ProjectRow,
    version: Version,
    training_id: str,
    artefact: Artefact,
    sources: Sequence[str],
    promote: bool,
) -> str | None:
    """The version's row and its promotion, in one transaction."""
    record = {
        "candidate": None,
        "champion": None,
        "config_hash": config_hash(project.label_config),
        "params": {key: str(value) for key, value in artefact.params.items()},
        "sources": list(sources),
    }
    with runtime.store.begin() as connection:
        note_imported(
            runtime.store, connection, project.project_id, training_id,
            candidate=version.name, path=version.path, digest=version.digest,
            reason=f"brought in from {', '.join(sources)}"[:2000], metrics=record,
        )  # fmt: skip
        if not promote:
            return None
        return plan_promotion(
            runtime.store, connection, project, version.name, version.path, version.digest, training_id
        )


def _plan(runtime: Runtime, project: ProjectRow, version: Version, training_id: str) -> str | None:
    """A promotion of a version that was there before, unless it is served or on its way."""
    store, project_id = runtime.store, project.project_id
    served = store.served(project_id)
    waiting = unserved(store, project_id)
    if waiting:
        for steps in promotions_of(store, project_id):
            if steps[0].promotion_id == waiting[-1] and steps[0].detail["model_version"] == version.name:
                return waiting[-1]
    elif served is not None and served.model_version == version.name:
        return None
    with store.begin() as connection:
        return plan_promotion(store, connection, project, version.name, version.path, version.digest, training_id)


def _enqueue(runtime: Runtime, promotion: str | None) -> bool:
    if promotion is None:
        return False
    try:
        runtime.queue.enqueue(promote_request(promotion))
    except ServiceDown as error:
        log.warning("promotion waits for a reconcile", extra={"promotion": promotion, "reason": str(error)})
        return False
    return True
