"""The mirror reads each change once, whatever is interrupted, comes late or comes again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from labelloop.errors import LeaseLost, ServiceDown
from labelloop.store.tables import configs, leases, outcomes, predictions, revisions, signals, tasks

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, make_loop
from mirror_steps import count, labels, put_prediction, read, rest, rows_about, states, sweep

from sync.mirror import Mirrored
from sync.reconcile import reconcile_project, role_policy
from sync.roles import role_of

pytestmark = pytest.mark.integration


@pytest.fixture
def loop(tmp_path: Path, database_url: str) -> Iterator[Loop]:
    made = make_loop(tmp_path, DATABASE_URL=database_url)
    yield made
    made.store.engine.dispose()


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
        pages += name == "task_spans page"
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
    signal = {"project_id": PROJECT, "model_version": "v1", "control": "", "item": "", "embedding": "AAA="}
    with loop.store.begin() as connection:
        loop.store.insert_missing(connection, signals, [signal | {"task_id": n} for n in (1, 2)])
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
    assert (rows_about(loop, signals, 1), rows_about(loop, signals, 2)) == (1, 0)
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
        pages += name == "task_spans page"
        if pages == 2:
            with loop.store.begin() as connection:
                connection.execute(update(leases).values(owner="another", fence=leases.c.fence + 1))

    loop.remote.before_call = taken_over
    with pytest.raises(LeaseLost):
        read(loop, page_size=5)
    assert len(loop.store.labels(PROJECT)) == 5


def test_what_changes_during_the_first_read_is_read_after_it(loop: Loop) -> None:
    loop.fill(20)
    loop.label(range(1, 21))
    pages = 0

    def meanwhile(name: str) -> None:
        nonlocal pages
        pages += name == "task_spans page"
        if pages == 3 and 21 not in loop.remote.tasks:
            loop.remote.change(1, result=[{"value": {"choices": ["edited"]}}])
            loop.remote.add_task(21)
            loop.remote.annotate(21, "late")

    loop.remote.before_call = meanwhile
    read(loop, page_size=5)
    assert (labels(loop)[1], labels(loop)[21], len(labels(loop))) == (["edited"], ["late"], 21)


def test_a_label_that_was_deleted_ends_with_the_change_of_its_task(loop: Loop) -> None:
    loop.fill(2)
    loop.label([1, 2])
    kept = loop.remote.annotate(1, "sea", person=2)
    read(loop)
    loop.remote.unannotate(1)
    assert read(loop).deleted_annotations == 1
    assert states(loop, 1) == ["submitted", "deleted"] and states(loop, kept) == ["submitted"]
    assert read(loop) == Mirrored()


def test_tasks_of_a_large_import_that_was_committed_late_are_found(loop: Loop) -> None:
    loop.remote.lately = 5
    loop.fill(10)
    late = loop.remote.tick()
    loop.label([1])
    read(loop)
    loop.remote.add_task(11)
    loop.remote.tasks[11] = replace(loop.remote.tasks[11], updated_at=late)
    assert read(loop).tasks_added == 1
    assert read(loop) == Mirrored()


@pytest.mark.parametrize("size", [50, 2000])
def test_the_questions_grow_with_the_changes(loop: Loop, size: int) -> None:
    loop.fill(size)
    read(loop)
    rest(loop)
    loop.remote.calls.clear()
    loop.label(range(1, 11))
    assert read(loop).revisions_added == 10
    assert loop.remote.calls == ["changed_tasks", "changed_tasks page", "changed_lately"]


def test_a_config_that_was_changed_in_label_studio_is_followed(loop: Loop) -> None:
    loop.fill(2)
    loop.label([1])
    reconcile_project(loop.runtime, PROJECT)
    first = loop.project.label_config
    loop.remote.config = first.replace('<Choice value="land"/>', '<Choice value="land"/><Choice value="sky"/>')
    loop.remote.annotate(2, "sky")
    reconcile_project(loop.runtime, PROJECT)
    assert loop.project.label_config == loop.remote.config
    with loop.store.read() as connection:
        known = {xml: name for xml, name in connection.execute(select(configs.c.xml, configs.c.config_hash))}
        query = select(revisions.c.task_id, revisions.c.config_hash)
        carried = {task_id: name for task_id, name in connection.execute(query)}
    assert carried == {1: known[first], 2: known[loop.remote.config]} and len(known) == 2


@pytest.mark.parametrize(
    "odd",
    [{"text": "half \ud83d"}, {"text": "nul \x00 here"}, {"n": 2**70}, {"text": "\u2028 ß 😀"}],
    ids=["surrogate", "nul", "large number", "unicode"],
)
def test_an_odd_task_is_read_like_any_other(loop: Loop, odd: dict[str, Any]) -> None:
    loop.fill(2)
    loop.remote.add_task(3, odd, group="g" * 1000, content="c" * 1000)
    loop.remote.annotate(3, result=[{"value": odd}])
    read(loop)
    (task,) = loop.store.tasks(PROJECT, 3)
    (label,) = loop.store.labels(PROJECT)
    assert task.data == odd and label.result == [{"value": odd}]
    assert read(loop) == Mirrored() and sweep(loop) == Mirrored()
