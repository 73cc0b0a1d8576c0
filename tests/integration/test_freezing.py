"""Freezing from SQLite and PostgreSQL: one id for one content, policies, provenance, parts, and processes that are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from labelloop.datasets import Dataset, part_count, read_part
from labelloop.errors import NotReady, UsageError
from labelloop.store import Store, open_store
from labelloop.store.decisions import decide
from labelloop.store.forgotten import mark_forgotten
from labelloop.store.promotions import add_step
from labelloop.store.tables import outcomes
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from frozen_projects import AT, CHOICES, add, box, choice, label, put_project, task

from sync.freezing import freeze, freeze_version, open_dataset
from sync.stored_labels import label_marks

pytestmark = pytest.mark.integration


def some_labels(seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    roles = ("pool", "holdout", "blind", "gold")
    tasks = [task(number, roles[number % 4]) for number in range(1, 41)]
    rows = [
        label(n, person, box("cat" if n % 3 else "dog"))
        for n in range(1, 31)
        for person in (1, 2)
        if n % 5 or person == 1
    ]
    rows += [label(3, 1, box("dog"), rev=2), label(4, 1, rev=2, state="cancelled"), label(5, 1, rev=2, state="deleted")]
    rows += [label(31, 9, box(), kind="import"), label(32, 1, box(), state="cancelled")]
    source = random.Random(seed)
    source.shuffle(tasks)
    source.shuffle(rows)
    return tasks, rows


def filled(store: Store, seed: int = 0) -> Store:
    tasks, rows = some_labels(seed)
    put_project(store)
    store.put_tasks(1, tasks)
    for row in rows:  # one by one: no database stores them in any order of ours
        add(store, [row])
    return store


def frozen(store: Store, folder: Path, **options: Any) -> Dataset:
    project = store.project(1)
    assert project is not None
    return open_dataset(str(folder), freeze(store, project, str(folder), **options), folder / "cache")


def truths(dataset: Dataset) -> dict[int, int]:
    return {row["task_id"]: row["annotation_id"] for row in dataset.labels.to_dicts() if row["is_truth"]}


# -- the id -----------------------------------------------------------------------------------------------------------


def test_one_content_has_one_id_in_any_order_and_database(store: Store, tmp_path: Path) -> None:
    one = frozen(filled(store), tmp_path / "one")
    other_store = open_store(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    other = frozen(filled(other_store, seed=7), tmp_path / "other")
    other_store.close()
    assert one.dataset_id == other.dataset_id
    for name in ("tasks", "labels", "regions"):
        assert getattr(one, name).equals(getattr(other, name)), name
    # Pinned: another release must give the same id, or every project trained again after an update.
    assert one.dataset_id == "dfc3b5a9f30efc386"


@pytest.mark.parametrize(
    "change",
    [
        lambda store: add(store, [label(6, 1, box("dog"), rev=2)]),
        lambda store: add(store, [label(33, 1)]),
        lambda store: decide(store, 1, 6, "review", "approved", "ada", ""),
        lambda store: put_project(store, CHOICES),
    ],
    ids=["a label", "an empty label", "a review", "the config"],
)
def test_other_content_has_another_id(change: Callable[[Store], object], sqlite_store: Store, tmp_path: Path) -> None:
    before = frozen(filled(sqlite_store), tmp_path).dataset_id
    change(sqlite_store)
    assert frozen(sqlite_store, tmp_path).dataset_id != before


def test_what_is_no_label_is_not_in_it(store: Store, tmp_path: Path) -> None:
    dataset = frozen(filled(store), tmp_path)
    held = {(row["task_id"], row["annotator"]) for row in dataset.labels.to_dicts()}
    assert (4, 1) not in held and (5, 1) not in held and not {task for task, _ in held} & {31, 32}
    gold = {number for number in range(1, 41) if number % 4 == 3}
    assert not {task for task, _ in held} & gold
    project = store.project(1)
    assert project is not None
    marks = {(m.task_id, m.annotation_id, m.rev_hash) for m in label_marks(store, 1, ("pool", "blind", "holdout"))}
    assert marks == dataset.entries()


def test_a_persons_latest_annotation_counts_and_ground_truth_ones_do_too(store: Store, tmp_path: Path) -> None:
    put_project(store)
    store.put_tasks(1, [task(1)])
    again = label(1, 1, box("dog"), at=AT + timedelta(days=1), annotation_id=7, ground_truth=True)
    add(store, [label(1, 1, box("cat")), again, label(1, 2, box("cat"), at=AT + timedelta(days=2))])
    assert truths(frozen(store, tmp_path)) == {1: 102}
    dataset = frozen(store, tmp_path, policy="ground_truth")
    assert sorted(dataset.labels["annotation_id"]) == [7, 102] and truths(dataset) == {1: 7}


# -- policies and provenance ------------------------------------------------------------------------------------------


def test_the_majority_and_reviews_find_the_truth(store: Store, tmp_path: Path) -> None:
    put_project(store, CHOICES)
    store.put_tasks(1, [task(1), task(2)])
    add(store, [label(1, person, choice(said)) for person, said in ((1, "a"), (2, "a"), (3, "b"))])
    add(store, [label(2, person, choice(said)) for person, said in ((1, "a"), (2, "b"))])
    majority = frozen(store, tmp_path, policy="majority")
    assert truths(majority) == {1: 102, 2: 202}
    row = majority.labels.to_dicts()[1]
    assert (row["source"], row["n_labels"], row["n_agreeing"]) == ("consensus", 3, 2)
    decide(store, 1, 1, "review", "rejected", "ada", "no", annotation_id=103)
    decide(store, 1, 1, "review", "approved", "ada", "yes", annotation_id=101)
    reviewed = frozen(store, tmp_path, policy="reviewed")
    assert truths(reviewed) == {1: 101}
    assert reviewed.labels["review_status"].to_list() == [
        "approved",
        "unreviewed",
        "rejected",
        "unreviewed",
        "unreviewed",
    ]
    assert reviewed.manifest["left_out"] == {"the policy finds no truth among its labels": 1}
    assert reviewed.manifest["decisions"]["length"] == 2
    with pytest.raises(UsageError, match="loudest"):
        frozen(store, tmp_path, policy="loudest")


def test_a_label_knows_the_version_and_the_rules_that_its_person_saw(store: Store, tmp_path: Path) -> None:
    put_project(store, CHOICES)
    store.put_tasks(1, [task(1), task(2)])
    add(store, [label(1, 1, {**choice("a"), "score": 0.9}, shown_serving_id="rules-p1-v3-r2")])
    add(store, [label(2, 1, choice("a"), shown_serving_id="somebody's"), label(2, 2, choice("b"))])
    said = {"project_id": 1, "model_version": "rules-p1-v3", "created_at": AT, "status": "ok", "confidence": 0.8,
            "uncertainty": 0.2, "result": []}  # fmt: skip
    with store.begin() as connection:
        detail = {"model_version": "rules-p1-v3"}
        add_step(store, connection, 1, "rules-p1-v3-r2", "planned", detail)
        store.insert_missing(connection, outcomes, [{**said, "task_id": 1, "fired_rules": ["pays@2", "sent@1"]}])
        store.insert_missing(connection, outcomes, [{**said, "task_id": 2, "fired_rules": None}])
    rows = frozen(store, tmp_path).labels.to_dicts()
    assert [(row["shown_serving_id"], row["shown_version"], row["fired_rules"]) for row in rows] == [
        ("rules-p1-v3-r2", "rules-p1-v3", '["pays@2","sent@1"]'),
        ("somebody's", "somebody's", None),
        (None, None, None),
    ]
    assert "score" not in rows[0]["result"] and rows[0]["lead_time_s"] == 1.5


# -- parts ------------------------------------------------------------------------------------------------------------


def test_many_tasks_are_frozen_in_parts_of_a_thousand(sqlite_store: Store, tmp_path: Path) -> None:
    put_project(sqlite_store)
    sqlite_store.put_tasks(1, [task(number * 3) for number in range(1, 2502)])
    add(sqlite_store, [label(number * 3, 1, box()) for number in range(1, 2502) if number % 2])
    counted: list[tuple[str, int, int | None]] = []
    project = sqlite_store.project(1)
    assert project is not None
    made = freeze_version(sqlite_store, project, str(tmp_path), count=lambda *told: counted.append(told))
    assert made.counts == {"tasks": 1251, "labels": 1251, "truths": 1251, "regions": 1251}
    assert counted == [("tasks", 1000, 1251), ("tasks", 1251, 1251)]
    folder = Path(made.uri)
    assert part_count(folder) == 2
    for number in range(2):
        tasks, labels = read_part(folder, number)
        assert [row["task_id"] for row in tasks] == [row["task_id"] for row in labels]


def test_texts_that_orjson_refuses_do_not_stop_a_version(sqlite_store: Store, tmp_path: Path) -> None:
    put_project(sqlite_store)
    sqlite_store.put_tasks(1, [task(1, data={"text": "half of \ud83d", "n": 2**70}), task(2)])
    add(sqlite_store, [label(1, 1, box()), label(2, 1, box())])
    dataset = frozen(sqlite_store, tmp_path)
    assert '"half of \\ud83d"' in dataset.tasks["data"][0] and sorted(truths(dataset)) == [1, 2]


def test_a_task_that_is_forgotten_while_it_is_frozen_is_erased_from_the_version(
    sqlite_store: Store, tmp_path: Path
) -> None:
    filled(sqlite_store)
    project = sqlite_store.project(1)
    assert project is not None

    def forget_meanwhile(stage: str, done: int, total: int | None = None) -> None:
        with sqlite_store.begin() as connection:
            mark_forgotten(sqlite_store, connection, 1, [6])

    made = freeze_version(sqlite_store, project, str(tmp_path), count=forget_meanwhile)
    dataset = open_dataset(str(tmp_path), made.dataset_id, tmp_path)
    assert dataset.forgotten == {6} and 6 not in truths(dataset)


# -- kill -9 ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import labelloop.datasets, labelloop.folders, sync.freezing
from labelloop.store import open_store

database, artifacts, module, name, when = sys.argv[1:]
owner = {"datasets": labelloop.datasets.DatasetWriter, "folders": labelloop.folders, "path": Path,
         "manifest": labelloop.datasets}[module]
real = getattr(owner, name)

def dies(*args, **options):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, dies)
store = open_store(database)
sync.freezing.freeze(store, store.project(1), artifacts)
"""
POINTS = [
    (module, name, when)
    for module, name in (("datasets", "add"), ("datasets", "close"), ("manifest", "write_manifest"), ("folders", "publish"),
                         ("path", "rename"))
    for when in ("before", "after")
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_a_killed_freeze_leaves_nothing_or_a_whole_version_and_the_next_one_cleans_up(
    point: tuple[str, str, str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    store = filled(open_store(url))
    artifacts = tmp_path / "artifacts"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(artifacts), *point],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    datasets = artifacts / "datasets"
    named = [each for each in datasets.glob("d*") if each.is_dir()]
    for each in named:  # whatever has a final name is whole
        assert orjson.loads((each / "manifest.json").read_bytes())["dataset_id"] == each.name
    dataset = frozen(store, artifacts)
    assert dataset.labels.height == 39 and [each.name for each in datasets.iterdir()] == [dataset.dataset_id]
    store.close()


def test_a_full_disk_leaves_nothing(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import labelloop.datasets

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    filled(sqlite_store)
    with monkeypatch.context() as patched:
        patched.setattr(labelloop.datasets, "write_manifest", full)
        with pytest.raises(OSError, match="No space left"):
            frozen(sqlite_store, tmp_path)
    assert list((tmp_path / "datasets").iterdir()) == []
    assert frozen(sqlite_store, tmp_path).labels.height == 39


def test_without_labels_nothing_is_left_behind(sqlite_store: Store, tmp_path: Path) -> None:
    put_project(sqlite_store)
    with pytest.raises(NotReady, match="no labels yet"):
        frozen(sqlite_store, tmp_path)
    assert list((tmp_path / "datasets").iterdir()) == []
    assert utc_now() > AT
