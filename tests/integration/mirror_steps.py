"""Reading and sweeping the project of a Label Studio in memory, and what the store then says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from labelloop.store.leases import holding
from labelloop.store.tables import outcomes, predictions, revisions
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop

from sync.mirror import Mirror, Mirrored
from sync.reconcile import role_policy

#: A task that `rest` adds.
LATEST = 10_000


@contextmanager
def mirroring(loop: Loop) -> Iterator[Mirror]:
    with holding(loop.store, PROJECT, "sync", 60) as lease:
        assert lease is not None
        remote: Any = loop.remote
        yield Mirror(loop.store, remote, loop.project, role_policy(loop.runtime, loop.project), lease)


def read(loop: Loop, page_size: int = 200) -> Mirrored:
    loop.remote.page_size = page_size
    with mirroring(loop) as mirror:
        return mirror.read()


def sweep(loop: Loop, page_size: int = 200) -> Mirrored:
    loop.remote.page_size = page_size
    with mirroring(loop) as mirror:
        return mirror.sweep()


def labels(loop: Loop) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for row in loop.store.labels(PROJECT):
        found.setdefault(row.task_id, []).append(row.result[0]["value"]["choices"][0])
    return found


def states(loop: Loop, annotation_id: int) -> list[str]:
    query = select(revisions.c.state).where(revisions.c.annotation_id == annotation_id).order_by(revisions.c.rev)
    with loop.store.read() as connection:
        return list(connection.execute(query).scalars())


def count(loop: Loop) -> int:
    """How many revisions there are."""
    with loop.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(revisions)).scalar_one())


def rows_about(loop: Loop, table: Any, task_id: int) -> int:
    query = select(func.count()).select_from(table).where(table.c.task_id == task_id)
    with loop.store.read() as connection:
        return int(connection.execute(query).scalar_one())


def rest(loop: Loop) -> None:
    """Let so much time pass that nothing of before can be committed late any more, and read it."""
    loop.remote.now += timedelta(minutes=10)
    loop.remote.add_task(LATEST)
    read(loop)
    read(loop)


def put_prediction(loop: Loop, task_id: int) -> None:
    row = {
        "project_id": PROJECT, "task_id": task_id, "model_version": "v1", "created_at": utc_now(), "status": "ok",
        "confidence": 0.9, "uncertainty": 0.1, "result": [{"id": "old"}],
    }  # fmt: skip
    ranked = row | {"serving_id": "v1-r1", "order_key": 0.5, "order_reason": "strategy"}
    with loop.store.begin() as connection:
        loop.store.insert_missing(connection, outcomes, [row])
        loop.store.insert_missing(connection, predictions, [ranked])
