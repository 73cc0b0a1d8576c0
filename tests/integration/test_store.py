"""The store on SQLite and on PostgreSQL: one schema, idempotent writes, and what counts as a label."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, inspect, select, text

from labelloop.errors import ServiceDown, SettingsError, UsageError
from labelloop.revisions import revision_hash
from labelloop.store import Place, Store, open_store
from labelloop.store.engine import migrate, open_engine
from labelloop.store.promotions import (
    add_step,
    move_serving,
    next_serving_id,
    promotions_of,
    steps_of,
    unserved,
)
from labelloop.store.signals import signal_rows, unpack
from labelloop.store.tables import metadata, predictions, projects, revisions, signals, tasks
from labelloop.store.trainings import finish_training, last_finished, queue_training, running_training, trainings_of

pytestmark = pytest.mark.integration

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
XML = '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'


def put_project(store: Store, project_id: int = 1, **changes: Any) -> None:
    values: dict[str, Any] = {"title": f"P{project_id}", "task_type": "text", "backend": "b", "label_config": XML}
    store.put_project(project_id=project_id, settings={}, **values | changes)


def task(task_id: int, role: str = "pool", **changes: Any) -> dict[str, Any]:
    return {
        "task_id": task_id, "data": {"text": f"t{task_id}"}, "meta": {}, "overlap": 1,
        "content_hash": f"c{task_id}", "group_key": f"g{task_id}", "role": role,
    } | changes  # fmt: skip


def revision(annotation_id: int, task_id: int, rev: int = 1, **changes: Any) -> dict[str, Any]:
    row = {
        "project_id": 1, "annotation_id": annotation_id, "task_id": task_id, "rev": rev, "person_id": 1,
        "kind": "human", "state": "submitted", "ground_truth": False, "created_at": AT,
        "updated_at": AT + timedelta(seconds=rev), "seen_at": AT, "lead_time_s": 1.5, "parent_prediction": None,
        "shown_serving_id": None, "config_hash": "x", "result": [{"value": {"choices": [f"{annotation_id}.{rev}"]}}],
    } | changes  # fmt: skip
    return row | {"rev_hash": revision_hash(row["result"], row["state"], row["ground_truth"])}


def add(store: Store, *rows: dict[str, Any]) -> int:
    with store.begin() as connection:
        return store.insert_missing(connection, revisions, rows)


def label_ids(store: Store) -> list[tuple[int, int]]:
    return [(row.task_id, row.annotation_id) for row in store.labels(1)]


# -- opening ----------------------------------------------------------------------------------------------------------


def test_the_schema_is_made_from_nothing_and_is_that_of_the_tables(database_url: str) -> None:
    engine = open_engine(database_url)
    assert not inspect(engine).get_table_names()
    migrate(engine)
    found = inspect(engine)
    assert set(found.get_table_names()) == set(metadata.tables) | {"alembic_version"}
    assert found.get_view_names() == ["labels"]
    for name, table in metadata.tables.items():
        assert {c["name"]: c["nullable"] for c in found.get_columns(name)} == {
            c.name: bool(c.nullable) for c in table.columns
        }, name
        assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key], name
    migrate(engine)
    engine.dispose()


def test_the_tables_need_no_further_migration(database_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_engine(database_url)
    migrate(engine)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [d for d in differences if "alembic_version" not in str(d)] == []


def test_processes_that_start_together_share_one_installation(database_url: str) -> None:
    script = f"from labelloop.store import open_store; print(open_store({database_url!r}).instance)"
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    later = open_store(database_url)
    assert later.instance == answers[0][0].strip()
    later.engine.dispose()


def test_an_address_that_cannot_be_used_is_said_without_its_password(postgres_url: str) -> None:
    with pytest.raises(SettingsError, match="LABELLOOP_DATABASE_URL"):
        open_store("no address")
    with pytest.raises(ServiceDown) as caught:
        open_store("postgresql://loop:s3cret@127.0.0.1:1/loop")
    assert "s3cret" not in str(caught.value) and "LABELLOOP_DATABASE_URL" in str(caught.value)


# -- projects and tasks -----------------------------------------------------------------------------------------------


def test_a_project_keeps_its_salt_and_its_first_threshold(store: Store) -> None:
    put_project(store)
    first = store.project(1)
    put_project(store, title="renamed")
    again = store.project(1)
    assert first is not None and again is not None
    assert (again.salt, again.title, again.created_at) == (first.salt, "renamed", first.created_at)
    assert store.set_holdout_threshold(1, 0.25) == 0.25
    assert store.set_holdout_threshold(1, 0.5) == 0.25
    store.pause_training(1, True)
    put_project(store)
    found = store.project(1)
    assert found is not None and found.training_paused and found.holdout_threshold == 0.25


def test_a_project_is_found_by_id_or_title(store: Store) -> None:
    put_project(store, 1)
    put_project(store, 2, title="Cats")
    assert store.find_project("Cats").project_id == 2 and store.find_project("1").title == "P1"
    with pytest.raises(UsageError, match=r"2 \(Cats\)"):
        store.find_project("Dogs")
    assert store.project(3) is None


def test_tasks_are_added_once_and_read_in_ranges(store: Store) -> None:
    rows = [task(i, "holdout" if i % 10 == 0 else "pool") for i in range(1, 1301)]
    assert store.put_tasks(1, rows) == 1300
    assert store.put_tasks(1, [*rows[:3], task(2000)]) == 1
    assert store.put_tasks(2, [task(1)]) == 1  # ids of another project are other tasks
    assert len(store.tasks(1)) == 1301
    assert [row.task_id for row in store.tasks(1, 5, 7)] == [5, 6, 7]
    assert store.tasks(1, 10, 10)[0].role == "holdout"


def ranked(task_id: int, key: float, serving: str = "v1-r1", project: int = 1) -> dict[str, Any]:
    return {
        "project_id": project, "task_id": task_id, "model_version": "v1", "serving_id": serving, "created_at": AT,
        "order_key": key, "order_reason": "strategy", "status": "ok", "result": [], "confidence": None,
        "uncertainty": None,
    }  # fmt: skip


def test_places_are_those_of_one_ranking(store: Store) -> None:
    store.put_tasks(1, [task(1), task(2, "blind"), task(3)])
    with store.begin() as connection:
        rows = [ranked(1, 0.25), ranked(2, 0.75), ranked(1, 0.9, "v1-r2"), ranked(3, 0.1, project=2)]
        assert store.insert_missing(connection, predictions, rows) == 4
        assert store.insert_missing(connection, predictions, rows) == 0
    assert store.places(1, "v1-r1", [1, 2, 3, 4]) == {
        1: Place("pool", 0.25),
        2: Place("blind", 0.75),
        3: Place("pool", None),
    }
    assert store.places(1, "v1-r2", [1]) == {1: Place("pool", 0.9)}
    assert store.places(1, "v1-r1", []) == {}
    assert len(store.places(1, "v1-r1", list(range(1, 40_000)))) == 3


def test_the_median_order_key(store: Store) -> None:
    assert store.median_order_key(1, "v1-r1") == 0.5
    with store.begin() as connection:
        store.insert_missing(connection, predictions, [ranked(i, key) for i, key in enumerate((0.9, 0.1, 0.3))])
    assert store.median_order_key(1, "v1-r1") == 0.3
    assert store.median_order_key(1, "v1-r2") == 0.5


def test_an_upsert_changes_only_what_it_names(store: Store) -> None:
    put_project(store)
    row = {
        "project_id": 1, "title": "new", "task_type": "other", "backend": "b", "label_config": "x", "salt": "s",
        "settings": {}, "training_paused": True, "created_at": AT,
    }  # fmt: skip
    with store.begin() as connection:
        store.upsert(connection, projects, [row], ["title"])
        store.upsert(connection, projects, [row | {"project_id": 9}], ["title"])
    found = store.project(1)
    assert found is not None and (found.title, found.task_type, found.training_paused) == ("new", "text", False)
    assert store.project(9) is not None


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError, match="half way"), store.begin() as connection:
        store.insert_missing(connection, revisions, [revision(1, 1)])
        raise RuntimeError("half way")
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(revisions)).scalar_one() == 0


# -- labels -----------------------------------------------------------------------------------------------------------


def test_a_revision_is_written_once_and_comes_back_as_it_was(store: Store) -> None:
    store.put_tasks(1, [task(1, "blind")])
    row = revision(11, 1, parent_prediction=2**40, shown_serving_id="v1-r1", result=[{"value": {"text": "ß 😀"}}])
    assert add(store, row) == 1
    assert add(store, row, row | {"rev": 2}) == 0  # known by annotation, time and content
    (found,) = store.labels(1)
    assert (found.updated_at, found.created_at) == (AT + timedelta(seconds=1), AT)
    assert (found.result, found.parent_prediction, found.role) == (row["result"], 2**40, "blind")
    assert (found.lead_time_s, found.shown_serving_id, found.rev_hash) == (1.5, "v1-r1", row["rev_hash"])


def test_the_latest_revision_is_the_label(store: Store) -> None:
    store.put_tasks(1, [task(1)])
    add(store, revision(11, 1, 1), revision(11, 1, 3), revision(11, 1, 2))
    (found,) = store.labels(1)
    assert found.result[0]["value"]["choices"] == ["11.3"]


@pytest.mark.parametrize(
    "change",
    [{"state": "cancelled"}, {"state": "deleted"}, {"ground_truth": True}, {"kind": "import"}, {"kind": "converted"}],
    ids=lambda change: str(next(iter(change.values()))),
)
def test_what_is_no_label(store: Store, change: dict[str, Any]) -> None:
    store.put_tasks(1, [task(1), task(2)])
    add(store, revision(11, 1, 1), revision(12, 2, 1))
    assert label_ids(store) == [(1, 11), (2, 12)]
    add(store, revision(11, 1, 2, **change))
    assert label_ids(store) == [(2, 12)]
    add(store, revision(11, 1, 3))
    assert label_ids(store) == [(1, 11), (2, 12)]


def test_of_two_annotations_of_one_person_the_newer_counts(store: Store) -> None:
    store.put_tasks(1, [task(1)])
    add(store, revision(11, 1), revision(12, 1), revision(13, 1, person_id=2))
    assert label_ids(store) == [(1, 12), (1, 13)]
    add(store, revision(12, 1, 2, state="deleted"))
    assert label_ids(store) == [(1, 11), (1, 13)]  # the older one counts again


@pytest.mark.parametrize("change", [{"state": "cancelled"}, {"ground_truth": True}, {"kind": "import"}])
def test_what_is_no_label_hides_none(store: Store, change: dict[str, Any]) -> None:
    store.put_tasks(1, [task(1)])
    add(store, revision(11, 1), revision(12, 1, **change))
    assert label_ids(store) == [(1, 11)]


def test_labels_of_a_deleted_task_do_not_count(store: Store) -> None:
    store.put_tasks(1, [task(1), task(2)])
    add(store, revision(11, 1), revision(12, 2))
    with store.begin() as connection:
        connection.execute(tasks.update().where(tasks.c.task_id == 1).values(deleted_at=AT))
    assert label_ids(store) == [(2, 12)] and [row.task_id for row in store.tasks(1)] == [2]


def test_labels_by_role_and_by_project(store: Store) -> None:
    store.put_tasks(1, [task(1), task(2, "holdout")])
    store.put_tasks(2, [task(1)])
    add(store, revision(11, 1), revision(12, 2), revision(13, 1, project_id=2))
    assert [row.task_id for row in store.labels(1, ["holdout"])] == [2]
    assert [row.annotation_id for row in store.labels(2)] == [13]


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_store import add, revision
from labelloop.store import open_store
store = open_store({url!r})
first = int(sys.argv[1])
pages = [range(start, start + 200) for start in range(0, 5000, 200)]
print(sum(add(store, *(revision(i, i) for i in page)) for page in pages[first:] + pages[:first]))
"""


def test_four_processes_write_the_same_revisions_once(database_url: str) -> None:
    from pathlib import Path

    store = open_store(database_url)
    script = WRITER.format(tests=str(Path(__file__).parent), url=database_url)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(first)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for first in (0, 0, 6, 12)
    ]
    answers = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0] * 4, answers
    assert sum(int(out) for out, _ in answers) == 5000
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(revisions)).scalar_one() == 5000
    store.engine.dispose()


# -- what is served, trainings, promotions ----------------------------------------------------------------------------


def test_serving_moves_once_per_serving_id(store: Store, second_store: Callable[[], Store]) -> None:
    put_project(store)
    row = {"backend": "b", "model_version": "v1", "serving_id": "v1-r1", "digest": "", "path": ""}
    with store.begin() as connection:
        assert move_serving(store, connection, 1, row) == 1
        assert move_serving(store, connection, 1, row) == 1
        assert move_serving(store, connection, 1, row | {"serving_id": "v1-r2"}) == 2
    served = second_store().served(1)
    assert served is not None and (served.serving_id, served.generation) == ("v1-r2", 2)
    assert store.served_by("b") == [served] and store.served_by("other") == [] and store.served(2) is None


def test_promotion_steps_are_noted_once(store: Store) -> None:
    with store.begin() as connection:
        first = next_serving_id(store, connection, 1, "v1")
        add_step(store, connection, 1, first, "planned", {"model_version": "v1"})
        second = next_serving_id(store, connection, 1, "v1")
        add_step(store, connection, 1, second, "planned", {"model_version": "v1"})
        add_step(store, connection, 1, first, "served", {"generation": 1})
        add_step(store, connection, 1, first, "served", {"generation": 2})
    assert (first, second) == ("v1-r1", "v1-r2")
    assert [(s.step, dict(s.detail)) for s in steps_of(store, first)] == [
        ("planned", {"model_version": "v1"}),
        ("served", {"generation": 1}),
    ]
    assert [steps[0].promotion_id for steps in promotions_of(store, 1)] == [first, second]
    assert unserved(store, 1) == [second] and unserved(store, 2) == []


def test_trainings_are_queued_once_and_numbered(store: Store) -> None:
    first = queue_training(store, 1, "d1000000000000000", 10, None)
    assert queue_training(store, 1, "d1000000000000000", 99, None) == first
    second = queue_training(store, 1, "d2000000000000000", 20, None)
    assert [row.number for row in trainings_of(store, 1)] == [1, 2]
    assert running_training(store, 1) == second and last_finished(store, 1) is None
    with store.begin() as connection:
        finish_training(store, connection, second, "rejected", "worse", {"candidate": {"value": 0.5}})
    done = last_finished(store, 1)
    assert done is not None and (done.outcome, done.metrics["candidate"]["value"]) == ("rejected", 0.5)
    assert running_training(store, 1) == first


def test_signals_are_kept_once_with_the_latest_word(store: Store) -> None:
    key = {"project_id": 1, "task_id": 7, "model_version": "m"}
    put_project(store)
    for chance in (0.25, 0.75):
        rows = signal_rows(key, {"c": {"a": chance, "b": 1 - chance}}, [3.0, 4.0])
        with store.begin() as connection:
            store.upsert(connection, signals, rows, ("probs", "embedding"))
    with store.read() as connection:
        found = {row.control: row for row in connection.execute(select(signals).where(store.scope(signals, 1)))}
    assert sorted(found) == ["", "c"] and found["c"].probs == {"a": 0.75, "b": 0.25} and found[""].probs is None
    assert unpack(found[""].embedding) == pytest.approx([0.6, 0.8], abs=1e-3)


def test_a_database_is_told_how_many_rows_there_are(store: Store) -> None:
    put_project(store)
    store.put_tasks(1, [task(number) for number in range(400)])
    add(store, *(revision(number, number) for number in range(400)))
    store.refresh_statistics()
    if store.engine.dialect.name == "postgresql":
        with store.read() as connection:
            known = connection.execute(
                text("SELECT relname, reltuples FROM pg_class WHERE relname IN ('tasks', 'revisions')")
            )
            assert {name: rows for name, rows in known} == {"tasks": 400, "revisions": 400}
    assert len(store.open_task_ids(1)) == 0 and store.count_labels(1) == 400
