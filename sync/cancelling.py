"""Ending a training that somebody wants no more: asked for in the store, seen at the training's next step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from labelloop.errors import Cancelled
from labelloop.store import ProjectRow, Store, TrainingRow
from labelloop.store.leases import HeldLease, holding
from labelloop.store.trainings import ask_to_cancel, cancel_asked, finish_training, running_training, training
from labelloop.store.types import utc_now
from sync.runtime import Runtime

log = logging.getLogger(__name__)

LEASE_TTL_S = 30.0
#: A training looks so often at most whether it is wanted; each look is a read of one row.
LOOK_EVERY_S = 1.0


class CancellableLease:
    """The lease of one training, whose `check` and `writing` also raise Cancelled once somebody asked for its end."""

    def __init__(self, lease: HeldLease, row: TrainingRow) -> None:
        self.lease, self.row = lease, row
        self._look_at = 0.0

    @property
    def _store(self) -> Store:
        return self.lease.store

    def check(self) -> None:
        """LeaseLost or Cancelled where the training has to stop."""
        self.lease.check()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            with self._store.read() as connection:
                self._stop_if_asked(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits only while the lease is ours and nobody has asked for the end."""
        with self.lease.writing() as connection:
            self._stop_if_asked(connection)
            yield connection

    def _stop_if_asked(self, connection: Connection) -> None:
        asked = cancel_asked(self._store, connection, self.row)
        if asked is not None:
            raise Cancelled(asked)


def cancel_training(runtime: Runtime, project: ProjectRow, by: str, reason: str = "") -> TrainingRow | None:
    """Ask for the end of the training that waits or runs; its row as it then stands, or None where there is none.

    One that waits, or whose worker died, is over when this returns; one that runs ends with its next step.
    """
    row = running_training(runtime.store, project.project_id)
    if row is None:
        return None
    why = f"cancelled by {by} at {utc_now():%Y-%m-%d %H:%M:%S} UTC" + (f": {reason}" if reason else "")
    if ask_to_cancel(runtime.store, row.project_id, row.training_id, why[:2000]):
        end_cancelled(runtime, row)
    return training(runtime.store, row.project_id, row.training_id)


def end_cancelled(runtime: Runtime, row: TrainingRow) -> None:
    """Write the outcome of a cancelled attempt that nobody works on; who works on one writes it himself."""
    store = runtime.store
    with holding(store, row.project_id, "train", LEASE_TTL_S) as lease:
        now = training(store, row.project_id, row.training_id)
        if lease is None or now.outcome is not None or now.cancel_asked is None:
            return
        with lease.writing() as connection:
            finish_training(store, connection, now, "cancelled", now.cancel_asked)
        runtime.clear_scratch(f"train-p{row.project_id}-")
    log.info("training cancelled", extra={"training": row.training_id})
