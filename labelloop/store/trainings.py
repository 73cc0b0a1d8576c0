"""Training attempts in the store: queued, started, finished with an outcome; and versions that were brought in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update

from labelloop.errors import UsageError
from labelloop.store.rows import TrainingRow
from labelloop.store.store import Store
from labelloop.store.tables import trainings
from labelloop.store.types import utc_now

#: Attempts at one dataset before its training counts as failed.
MAX_ATTEMPTS = 3


def training_id_of(project_id: int, dataset_id: str, attempt: int) -> str:
    """The id of one attempt, the same as its job's."""
    return f"train-p{project_id}-{dataset_id[1:13]}-{attempt}"


def queue_training(
    store: Store, project_id: int, dataset_id: str, label_count: int, base_version: str | None, attempt: int = 1
) -> TrainingRow:
    """Note a training that is about to be enqueued; the same call again changes nothing."""
    with store.begin() as connection:
        note_queued(store, connection, project_id, dataset_id, label_count, base_version, attempt)
    return training(store, project_id, training_id_of(project_id, dataset_id, attempt))


def note_queued(
    store: Store,
    connection: Connection,
    project_id: int,
    dataset_id: str,
    label_count: int,
    base_version: str | None,
    attempt: int,
) -> None:
    """The same within the caller's transaction."""
    scope = store.scope(trainings, project_id)
    number = connection.execute(select(func.coalesce(func.max(trainings.c.number), 0)).where(scope)).scalar_one()
    row = {
        "project_id": project_id,
        "training_id": training_id_of(project_id, dataset_id, attempt),
        "dataset_id": dataset_id,
        "attempt": attempt,
        "number": number + 1,
        "label_count": label_count,
        "base_version": base_version,
        "reason": "",
        "queued_at": utc_now(),
        "metrics": {},
    }
    store.insert_missing(connection, trainings, [row])


def note_imported(store: Store, connection: Connection, project_id: int, training_id: str, **values: Any) -> None:
    """Note a version that was not trained here, within the caller's transaction: no dataset, no labels, no outcome to wait for.

    `values`: candidate, path, digest, reason, metrics.
    """
    scope = store.scope(trainings, project_id)
    number = connection.execute(select(func.coalesce(func.max(trainings.c.number), 0)).where(scope)).scalar_one()
    now = utc_now()
    row = {
        "project_id": project_id,
        "training_id": training_id,
        "dataset_id": "",
        "attempt": 1,
        "number": number + 1,
        "label_count": 0,
        "base_version": None,
        "outcome": "imported",
        "queued_at": now,
        "started_at": now,
        "finished_at": now,
        **values,
    }
    store.insert_missing(connection, trainings, [row])


def training(store: Store, project_id: int, training_id: str) -> TrainingRow:
    """One attempt; UsageError when there is none of that id."""
    found = [row for row in trainings_of(store, project_id) if row.training_id == training_id]
    if not found:
        raise UsageError(f"project {project_id} has no training {training_id!r}")
    return found[0]


def trainings_of(store: Store, project_id: int) -> list[TrainingRow]:
    """Every attempt of a project, oldest first."""
    query = select(trainings).where(store.scope(trainings, project_id)).order_by(trainings.c.number)
    with store.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [TrainingRow(**{name: row[name] for name in TrainingRow.__dataclass_fields__}) for row in rows]


def update_training(store: Store, connection: Connection, project_id: int, training_id: str, **values: Any) -> None:
    """Change an attempt's row within the caller's transaction."""
    where = store.scope(trainings, project_id) & (trainings.c.training_id == training_id)
    connection.execute(update(trainings).where(where).values(**values))


def finish_training(
    store: Store,
    connection: Connection,
    row: TrainingRow,
    outcome: str,
    reason: str,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write an attempt's outcome within the caller's transaction."""
    update_training(
        store,
        connection,
        row.project_id,
        row.training_id,
        outcome=outcome,
        reason=reason,
        finished_at=utc_now(),
        **({"metrics": dict(metrics)} if metrics is not None else {}),
    )


def ask_to_cancel(store: Store, project_id: int, training_id: str, why: str) -> bool:
    """Note that an attempt is to end; whether it was not over yet. `why` names who asks, and becomes its reason."""
    where = store.scope(trainings, project_id) & (trainings.c.training_id == training_id)
    with store.begin() as connection:
        asked = connection.execute(
            update(trainings).where(where, trainings.c.outcome.is_(None)).values(cancel_asked=why)
        )
    return asked.rowcount == 1


def cancel_asked(store: Store, connection: Connection, row: TrainingRow) -> str | None:
    """Why the attempt is to end, as it stands now; None while nobody asked. One look-up by key."""
    where = store.scope(trainings, row.project_id) & (trainings.c.training_id == row.training_id)
    return connection.execute(select(trainings.c.cancel_asked).where(where)).scalar()


def running_training(store: Store, project_id: int) -> TrainingRow | None:
    """The attempt without an outcome, or None; there is at most one."""
    open_rows = [row for row in trainings_of(store, project_id) if row.outcome is None]
    return open_rows[-1] if open_rows else None


def last_finished(store: Store, project_id: int) -> TrainingRow | None:
    """The last attempt with an outcome, whatever it was; the next trigger counts from its dataset.

    A version that was brought in was trained on none, so nothing is counted from it.
    """
    done = [row for row in trainings_of(store, project_id) if row.outcome not in (None, "imported")]
    return done[-1] if done else None


def gates_served(rows: Iterable[TrainingRow], holdout_hash: str) -> int:
    """How many finished trainings were judged on the holdout of that hash.

    Each of them chose by the same items, so the score of the one that was chosen is a little better than it is.
    """
    return sum(
        row.outcome is not None and (row.metrics.get("gate") or {}).get("holdout_hash") == holdout_hash for row in rows
    )


def next_version(store: Store, project_id: int, backend: str) -> str:
    """The name of the project's next model version, `<backend>-p<project>-v<n>`."""
    numbers = [int(row.candidate.rpartition("-v")[2]) for row in trainings_of(store, project_id) if row.candidate]
    return f"{backend}-p{project_id}-v{max(numbers, default=0) + 1}"


def version_row(store: Store, project_id: int, model_version: str) -> TrainingRow | None:
    """The attempt that made a model version, or None (cold start, version 0)."""
    found = [row for row in trainings_of(store, project_id) if row.candidate == model_version]
    return found[-1] if found else None
