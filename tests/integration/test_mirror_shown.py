"""What a person was shown is copied when the label is first read, and outlives the prediction in Label Studio."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelloop.errors import ServiceDown
from labelloop.store.promotions import add_step, count_predictions, predictions_of, ranked_ids
from labelloop.store.shown import Shown, shown_predictions

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, choice, make_loop
from mirror_steps import put_prediction, read

pytestmark = pytest.mark.integration


@pytest.fixture
def loop(tmp_path: Path, database_url: str) -> Iterator[Loop]:
    made = make_loop(tmp_path, DATABASE_URL=database_url)
    yield made
    made.store.engine.dispose()


def push(loop: Loop, task_id: int, version: str, *regions: str) -> int:
    """A prediction in Label Studio, whoever made it."""
    result = [region for label in regions for region in choice(label)]
    loop.remote.push_predictions(PROJECT, [{"task": task_id, "model_version": version, "score": 0.4, "result": result}])
    return int(loop.remote.predictions[-1]["id"])


def served(loop: Loop) -> dict[int, str | None]:
    return {row.task_id: row.shown_serving_id for row in loop.store.labels(PROJECT)}


def copies(loop: Loop, *prediction_ids: int) -> list[Shown]:
    return shown_predictions(loop.store, PROJECT, prediction_ids)


def test_a_label_knows_what_it_began_from_whoever_predicted(loop: Loop) -> None:
    loop.fill(4)
    with loop.store.begin() as connection:
        detail = {"model_version": "v1", "serving_id": "v1-r1"}
        add_step(loop.store, connection, PROJECT, "v1-r1", "planned", detail)
    parents = {
        1: push(loop, 1, "v1-r1", "sea"),
        2: push(loop, 2, "another backend", "land"),
        3: push(loop, 3, "", "sea"),
    }
    for task_id in (1, 2, 3, 4):
        loop.remote.annotate(task_id, parent_prediction=parents.get(task_id))
    read(loop)
    assert served(loop) == {1: "v1-r1", 2: "another backend", 3: "unversioned", 4: None}
    found = {copy.task_id: copy for copy in copies(loop, *parents.values())}
    assert {task_id: copy.model_version for task_id, copy in found.items()} == {
        1: "v1", 2: "another backend", 3: "unversioned",
    }  # fmt: skip
    assert (found[2].ls_prediction_id, found[2].result, found[2].score) == (parents[2], choice("land"), 0.4)


def test_it_knows_so_after_the_prediction_is_gone(loop: Loop) -> None:
    loop.fill(1)
    parent = push(loop, 1, "gone soon", "land")
    annotation = loop.remote.annotate(1, parent_prediction=parent)
    read(loop)
    loop.remote.delete_model_version(PROJECT, "gone soon")
    loop.remote.change(annotation, parent_prediction=None, result=choice("sea"))
    assert read(loop).revisions_added == 1
    (label,) = loop.store.labels(PROJECT)
    assert (label.parent_prediction, label.shown_serving_id) == (parent, "gone soon")
    assert [copy.result for copy in copies(loop, parent)] == [choice("land")]


def test_a_prediction_without_regions_showed_nothing(loop: Loop) -> None:
    loop.fill(1)
    parent = push(loop, 1, "v1-r1")
    loop.remote.annotate(1, parent_prediction=parent)
    read(loop)
    assert served(loop) == {1: None}
    assert [copy.serving_id for copy in copies(loop, parent)] == ["v1-r1"]


def test_one_that_was_gone_before_it_was_read_is_not_taken_for_nothing(loop: Loop) -> None:
    loop.fill(1)
    loop.remote.annotate(1, parent_prediction=99)
    read(loop)
    assert served(loop) == {1: "unknown"} and copies(loop, 99) == []


def test_a_copy_is_made_once_and_stays_as_it_was_first_seen(loop: Loop) -> None:
    loop.fill(1)
    parent = push(loop, 1, "v1-r1", "sea")
    annotation = loop.remote.annotate(1, parent_prediction=parent)
    read(loop)
    loop.remote.update_prediction(parent, choice("land"), 0.9)
    loop.remote.change(annotation, lead_time_s=9.0)
    loop.remote.calls.clear()
    read(loop)
    assert "predictions_of" not in loop.remote.calls
    assert [(copy.result, copy.score) for copy in copies(loop, parent)] == [(choice("sea"), 0.4)]


def test_a_label_whose_id_is_given_out_again_inherits_nothing(loop: Loop) -> None:
    loop.fill(2)
    parent = push(loop, 1, "v1-r1", "sea")
    annotation = loop.remote.annotate(1, parent_prediction=parent)
    read(loop)
    loop.remote.unannotate(annotation)
    at = loop.remote.tick()
    loop.remote.annotate(1, annotation_id=annotation, created_at=at, updated_at=at)
    read(loop)
    assert served(loop) == {1: None}


def test_copies_are_no_places_in_the_queue(loop: Loop) -> None:
    loop.fill(2)
    read(loop)
    put_prediction(loop, 2)
    for task_id in (1, 2):
        loop.remote.annotate(task_id, parent_prediction=push(loop, task_id, "v1-r1", "sea"))
    read(loop)
    assert served(loop) == {1: "v1-r1", 2: "v1-r1"}
    assert count_predictions(loop.store, PROJECT, "v1-r1") == 1 and ranked_ids(loop.store, PROJECT, "v1-r1") == {2}
    assert [row["task_id"] for row in predictions_of(loop.store, PROJECT, "v1-r1")] == [2]
    places = loop.store.places(PROJECT, "v1-r1", [1, 2])
    assert {task_id: place.order_key for task_id, place in places.items()} == {1: None, 2: 0.5}


def begun(loop: Loop, count: int) -> dict[int, int]:
    """So many tasks, each with a label that began from a prediction; the prediction of each."""
    loop.fill(count)
    parents = {task_id: push(loop, task_id, f"m{task_id % 3}", "sea") for task_id in range(1, count + 1)}
    for task_id, parent in parents.items():
        loop.remote.annotate(task_id, parent_prediction=parent)
    return parents


def test_all_predictions_are_fetched_at_once_where_most_tasks_ask_for_theirs(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.mirroring.shown.MANY", 5)
    parents = begun(loop, 30)
    read(loop, page_size=10)
    assert loop.remote.calls.count("dump_predictions") == 1 and "predictions_of" not in loop.remote.calls
    assert served(loop) == {task_id: f"m{task_id % 3}" for task_id in parents}
    assert {copy.task_id: copy.ls_prediction_id for copy in copies(loop, *parents.values())} == parents


def test_they_are_fetched_by_task_where_that_is_less_or_the_server_cannot(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.mirroring.shown.MANY", 5)
    parents = begun(loop, 12)
    for _ in range(10):
        for task_id in parents:
            push(loop, task_id, "of another ranking", "land")
    read(loop)
    assert "dump_predictions" not in loop.remote.calls and served(loop)[1] == "m1"


def test_a_server_that_cannot_give_them_at_once_is_asked_by_task(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.mirroring.shown.MANY", 5)
    parents = begun(loop, 12)
    loop.remote.fail["dump_predictions"] = ServiceDown("did not answer in time")
    read(loop)
    assert loop.remote.calls.count("predictions_of") == 1 and len(copies(loop, *parents.values())) == 12


def test_a_prediction_made_after_all_were_fetched_is_asked_for(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.mirroring.shown.MANY", 5)
    begun(loop, 20)

    def labelled_meanwhile(name: str) -> None:
        if name == "dump_predictions":
            loop.remote.before_call = lambda name: None
            loop.remote.after_dump = lambda: loop.remote.annotate(15, parent_prediction=push(loop, 15, "late", "land"))

    loop.remote.before_call = labelled_meanwhile
    read(loop, page_size=10)
    assert "late" in {label.shown_serving_id for label in loop.store.labels(PROJECT)}
