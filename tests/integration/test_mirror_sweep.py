"""The sweep finds what no time tells: deletes, drift, what a listing missed; and it can be interrupted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from labelloop.errors import ServiceDown

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, make_loop
from mirror_steps import LATEST, count, labels, read, rest, states, sweep

from sync.mirror import Mirrored
from sync.mirroring.cursor import read_cursor

pytestmark = pytest.mark.integration


@pytest.fixture
def loop(tmp_path: Path, database_url: str) -> Iterator[Loop]:
    made = make_loop(tmp_path, DATABASE_URL=database_url)
    yield made
    made.store.engine.dispose()


def test_a_sweep_finds_what_was_deleted_unnoticed(loop: Loop) -> None:
    loop.fill(4)
    loop.label([1, 2, 3])
    gone = loop.remote.annotate(4)
    read(loop)
    rest(loop)
    loop.remote.unannotate(gone, noticed=False)
    del loop.remote.tasks[2]
    assert read(loop).deleted_tasks == 0
    swept = sweep(loop)
    assert (swept.deleted_tasks, swept.deleted_annotations) == (1, 2)
    assert sorted(labels(loop)) == [1, 3] and [t.task_id for t in loop.store.tasks(PROJECT)] == [1, 3, 4, LATEST]
    assert states(loop, gone) == ["submitted", "deleted"]
    assert sweep(loop) == Mirrored()  # nothing is found twice


def test_a_task_that_was_changed_lately_and_deleted_is_missed_at_once(loop: Loop) -> None:
    loop.fill(3)
    loop.label([1, 2])
    read(loop)
    del loop.remote.tasks[2]
    read_now = read(loop)
    assert (read_now.deleted_tasks, read_now.deleted_annotations) == (1, 1) and sorted(labels(loop)) == [1]


def test_a_sweep_finds_drift_that_moved_no_time_on(loop: Loop) -> None:
    loop.fill(3)
    loop.label([1])
    read(loop)
    rest(loop)
    task = loop.remote.tasks[1]
    loop.remote.tasks[1] = replace(task, overlap=3)
    former = loop.remote.tasks[2]
    loop.remote.tasks[2] = replace(former, data={"text": "set back"}, updated_at=former.updated_at - timedelta(hours=1))
    assert read(loop).tasks_read == 0
    assert sweep(loop).tasks_read == 2
    first, second, *_ = loop.store.tasks(PROJECT)
    assert (first.overlap, second.data) == (3, {"text": "set back"})
    assert sweep(loop) == Mirrored()


def test_a_sweep_goes_on_where_it_was_interrupted(loop: Loop) -> None:
    loop.fill(20)
    read(loop)
    rest(loop)
    for task_id in (3, 18):
        loop.remote.tasks[task_id] = replace(loop.remote.tasks[task_id], overlap=2)
    pages = 0

    def away(name: str) -> None:
        nonlocal pages
        pages += name == "light_spans page"
        if pages == 3:
            raise ServiceDown("Label Studio is away")

    loop.remote.before_call = away
    with pytest.raises(ServiceDown):
        sweep(loop, page_size=5)
    loop.remote.before_call = lambda name: None
    assert read_cursor(loop.store, PROJECT).last_id == 10
    loop.remote.calls.clear()
    assert sweep(loop, page_size=5).tasks_read == 1
    assert loop.remote.calls.count("light_spans page") == 3  # 11 to 15, 16 to 20, the one after
    assert read_cursor(loop.store, PROJECT).last_id is None
    assert [t.overlap for t in loop.store.tasks(PROJECT) if t.task_id in (3, 18)] == [2, 2]


def test_a_task_that_a_listing_lacks_is_asked_for_before_it_counts_as_gone(loop: Loop) -> None:
    loop.fill(3)
    loop.label([2])
    read(loop)
    rest(loop)
    whole = loop.remote.light_spans

    def without_the_second(*given: Any, **more: Any) -> Iterator[Any]:
        for span in whole(*given, **more):
            yield replace(span, rows=[row for row in span.rows if row.task_id != 2])

    loop.remote.light_spans = without_the_second  # type: ignore[method-assign]
    assert sweep(loop).deleted_tasks == 0 and labels(loop) == {2: ["land"]}


def test_a_task_that_was_brought_in_meanwhile_is_not_gone(loop: Loop) -> None:
    loop.fill(3)
    read(loop)
    rest(loop)
    row = {"task_id": 4, "data": {}, "meta": {}, "overlap": 1, "content_hash": "c", "group_key": "g", "role": "pool"}
    loop.store.put_tasks(PROJECT, [row])  # an ingest notes it before the listing shows it
    sweep(loop)
    assert 4 in {task.task_id for task in loop.store.tasks(PROJECT)}


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
    rest(loop)
    long_ago = loop.remote.now - timedelta(days=1)
    loop.remote.annotate(1)
    loop.remote.tasks[1] = replace(loop.remote.tasks[1], updated_at=long_ago)
    assert read(loop).revisions_added == 0
    assert sweep(loop).revisions_added == 1 and sorted(labels(loop)) == [1]
