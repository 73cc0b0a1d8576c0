"""The mirror against a Label Studio in memory: reading twice, deletes, ids that come again, orders that are not theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from labelloop.errors import LeaseLost, ServiceDown
from labelloop.store.leases import holding
from labelloop.store.tables import leases, outcomes, predictions, revisions, tasks
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, make_loop

from sync.mirror import Mirror, Mirrored
from sync.reconcile import role_policy
from sync.roles import role_of

pytestmark = pytest.mark.integration


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = make_loop(tmp_path)
    yield made
    made.store.engine.dispose()


def mirror(loop: Loop) -> Mirror:
    return Mirror(loop.store, loop.remote, loop.project, role_policy(loop.runtime, loop.project))  # type: ignore[arg-type]


def read(loop: Loop, page_size: int = 200) -> Mirrored:
    with holding(loop.store, PROJECT, "sync", 60) as lease:
        assert lease is not None
        return mirror(loop).read_changes(lease, page_size)


def sweep(loop: Loop) -> Mirrored:
    with holding(loop.store, PROJECT, "sync", 60) as lease:
        assert lease is not None
        return mirror(loop).sweep(lease)


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
    with loop.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(revisions)).scalar_one())


def test_what_is_there_is_read_once(loop: Loop) -> None:
    loop.fill(25)
    loop.label(range(1, 11))
    assert read(loop, page_size=7) == Mirrored(25, 10, tasks_added=25)
    again = read(loop, page_size=7)
    assert again.revisions_added == 0 and again.tasks_added == 0
    assert count(loop) == 10 and len(loop.store.tasks(PROJECT)) == 25
    assert labels(loop) == {i: ["sea" if i % 2 else "land"] for i in range(1, 11)}


def test_an_edit_is_a_revision_and_the_way_back_is_one_too(loop: Loop) -> None:
    loop.remote.add_task(1)
    annotation = loop.remote.annotate(1, "sea")
    read(loop)
    for label in ("land", "sea"):
        loop.remote.change(annotation, result=[{"value": {"choices": [label]}}])
        assert read(loop).revisions_added == 1
        assert labels(loop) == {1: [label]}
    assert states(loop, annotation) == ["submitted"] * 3


def test_a_page_that_could_not_be_written_is_read_again(loop: Loop) -> None:
    loop.fill(20)
    loop.label(range(1, 21))
    pages = 0

    def third_page(name: str) -> None:
        nonlocal pages
        pages += name == "changed_tasks page"
        if pages == 3:
            raise ServiceDown("Label Studio is away")

    loop.remote.before_call = third_page
    with pytest.raises(ServiceDown):
        read(loop, page_size=5)
    assert len(loop.store.labels(PROJECT)) == 10
    loop.remote.before_call = lambda name: None
    read(loop, page_size=5)
    assert len(loop.store.labels(PROJECT)) == 20 == count(loop)


def test_a_change_that_was_committed_late_is_still_found(loop: Loop) -> None:
    loop.fill(3)
    late = loop.remote.tick()
    loop.label([1])
    read(loop)
    # A transaction that began before the others and ended after them.
    loop.remote.annotate(2, "land")
    loop.remote.tasks[2] = replace(loop.remote.tasks[2], updated_at=late)
    assert read(loop).revisions_added == 1


def test_skips_imports_and_converted_predictions_are_no_labels(loop: Loop) -> None:
    loop.fill(4)
    loop.remote.annotate(1, was_cancelled=True)
    loop.remote.annotate(2, import_id=5, last_action="imported")
    loop.remote.annotate(3, last_action="prediction")
    loop.remote.annotate(4, ground_truth=True)
    read(loop)
    assert count(loop) == 4 and labels(loop) == {}


def test_a_sweep_finds_what_was_deleted_unnoticed(loop: Loop) -> None:
    loop.fill(4)
    loop.label([1, 2, 3])
    gone = loop.remote.annotate(4)
    read(loop)
    loop.remote.unannotate(gone, noticed=False)
    del loop.remote.tasks[2]
    assert read(loop).deleted_tasks == 0
    swept = sweep(loop)
    assert (swept.deleted_tasks, swept.deleted_annotations) == (1, 2)
    assert sorted(labels(loop)) == [1, 3] and [t.task_id for t in loop.store.tasks(PROJECT)] == [1, 3, 4]
    assert states(loop, gone) == ["submitted", "deleted"]
    assert sweep(loop) == Mirrored()  # nothing is found twice


def test_a_task_that_a_listing_missed_comes_back_with_its_labels(loop: Loop) -> None:
    loop.fill(3)
    loop.label([1, 2])
    read(loop)
    before = count(loop)
    missed = loop.remote.tasks.pop(2)
    sweep(loop)
    assert sorted(labels(loop)) == [1]
    loop.remote.tasks[2] = missed
    sweep(loop)
    assert labels(loop) == {1: ["sea"], 2: ["land"]}
    sweep(loop)
    read(loop)
    assert count(loop) == before + 2  # the delete and the return, once each
    del loop.remote.tasks[2]
    sweep(loop)
    loop.remote.tasks[2] = missed
    sweep(loop)
    assert labels(loop) == {1: ["sea"], 2: ["land"]} and count(loop) == before + 4


def test_a_sweep_adds_what_a_read_has_missed(loop: Loop) -> None:
    loop.fill(2)
    read(loop)
    long_ago = loop.remote.now - timedelta(days=1)
    loop.remote.annotate(1)
    loop.remote.tasks[1] = replace(loop.remote.tasks[1], updated_at=long_ago)
    assert read(loop).revisions_added == 0
    assert sweep(loop).revisions_added == 1 and sorted(labels(loop)) == [1]


def test_an_older_state_that_arrives_later_is_no_newer_label(loop: Loop) -> None:
    loop.remote.add_task(1)
    annotation = loop.remote.annotate(1, "sea")
    older = loop.remote.tasks[1]
    loop.remote.change(annotation, result=[{"value": {"choices": ["land"]}}])
    newer = loop.remote.tasks[1]
    read(loop)
    loop.remote.tasks[1] = older  # a stale answer of a cache or a replica
    read(loop)
    loop.remote.tasks[1] = newer
    read(loop)
    assert labels(loop) == {1: ["land"]}
    with loop.store.read() as connection:
        at = connection.execute(select(tasks.c.updated_at).where(tasks.c.task_id == 1)).scalar_one()
    assert at == newer.updated_at


def put_prediction(loop: Loop, task_id: int) -> None:
    row = {
        "project_id": PROJECT, "task_id": task_id, "model_version": "v1", "created_at": utc_now(), "status": "ok",
        "confidence": 0.9, "uncertainty": 0.1, "result": [{"id": "old"}],
    }  # fmt: skip
    ranked = row | {"serving_id": "v1-r1", "order_key": 0.5, "order_reason": "strategy"}
    with loop.store.begin() as connection:
        loop.store.insert_missing(connection, outcomes, [row])
        loop.store.insert_missing(connection, predictions, [ranked])


def rows_about(loop: Loop, table: Any, task_id: int) -> int:
    with loop.store.read() as connection:
        return int(
            connection.execute(select(func.count()).select_from(table).where(table.c.task_id == task_id)).scalar_one()
        )


def test_an_id_that_comes_again_is_another_task(loop: Loop) -> None:
    policy = role_policy(loop.runtime, loop.project)
    groups = [f"g{i}" for i in range(200)]
    holdout = next(g for g in groups if role_of(g, policy) == "holdout")
    pool = next(g for g in groups if role_of(g, policy) == "pool")
    loop.remote.add_task(1, group="first")
    loop.remote.add_task(2, {"text": "old"}, group=holdout)
    loop.remote.annotate(2, "land")
    read(loop)
    put_prediction(loop, 1)
    put_prediction(loop, 2)
    assert loop.store.tasks(PROJECT, 2)[0].role == "holdout"
    del loop.remote.tasks[2]
    loop.remote.add_task(2, {"text": "new"}, group=pool)
    read(loop)
    (task,) = loop.store.tasks(PROJECT, 2)
    assert (task.role, task.group_key, task.data["text"]) == ("pool", pool, "new")
    assert labels(loop) == {}, "a label of the task that had the id before"
    assert (rows_about(loop, outcomes, 2), rows_about(loop, predictions, 2)) == (0, 0), (
        "what a model said of another task"
    )
    assert (rows_about(loop, outcomes, 1), rows_about(loop, predictions, 1)) == (1, 1)
    loop.remote.annotate(2, "sea")
    read(loop)
    assert labels(loop) == {2: ["sea"]}
    assert sweep(loop).deleted_annotations == 0


def test_the_role_of_a_task_outlives_its_edits(loop: Loop) -> None:
    loop.fill(30)
    read(loop)
    before = {t.task_id: t.role for t in loop.store.tasks(PROJECT)}
    assert {"holdout", "pool"} <= set(before.values())
    for task_id in before:
        task = loop.remote.tasks[task_id]
        loop.remote.tasks[task_id] = replace(task, data={"text": "edited"}, updated_at=loop.remote.tick())
    read(loop)
    after = loop.store.tasks(PROJECT)
    assert {t.task_id: t.role for t in after} == before and {t.data["text"] for t in after} == {"edited"}


def test_who_lost_the_lease_writes_no_page(loop: Loop) -> None:
    loop.fill(10)
    loop.label(range(1, 11))
    pages = 0

    def taken_over(name: str) -> None:
        nonlocal pages
        pages += name == "changed_tasks page"
        if pages == 2:
            with loop.store.begin() as connection:
                connection.execute(update(leases).values(owner="another", fence=leases.c.fence + 1))

    loop.remote.before_call = taken_over
    with pytest.raises(LeaseLost):
        read(loop, page_size=5)
    assert len(loop.store.labels(PROJECT)) == 5


def test_a_label_that_began_from_a_suggestion_knows_which(loop: Loop) -> None:
    loop.fill(2)
    read(loop)
    put_prediction(loop, 1)
    for task_id in (1, 2):
        loop.remote.annotate(task_id, parent_prediction=77)
        task = loop.remote.tasks[task_id]
        loop.remote.tasks[task_id] = replace(task, predictions={77: "v1-r1"})
    with loop.store.begin() as connection:
        empty = {
            "project_id": PROJECT, "task_id": 2, "model_version": "v1", "created_at": utc_now(), "status": "blind",
            "serving_id": "v1-r1", "order_key": 0.7, "order_reason": "blind", "result": [],
        }  # fmt: skip
        loop.store.insert_missing(connection, predictions, [empty])
    read(loop)
    assert {row.task_id: row.shown_serving_id for row in loop.store.labels(PROJECT)} == {1: "v1-r1", 2: None}
