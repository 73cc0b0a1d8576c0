"""A project with a secret in every place where labelloop keeps content, and a look at whether any of it is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from labelloop.errors import ServiceError
from labelloop.label_studio import TaskRow
from labelloop.media import MediaCache
from labelloop.settings import ServiceSettings, Settings
from labelloop.store import ProjectRow, Store
from labelloop.store.decisions import decide
from labelloop.store.tables import outcomes, people, predictions, regions, revisions, signals, tasks
from sync.ingesting.journal import Candidate, Journal
from sync.runtime import Runtime

sys.path.insert(0, str(Path(__file__).parent))
from frozen_projects import AT, BOXES, add, box, label, put_project, task

SECRET = "Marie-Antoinette"
#: The task whose content is to go, and one that shows the same file as task 3.
GONE, SHARING = 2, 4


class FileLabelStudio:
    """The calls that forgetting makes, on a file that outlives the process: id -> time of creation."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def held(self) -> dict[int, datetime]:
        return {int(key): datetime.fromisoformat(at) for key, at in json.loads(self.file.read_text()).items()}

    def write(self, held: dict[int, datetime]) -> None:
        self.file.write_text(json.dumps({key: at.isoformat() for key, at in held.items()}))

    def tasks_by_id(self, project_id: int, task_ids: list[int]) -> list[TaskRow]:
        held = self.held()
        return [TaskRow(n, {}, {}, 1, False, held[n], held[n], ()) for n in task_ids if n in held]

    def delete_task(self, task_id: int) -> None:
        held = self.held()
        if task_id not in held:
            raise ServiceError("not found", status=404)
        del held[task_id]
        self.write(held)

    def auth_headers(self) -> dict[str, str]:
        return {}


def opened(data: Path, database: str | None = None) -> Runtime:
    """A runtime on that folder, with the file in place of Label Studio."""
    services = ServiceSettings(data=data, database_url=database, media_folder=data / "files")
    runtime = Runtime(Settings(services=services))
    runtime.__dict__["client"] = FileLabelStudio(data / "label-studio.json")
    runtime.__dict__["media"] = MediaCache.of(services, dict)
    return runtime


def address(name: str) -> str:
    return f"/data/local-files/?d={quote(f'labelloop/p1/{name}')}"


def fill(runtime: Runtime) -> ProjectRow:
    """Five labelled tasks; everything about task GONE says the secret."""
    store, data = runtime.store, runtime.services.data
    project = put_project(store, BOXES)
    staged = data / "files" / "labelloop" / "p1"
    staged.mkdir(parents=True)
    for name, colour in ((f"{SECRET}.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(staged / name)
    rows = [
        task(n, data={"image": address("b.png" if n in (3, SHARING) else f"{n}.png"), "note": f"note {n}"}, meta={})
        for n in range(1, 6)
    ]
    rows[GONE - 1] |= {
        "data": {"image": address(f"{SECRET}.png"), "note": f"seen by {SECRET}"}, "meta": {"who": SECRET},
        "group_key": f"patient {SECRET}",
    }  # fmt: skip
    store.put_tasks(1, rows)
    with store.begin() as connection:
        connection.execute(tasks.update().values(created_at=AT, updated_at=AT))
        store.insert_missing(
            connection, people, [{"project_id": 1, "person_id": 1, "seen_at": AT, "pseudonym": "person-a"}]
        )
    note = {"id": "n", "from_name": "note", "to_name": "i", "type": "textarea", "value": {"text": [SECRET]}}
    add(store, [label(n, 1, box()) for n in range(1, 6) if n != GONE])
    add(store, [label(GONE, 1, box(), note), label(GONE, 1, box("dog"), note, rev=2)])
    _said_by_models(store, note)
    decide(store, 1, GONE, "review", "approved", "ada", f"surely {SECRET}")
    decide(store, 1, 1, "review", "approved", "ada", "fine")
    runtime.media.fetch(address(f"{SECRET}.png"))
    runtime.media.fetch(address("b.png"))
    journal = Journal(data / "ingest" / "1" / "work.sqlite3")
    journal.add_candidate(
        Candidate(
            0, f"{GONE:064x}", f"/in/{SECRET}.png", {"media": [], "data": {"note": SECRET}}, "k", None, False, None
        )
    )
    journal.close()
    (data / "ingest" / "1" / "fetched").mkdir()
    (data / "ingest" / "1" / "fetched" / f"{GONE:064x}").write_text(SECRET)
    FileLabelStudio(data / "label-studio.json").write({n: AT for n in range(1, 6)})
    return project


def _said_by_models(store: Store, note: dict[str, Any]) -> None:
    said = {"project_id": 1, "task_id": GONE, "model_version": "v1", "created_at": AT, "status": "ok", "confidence": 0.5,
            "uncertainty": 0.5, "result": [note], "fired_rules": [f"{SECRET}@1"]}  # fmt: skip
    placed = said | {"serving_id": "v1-r1", "order_key": 0.25, "order_reason": "strategy"}
    shown = placed | {"ls_prediction_id": 9, "order_reason": "shown"}
    region = {"project_id": 1, "origin": "revision", "origin_id": 1, "task_id": GONE, "text": SECRET}
    signal = {"project_id": 1, "task_id": GONE, "model_version": "v1", "control": "l", "item": "", "embedding": [0.5]}
    with store.begin() as connection:
        store.insert_missing(connection, outcomes, [said])
        store.insert_missing(connection, predictions, [placed])
        store.insert_missing(connection, predictions, [shown])
        store.insert_missing(connection, regions, [region])
        store.insert_missing(connection, signals, [signal])


def traces(data: Path) -> list[str]:
    """Files below a folder that say the secret, in their name or their bytes; Parquet tables as they read."""
    return sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file() and _says(path))


def _says(path: Path) -> bool:
    if SECRET in path.name or SECRET.encode() in path.read_bytes():
        return True
    if path.suffix != ".parquet":
        return False
    import polars as pl

    return SECRET in str(pl.read_parquet(path).to_dicts())


def cached(data: Path) -> int:
    """How many files the media cache has."""
    return sum(1 for path in (data / "media" / "content").rglob("*") if path.is_file())


def in_tables(store: Store) -> Iterator[str]:
    """The tables whose rows say the secret."""
    from sqlalchemy import select

    from labelloop.store.tables import metadata

    with store.read() as connection:
        for name, table in metadata.tables.items():
            if SECRET in str(connection.execute(select(table)).all()):
                yield name


def later(store: Store, by: timedelta) -> None:
    """As if everything that was forgotten had been forgotten so long ago."""
    from labelloop.store.tables import forgotten

    with store.begin() as connection:
        for row in connection.execute(forgotten.select()).mappings().all():
            connection.execute(forgotten.update().values(finished_at=row["finished_at"] - by))


def revision_facts(store: Store) -> list[tuple[Any, ...]]:
    """What must stay of the task's revisions."""
    from sqlalchemy import select

    c = revisions.c
    query = select(c.annotation_id, c.rev, c.rev_hash, c.person_id, c.updated_at, c.state).where(c.task_id == GONE)
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(c.rev))]
