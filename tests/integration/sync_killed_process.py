"""A process that syncs in children of its own and kills them at each commit; run by test_sync_killed.py.

`python sync_killed_process.py DATABASE_URL FOLDER` prints a JSON list: where each child was killed and what was lost.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, make_url, select, text, update

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
from fake_label_studio import PROJECT, FakeLabelStudio, Loop, choice, make_loop

from labelloop.store import Store, open_store
from labelloop.store.tables import leases, metadata
from labelloop.store.types import utc_now
from sync.reconcile import reconcile_project

SYNC = Path(__file__).parents[2] / "sync"
#: What a clean sync may write differently: our clock and hashes over it, numbers that the database gives, lease holders;
#: and a sync that went on may count more of the past as settled.
OURS = {
    "seen_at", "full_scan_at", "at", "made_at", "owner", "fence", "expires_at", "revision_id", "prediction_id", "hash",
    "previous_hash", "settled_at",
}  # fmt: skip


def state(phase: int) -> FakeLabelStudio:
    """Label Studio before the first read, after a day of work, and after deletes that no time tells of."""
    remote = FakeLabelStudio()
    remote.page_size, remote.lately = 4, 3
    for task_id in range(1, 13):
        remote.add_task(task_id)
        remote.push_predictions(
            PROJECT, [{"task": task_id, "model_version": "old", "score": 0.5, "result": choice("sea")}]
        )
        remote.annotate(task_id, parent_prediction=task_id if task_id % 2 else None)
    if phase >= 1:
        remote.now += timedelta(days=1)
        remote.config = remote.config.replace('<Choice value="land"/>', '<Choice value="land"/><Choice value="sky"/>')
        remote.delete_model_version(PROJECT, "old")
        for annotation in (1, 2, 3, 4, 5):
            remote.change(annotation, result=choice("sky"), parent_prediction=None)
        remote.unannotate(6)
        for task_id in (13, 14, 15):
            remote.add_task(task_id)
            remote.annotate(task_id, person=2)
    if phase >= 2:
        late = remote.tasks[15].updated_at - timedelta(seconds=1)
        remote.add_task(16)
        remote.tasks[16] = replace(remote.tasks[16], updated_at=late)
    if phase >= 3:
        remote.unannotate(8, noticed=False)
        del remote.tasks[2]
        remote.tasks[10] = replace(remote.tasks[10], overlap=3)
    return remote


PHASES = 4


class Databases:
    """Databases of one kind, copied as often as wanted."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.made = 0

    def copy(self, of: str | None) -> str:
        """A new database with the same content, or an empty one."""
        self.made += 1
        if self.url.get_backend_name() == "sqlite":
            place = Path(f"{self.url.database}.{self.made}")
            if of is not None:
                shutil.copyfile(str(make_url(of).database), place)
            return self.url.set(database=str(place)).render_as_string(hide_password=False)
        name = f"{self.url.database}_{self.made}"
        engine = create_engine(self.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            template = f" TEMPLATE {make_url(of).database}" if of is not None else ""
            connection.execute(text(f"CREATE DATABASE {name}{template}"))
        engine.dispose()
        return self.url.set(database=name).render_as_string(hide_password=False)


def looped(url: str, folder: Path, phase: int) -> Loop:
    loop = make_loop(folder, DATABASE_URL=url)
    loop.runtime.__dict__["client"] = state(phase)
    return loop


def synced(url: str, folder: Path, phase: int, at_commit: Callable[[str, str], None]) -> None:
    """One sync of a phase in this process; `at_commit` is told the place of each writing transaction, before and after."""
    loop = looped(url, folder, phase)
    begin = Store.begin

    @contextmanager
    def watched(store: Store) -> Iterator[Connection]:
        with begin(store) as connection:
            yield connection
            name = place()
            at_commit(name, "before")
        at_commit(name, "after")

    Store.begin = watched  # type: ignore[method-assign, assignment]
    try:
        done = reconcile_project(loop.runtime, PROJECT, sweep=phase == 3)
        assert done is not None, "another worker holds the lease"
    finally:
        Store.begin = begin  # type: ignore[method-assign]
        loop.store.close()


def place() -> str:
    """Which code writes: the functions of `sync` on the way there, and what they asked of the leases."""
    names: list[str] = []
    frame: Any = sys._getframe(1)
    while frame is not None:
        file, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if SYNC in file.parents or (file.name == "leases.py" and name in ("acquire", "release")):
            names.append(name)
        frame = frame.f_back
    return " > ".join(reversed(names))


def in_child(work: Callable[[], None]) -> int:
    """The exit status of a child that does the work; -9 where it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(url: str, folder: Path, phase: int, number: int, when: str) -> int:
    """Sync in a child that is killed just before or after its commit of that number."""
    count = 0

    def at_commit(_name: str, moment: str) -> None:
        nonlocal count
        count += moment == "before"
        if count == number and moment == when:
            os.kill(os.getpid(), signal.SIGKILL)

    return in_child(lambda: synced(url, folder, phase, at_commit))


def contents(url: str) -> dict[str, list[str]]:
    """Every row, without what a clean sync may write differently."""
    store = open_store(url)
    found = {}
    with store.read() as connection:
        for table in metadata.sorted_tables:
            rows = [
                {key: value for key, value in row.items() if key not in OURS}
                for row in connection.execute(select(table)).mappings()
            ]
            for row in rows:
                if row.get("state") == "deleted":
                    del row["updated_at"]  # our clock as well
                if "deleted_at" in row:
                    row["deleted_at"] = row["deleted_at"] is not None
            found[table.name] = sorted(repr(sorted(row.items())) for row in rows)
    store.close()
    return found


def expire_leases(url: str) -> None:
    """Let the time pass after which a dead worker's leases are free."""
    store = open_store(url)
    with store.begin() as connection:
        connection.execute(update(leases).values(expires_at=utc_now() - timedelta(seconds=1)))
    store.close()


def main(url: str, folder: Path) -> list[dict[str, Any]]:
    databases = Databases(url)
    before = databases.copy(None)
    looped(before, folder, 0).store.close()
    results: list[dict[str, Any]] = []
    for phase in range(PHASES):
        places = folder / f"places-{phase}"

        def note(name: str, moment: str, places: Path = places) -> None:
            if moment == "after":
                with places.open("a") as out:
                    out.write(name + "\n")

        clean = databases.copy(before)
        assert in_child(partial(synced, clean, folder, phase, note)) == 0
        wanted = contents(clean)
        for number, name in enumerate(places.read_text().splitlines(), 1):
            for when in ("before", "after"):
                broken = databases.copy(before)
                status = killed(broken, folder, phase, number, when)
                expire_leases(broken)
                again = killed(broken, folder, phase, -1, "never")
                found = contents(broken)
                differing = sorted(table for table in wanted if found[table] != wanted[table])
                results.append({
                    "phase": phase, "place": name, "when": when, "status": status, "again": again, "differing": differing,
                })  # fmt: skip
        before = clean
    return results


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
