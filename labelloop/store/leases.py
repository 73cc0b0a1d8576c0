"""Leases with fencing numbers: one owner per (project, kind), and writes of a former owner refused."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from labelloop.errors import LeaseLost, StoreFull
from labelloop.store.tables import leases
from labelloop.store.types import utc_now

if TYPE_CHECKING:
    from labelloop.store.store import Store


@dataclass(frozen=True)
class Lease:
    """The right to do one kind of work on one project until it expires; `fence` grows with each new owner."""

    project_id: int
    kind: str
    owner: str
    fence: int


def new_owner() -> str:
    """A name for one holder: host, process and a random part."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def acquire(store: Store, project_id: int, kind: str, ttl_s: float, label: str = "") -> Lease | None:
    """The lease, or None while somebody else holds it. `label` begins the owner's name, for others to read."""
    owner, now = f"{label}{new_owner()}", utc_now()
    where = store.scope(leases, project_id) & (leases.c.kind == kind)
    with store.begin() as connection:
        store.insert_missing(
            connection,
            leases,
            [
                {
                    "project_id": project_id,
                    "kind": kind,
                    "owner": "",
                    "fence": 0,
                    "expires_at": now - timedelta(seconds=1),
                }
            ],
        )
        taken = connection.execute(
            update(leases)
            .where(where, leases.c.expires_at < now)
            .values(owner=owner, fence=leases.c.fence + 1, expires_at=now + timedelta(seconds=ttl_s))
        )
        if taken.rowcount != 1:
            return None
        fence = connection.execute(select(leases.c.fence).where(where)).scalar_one()
    return Lease(project_id, kind, owner, int(fence))


def renew(store: Store, lease: Lease, ttl_s: float) -> None:
    """Hold the lease for another `ttl_s` seconds; LeaseLost when somebody else has it."""
    with store.begin() as connection:
        kept = connection.execute(
            update(leases).where(_mine(store, lease)).values(expires_at=utc_now() + timedelta(seconds=ttl_s))
        )
    if kept.rowcount != 1:
        raise LeaseLost(_lost(lease))


def release(store: Store, lease: Lease) -> None:
    """Give the lease back; nothing happens when it was lost already."""
    with store.begin() as connection:
        connection.execute(
            update(leases).where(_mine(store, lease)).values(expires_at=utc_now() - timedelta(seconds=1))
        )


def check(store: Store, connection: Connection, lease: Lease) -> None:
    """LeaseLost unless the lease is still ours, within the caller's transaction (the row stays locked until it ends)."""
    held = connection.execute(select(leases.c.fence).where(_mine(store, lease)).with_for_update()).scalar()
    if held is None:
        raise LeaseLost(_lost(lease))


def held(store: Store, project_id: int, kind: str) -> bool:
    """Whether anybody holds that lease now."""
    where = store.scope(leases, project_id) & (leases.c.kind == kind) & (leases.c.expires_at >= utc_now())
    with store.read() as connection:
        return connection.execute(select(leases.c.fence).where(where)).first() is not None


def holder(store: Store, project_id: int, kind: str) -> str | None:
    """The name of who holds that lease now, or None."""
    where = store.scope(leases, project_id) & (leases.c.kind == kind) & (leases.c.expires_at >= utc_now())
    with store.read() as connection:
        return connection.execute(select(leases.c.owner).where(where)).scalar()


def _mine(store: Store, lease: Lease) -> ColumnElement[bool]:
    return (
        store.scope(leases, lease.project_id)
        & (leases.c.kind == lease.kind)
        & (leases.c.owner == lease.owner)
        & (leases.c.fence == lease.fence)
    )


def _lost(lease: Lease) -> str:
    return f"the {lease.kind} lease of project {lease.project_id} (fence {lease.fence}) has passed to another worker"


class HeldLease:
    """A lease renewed by a thread while the work goes on; `check()` raises LeaseLost once it is gone."""

    def __init__(self, store: Store, lease: Lease, ttl_s: float) -> None:
        self.store, self.lease, self.ttl_s = store, lease, ttl_s
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._renewed_at = utc_now()
        self._thread = threading.Thread(target=self._renew_until_stopped, name=f"lease-{lease.kind}", daemon=True)

    def __enter__(self) -> HeldLease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=self.ttl_s)
        # A store that is away must not hide why the work ended; the lease then runs out by itself.
        with suppress(SQLAlchemyError, StoreFull):
            release(self.store, self.lease)

    def _renew_until_stopped(self) -> None:
        while not self._stop.wait(self.ttl_s / 3):
            try:
                renew(self.store, self.lease, self.ttl_s)
                self._renewed_at = utc_now()
            except LeaseLost:
                self._lost.set()
                return
            except (SQLAlchemyError, StoreFull):
                # The store is away for the moment: `check` gives up by itself once the time that was granted is over.
                continue

    def check(self) -> None:
        """LeaseLost when the lease is gone, or could not be renewed in time."""
        overdue = utc_now() - self._renewed_at > timedelta(seconds=self.ttl_s)
        if self._lost.is_set() or overdue:
            raise LeaseLost(_lost(self.lease))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction of the store that commits only while the lease is ours."""
        with self.store.begin() as connection:
            check(self.store, connection, self.lease)
            yield connection


@contextmanager
def holding(store: Store, project_id: int, kind: str, ttl_s: float, label: str = "") -> Iterator[HeldLease | None]:
    """Hold a lease for the length of the block; None when another worker has it."""
    lease = acquire(store, project_id, kind, ttl_s, label)
    if lease is None:
        yield None
        return
    with HeldLease(store, lease, ttl_s) as held_lease:
        yield held_lease
