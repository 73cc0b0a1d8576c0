"""A backup holds everything of one moment, and comes back whole or not at all, from one kind of database into the other."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.command import downgrade
from sqlalchemy import MetaData, create_engine, insert, make_url, select, text, update

from labelloop.errors import DataError, NotReady, UsageError
from labelloop.store import Store, open_store
from labelloop.store.backup import write_backup
from labelloop.store.engine import _alembic_config, migrate, newest_schema
from labelloop.store.leases import acquire, release
from labelloop.store.promotions import add_step, move_serving, steps_of
from labelloop.store.restore import restore_backup
from labelloop.store.table_files import write_table
from labelloop.store.tables import metadata, predictions, revisions, trainings
from labelloop.store.trainings import queue_training, update_training

pytestmark = pytest.mark.integration

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MODEL = "models/p1/v1"
ODD = {"text": "ß 😀 \x00 half \ud83d \u2028", "n": 2**70, "deep": [1.5, None, True]}


def fill(store: Store, artifacts: str, size: int = 50) -> None:
    """Rows in the tables that matter, with content that a careless format would change."""
    store.put_project(
        project_id=1, title="Letters", task_type="t", backend="b", label_config="<View/>", settings={"a": {"b": 1}}
    )
    row = {"meta": {}, "overlap": 1, "content_hash": "c", "group_key": "g", "role": "pool"}
    store.put_tasks(1, [{"task_id": n, "data": ODD | {"id": n}, **row} for n in range(1, size + 1)])
    label = {
        "project_id": 1, "rev": 1, "person_id": None, "kind": "human", "state": "submitted", "ground_truth": False,
        "created_at": AT, "updated_at": AT, "seen_at": AT, "lead_time_s": 0.1 + 0.2, "parent_prediction": 2**40,
        "shown_serving_id": "v1-r1", "config_hash": "x", "result": [ODD],
    }  # fmt: skip
    with store.begin() as connection:
        rows = [{**label, "annotation_id": n, "task_id": n, "rev_hash": f"h{n}"} for n in range(1, size + 1)]
        store.insert_missing(connection, revisions, rows)
        detail = {"model_version": "v1", "serving_id": "v1-r1", "path": f"{artifacts}/{MODEL}", "digest": "d"}
        add_step(store, connection, 1, "v1-r1", "planned", detail)
        move_serving(store, connection, 1, {"backend": "b", **detail})
    queued = queue_training(store, 1, "d" + "1" * 16, 10, None)
    with store.begin() as connection:
        update_training(store, connection, 1, queued.training_id, path=f"{artifacts}/{MODEL}", metrics={"f1": 0.5})


def contents(store: Store) -> dict[str, list[dict[str, Any]]]:
    with store.read() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in metadata.sorted_tables
        }


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    (folder / MODEL).mkdir(parents=True)
    (folder / MODEL / "weights.bin").write_bytes(b"\x00\x01" * 5000)
    (folder / "models" / ".v2.host.1.abc.part").mkdir()
    (folder / "models" / ".v2.host.1.abc.part" / "half").write_bytes(b"half")
    return folder


@pytest.fixture
def other(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Iterator[Store]:
    """An empty store in the other kind of database."""
    if store.engine.dialect.name == "postgresql":
        url = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    else:
        server = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
        name = f"t{uuid.uuid4().hex}"
        engine = create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        url = server.set(database=name).render_as_string(hide_password=False)
    opened = open_store(url)
    yield opened
    opened.close()


def again(store: Store) -> Store:
    """The store as a process finds it that opens it now."""
    instance = open_store(store.engine.url.render_as_string(hide_password=False))
    instance.close()
    return Store(store.engine, instance.instance)


def test_a_store_moves_into_the_other_kind_of_database(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store, "/here/artifacts")
    before = contents(store)
    target = str(tmp_path / "deep" / "backup.tar")
    report = write_backup(store, target, "/here/artifacts")
    assert report.tables["revisions"] == 50 and report.artefacts is None
    assert report.bytes == Path(target).stat().st_size
    assert stat.S_IMODE(Path(target).stat().st_mode) == 0o600
    restored = restore_backup(other, target, "/here/artifacts")
    assert restored.tables == report.tables and restored.instance == store.instance
    moved = again(other)
    assert moved.instance == store.instance and contents(moved) == before
    # New rows are numbered after the restored ones.
    with moved.begin() as connection:
        last = dict(
            connection.execute(select(revisions).order_by(revisions.c.revision_id.desc())).mappings().first() or {}
        )
        fresh = {key: value for key, value in last.items() if key != "revision_id"} | {"rev_hash": "new", "rev": 2}
        connection.execute(insert(revisions), [fresh])
    with moved.read() as connection:
        assert connection.execute(select(revisions.c.revision_id).where(revisions.c.rev == 2)).scalar_one() == 51


def test_a_backup_is_of_one_moment(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store, "/a", size=2500)
    grown = 0

    def meanwhile(stage: str, done: int, total: int | None = None) -> None:
        nonlocal grown
        if stage == "rows written" and done and grown < 3:
            grown += 1
            row = {"meta": {}, "overlap": 1, "content_hash": "c", "group_key": "g", "role": "pool", "data": {}}
            store.put_tasks(1, [{"task_id": 10_000 + grown, **row}])
            with store.begin() as connection:
                connection.execute(update(revisions).values(state="deleted"))

    report = write_backup(store, str(tmp_path / "b.tar"), "/a", count=meanwhile)
    assert grown == 3 and (report.tables["tasks"], report.tables["revisions"]) == (2500, 2500)
    restore_backup(other, str(tmp_path / "b.tar"), "/a")
    assert {row["state"] for row in contents(other)["revisions"]} == {"submitted"}


def test_artefacts_come_along_and_their_places_follow(
    store: Store, other: Store, tmp_path: Path, artifacts: Path
) -> None:
    fill(store, str(artifacts))
    target = str(tmp_path / "b.tar")
    assert write_backup(store, target, str(artifacts), with_artefacts=True).artefacts == 1
    now = tmp_path / "server" / "artifacts"
    report = restore_backup(other, target, str(now), with_artefacts=True)
    assert report.artefacts == 1 and (now / MODEL / "weights.bin").read_bytes() == b"\x00\x01" * 5000
    served = other.served(1)
    moved = again(other)
    assert moved.served(1) is not None and moved.served(1).path == f"{now}/{MODEL}"  # type: ignore[union-attr]
    assert served is None or served.path == f"{now}/{MODEL}"
    assert steps_of(moved, "v1-r1")[0].detail["path"] == f"{now}/{MODEL}"
    with moved.read() as connection:
        assert connection.execute(select(trainings.c.path)).scalars().all() == [f"{now}/{MODEL}"]


def test_a_store_that_is_not_empty_is_replaced_only_when_told(store: Store, tmp_path: Path) -> None:
    fill(store, "/a")
    before = contents(store)
    target = str(tmp_path / "b.tar")
    write_backup(store, target, "/a")
    with pytest.raises(UsageError, match="exists already"):
        write_backup(store, target, "/a")
    store.put_project(project_id=2, title="new", task_type="t", backend="b", label_config="<View/>", settings={})
    with pytest.raises(UsageError, match=r"not empty.*--force"):
        restore_backup(store, target, "/a")
    assert len(store.projects()) == 2
    restore_backup(store, target, "/a", force=True)
    assert contents(store) == before
    write_backup(store, target, "/a", force=True)


def test_nothing_is_restored_under_a_worker(store: Store, tmp_path: Path) -> None:
    target = str(tmp_path / "b.tar")
    write_backup(store, target, "/a")
    lease = acquire(store, 1, "sync", 60)
    assert lease is not None
    with pytest.raises(UsageError, match=r"sync lease of project 1.*labelloop down"):
        restore_backup(store, target, "/a", force=True)
    release(store, lease)
    restore_backup(store, target, "/a", force=True)


def damaged(source: Path, target: Path, change: str) -> None:
    """A copy of the backup in which one thing is wrong."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "tables/tasks.parquet" and change == "content":
                content = content[:-20] + b"x" * 20
            if member.name == "tables/tasks.parquet" and change == "missing":
                continue
            if member.name == "manifest.json":
                manifest = json.loads(content)
                for entry in manifest["tables"]:
                    if change == "rows" and entry["name"] == "revisions":
                        entry["rows"] += 1
                    if change == "outside" and entry["name"] == "tasks":
                        entry["file"] = "../../tasks.parquet"
                if change == "later":
                    manifest["schema"] = "9999"
                if change == "format":
                    manifest["format"] = "something else"
                content = json.dumps(manifest).encode()
                if change == "no manifest":
                    continue
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("content", "damaged: tables/tasks.parquet"),
        ("missing", "damaged: tables/tasks.parquet"),
        ("rows", "the backup has 51 rows and 50 are in the store"),
        ("outside", "outside of itself"),
        ("later", "knows none newer than"),
        ("format", "reads labelloop-backup"),
        ("no manifest", "was cut short"),
    ],
)
def test_a_damaged_backup_changes_nothing(store: Store, tmp_path: Path, change: str, said: str) -> None:
    fill(store, "/a")
    write_backup(store, str(tmp_path / "b.tar"), "/a")
    damaged(tmp_path / "b.tar", tmp_path / "damaged.tar", change)
    store.put_project(project_id=2, title="new", task_type="t", backend="b", label_config="<View/>", settings={})
    before = contents(store)
    with pytest.raises(DataError, match=said):
        restore_backup(store, str(tmp_path / "damaged.tar"), "/a", force=True)
    assert contents(store) == before


def test_a_restore_that_stops_leaves_the_store_and_the_artefacts_as_they_were(
    store: Store, tmp_path: Path, artifacts: Path
) -> None:
    fill(store, str(artifacts))
    target = str(tmp_path / "b.tar")
    write_backup(store, target, str(artifacts), with_artefacts=True)
    store.put_project(project_id=2, title="new", task_type="t", backend="b", label_config="<View/>", settings={})
    before = contents(store)

    def stop(stage: str, done: int, total: int | None = None) -> None:
        if stage == "rows restored" and done > 60:
            raise KeyboardInterrupt

    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(KeyboardInterrupt):
        restore_backup(store, target, str(elsewhere), with_artefacts=True, force=True, count=stop)
    assert contents(store) == before and [each for each in elsewhere.rglob("*") if each.is_file()] == []


def test_what_is_no_backup_or_not_there_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(DataError, match="no whole backup"):
        restore_backup(store, str(tmp_path / "text.tar"), "/a")
    with pytest.raises(NotReady, match="does not exist"):
        restore_backup(store, str(tmp_path / "none.tar"), "/a")
    with pytest.raises(NotReady, match="does not exist"):
        restore_backup(store, "memory://nowhere/none.tar", "/a")
    with pytest.raises(UsageError, match="copy the bucket itself"):
        write_backup(store, str(tmp_path / "b.tar"), "s3://bucket/artifacts", with_artefacts=True)
    write_backup(store, str(tmp_path / "b.tar"), "/a")
    with pytest.raises(UsageError, match="was made without --artifacts"):
        restore_backup(store, str(tmp_path / "b.tar"), str(tmp_path), with_artefacts=True)


def test_an_address_is_as_good_as_a_path(store: Store, other: Store) -> None:
    fill(store, "/a")
    target = f"memory://backups/{uuid.uuid4().hex}.tar"
    write_backup(store, target, "/a")
    with pytest.raises(UsageError, match="exists already"):
        write_backup(store, target, "/a")
    write_backup(store, target, "/a", force=True)
    restore_backup(other, target, "/a")
    assert contents(again(other)) == contents(store)


def test_a_backup_of_an_earlier_schema_is_brought_up_to_date(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store, "/a")
    before = contents(store)
    with store.begin() as connection:
        downgrade(_alembic_config(connection), "0002")
    early = MetaData()
    early.reflect(store.engine)
    entries = []
    with tarfile.open(tmp_path / "early.tar", "w") as archive, store.read() as connection:
        for name, table in early.tables.items():
            if name != "alembic_version":
                file = tmp_path / f"{name}.parquet"
                rows = write_table(connection, table, file, lambda _rows: None)
                entries.append({"name": name, "file": f"tables/{file.name}", "rows": rows, "sha256": sha256(file)})
                archive.add(file, f"tables/{file.name}")
        manifest = {
            "format": "labelloop-backup", "format_version": 1, "labelloop": "0.0.1", "schema": "0002",
            "instance": store.instance, "artifacts": "/a", "tables": entries, "artefacts": None,
        }  # fmt: skip
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        archive.add(tmp_path / "manifest.json", "manifest.json")
    migrate(store.engine)
    report = restore_backup(other, str(tmp_path / "early.tar"), "/a")
    assert (report.schema, report.schema_now) == ("0002", newest_schema())
    assert contents(again(other)) == before


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_numbers_that_json_does_not_have_do_not_stop_a_move(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store, "/a")
    # Python's own writer put them into SQLite; PostgreSQL has never taken them.
    number = "NaN" if store.engine.dialect.name == "sqlite" else "null"
    with store.begin() as connection:
        connection.execute(text(f"""UPDATE trainings SET metrics = '{{"f1": {number}, "said": "NaN"}}'"""))  # noqa: S608
    write_backup(store, str(tmp_path / "b.tar"), "/a")
    restore_backup(other, str(tmp_path / "b.tar"), "/a")
    assert contents(again(other))["trainings"][0]["metrics"] == {"f1": None, "said": "NaN"}


def test_copies_and_places_come_through(store: Store, other: Store, tmp_path: Path) -> None:
    row = {
        "project_id": 1, "task_id": 1, "model_version": "v1", "serving_id": "v1-r1", "created_at": AT,
        "order_key": None, "order_reason": "shown", "status": "ok", "result": [], "ls_prediction_id": None,
    }  # fmt: skip
    with store.begin() as connection:
        copies = [row | {"ls_prediction_id": n, "created_at": AT + timedelta(seconds=n)} for n in (7, 8)]
        assert store.insert_missing(connection, predictions, [row, *copies]) == 3
    write_backup(store, str(tmp_path / "b.tar"), "/a")
    restore_backup(other, str(tmp_path / "b.tar"), "/a")
    moved = again(other)
    assert contents(moved) == contents(store)
    with moved.begin() as connection:
        assert moved.insert_missing(connection, predictions, [row, *copies]) == 0
