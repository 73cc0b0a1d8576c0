"""A sync on a disk that fills up: it says so, the cursor stays with what is stored, and all is right once there is room.

Under SQLite the disk is a real one (a small tmpfs) where this process may mount, elsewhere SQLite's own limit of pages;
PostgreSQL raises its error for a full disk by a trigger.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, event, make_url, select, update

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, make_loop

from labelloop.errors import StoreFull
from labelloop.store.tables import leases, revisions, tasks
from labelloop.store.types import utc_now
from sync.mirroring.cursor import read_cursor
from sync.reconcile import reconcile_project

pytestmark = pytest.mark.integration

TASKS = 120


@dataclass(frozen=True)
class SmallDisk:
    """A database whose disk is too small; `grow` gives it room."""

    url: str
    grow: Callable[[], None]
    limit: Callable[[Loop], None] = lambda loop: None


def mount(folder: Path, size: str) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        return False
    return subprocess.run([program, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]).returncode == 0


def remount(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)


@pytest.fixture
def small_sqlite(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "small"
    if mount(folder, "2m"):
        yield SmallDisk(f"sqlite:///{folder / 'store.sqlite3'}", lambda: remount(folder))
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    pages = [400]

    def limit(loop: Loop) -> None:
        loop.store.close()
        event.listen(
            loop.store.engine, "connect", lambda connection, _: connection.execute(f"PRAGMA max_page_count={pages[0]}")
        )

    def grow() -> None:
        pages[0] = 1_000_000

    yield SmallDisk(f"sqlite:///{folder / 'store.sqlite3'}", grow, limit)


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger AS $$
BEGIN
  IF (SELECT count(*) FROM tasks) >= 35 THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END IF;
  RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER full_disk BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION full_disk();
"""


@pytest.fixture
def small_postgres(postgres_url: str) -> SmallDisk:
    server = make_url(postgres_url).set(drivername="postgresql+psycopg")
    name = f"t{uuid.uuid4().hex}"
    url = server.set(database=name)

    def run(address: URL, *statements: str) -> None:
        engine = create_engine(address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    run(server, f"CREATE DATABASE {name}")
    return SmallDisk(
        url.render_as_string(hide_password=False),
        grow=lambda: run(url, "DROP TRIGGER full_disk ON tasks"),
        limit=lambda loop: run(url, FULL),
    )


@pytest.fixture(params=["small_sqlite", "small_postgres"])
def disk(request: pytest.FixtureRequest) -> SmallDisk:
    found: SmallDisk = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def loop(disk: SmallDisk, tmp_path: Path) -> Iterator[Loop]:
    made = make_loop(tmp_path / "data", DATABASE_URL=disk.url)
    assert made.store.projects(), "the schema is there before the limit"
    disk.limit(made)
    made.remote.page_size = 10
    source = random.Random(0)
    for task_id in range(1, TASKS + 1):
        made.remote.add_task(task_id, {"text": source.randbytes(20_000).hex()})
        made.remote.annotate(task_id)
    yield made
    made.store.close()


def stored(loop: Loop) -> tuple[list[int], list[int]]:
    """Ids of the tasks, and of the tasks of the revisions, in order."""
    with loop.store.read() as connection:
        found = connection.execute(select(tasks.c.task_id).order_by(tasks.c.task_id)).scalars().all()
        labelled = connection.execute(select(revisions.c.task_id).order_by(revisions.c.task_id)).scalars().all()
    return list(found), list(labelled)


def test_nothing_is_lost_on_a_disk_that_was_full(loop: Loop, disk: SmallDisk) -> None:
    with pytest.raises(StoreFull, match=r"no room left.*nothing of this step was stored; free space"):
        reconcile_project(loop.runtime, PROJECT)
    there, labelled = stored(loop)
    assert 0 < len(there) < TASKS and there == labelled
    assert read_cursor(loop.store, PROJECT).last_id == there[-1]
    expire_leases_of_the_dead(loop, disk)
    done = reconcile_project(loop.runtime, PROJECT)
    assert done is not None and done.mirrored.tasks_added == TASKS - len(there)
    assert stored(loop) == (list(range(1, TASKS + 1)),) * 2
    assert len({label.rev_hash for label in loop.store.labels(PROJECT)}) > 0
    again = reconcile_project(loop.runtime, PROJECT, sweep=True)
    assert again is not None and again.mirrored.revisions_added == 0


def expire_leases_of_the_dead(loop: Loop, disk: SmallDisk) -> None:
    """Give the disk room, and let the minute pass after which a lease that could not be given back is free."""
    disk.grow()
    loop.store.close()
    with loop.store.begin() as connection:
        connection.execute(update(leases).values(expires_at=utc_now() - timedelta(seconds=1)))
