"""Forgetting a task for good: no file and no row says what it said, tombstones stay, nothing brings it back, kill -9 anywhere."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from labelloop.datasets import read_dataset
from labelloop.errors import NotReady, ServiceDown, UsageError
from labelloop.store.decisions import verify_chain
from labelloop.store.forgotten import tombstones
from labelloop.store.leases import acquire
from labelloop.store.tables import outcomes, tasks
from labelloop.store.trainings import finish_training, queue_training, update_training

sys.path.insert(0, str(Path(__file__).parent))
from forgetting_steps import GONE, SECRET, SHARING, cached, fill, in_tables, later, opened, revision_facts, traces
from frozen_projects import AT, add, box, label

import sync.forgetting
from sync.forgetting import erase_latecomers, forget, unfinished
from sync.freezing import freeze, freeze_version
from sync.history import history_text, task_history
from sync.runtime import Runtime

pytestmark = pytest.mark.integration


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = opened(tmp_path)
    yield made
    made.media.close()
    made.store.close()


def version(runtime: Runtime) -> Path:
    project = runtime.store.project(1)
    assert project is not None
    return Path(freeze_version(runtime.store, project, runtime.services.artifacts).uri)


def test_nothing_says_it_any_more(database_url: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    runtime = opened(data, database_url if database_url.startswith("postgresql") else None)
    project = fill(runtime)
    made = version(runtime)
    facts = revision_facts(runtime.store)
    assert {"tasks", "revisions", "outcomes", "predictions", "regions", "decisions"} <= set(in_tables(runtime.store))
    assert len(traces(data)) >= 5
    row = queue_training(runtime.store, 1, made.name, 5, None)
    with runtime.store.begin() as connection:
        finish_training(runtime.store, connection, row, "promoted", "better")
        update_training(runtime.store, connection, 1, row.training_id, candidate="yolo-p1-v1")
    report = forget(runtime, project, [GONE])
    assert list(in_tables(runtime.store)) == []
    assert traces(data) == [] and cached(data) == 1
    assert report.in_label_studio == {"deleted": 1, "absent": 0, "another_task": 0}
    assert report.files == {"staged": 1, "shared": 0, "cached": 1}
    assert (report.datasets, report.models) == ([made.name], ["yolo-p1-v1"])
    said = "\n".join(report.remains)
    assert (
        "yolo-p1-v1" in said
        and "backups" in said
        and made.name in said
        and ("VACUUM FULL" in said) == ("postgresql" in database_url)
    )
    # The tombstone: ids, times and hashes are what they were.
    assert revision_facts(runtime.store) == facts
    assert verify_chain(runtime.store, 1) == []
    (stone,) = tombstones(runtime.store, 1)
    assert stone.task_id == GONE and stone.finished_at is not None and stone.content_hash == f"{GONE:064x}"
    # The others are untouched.
    dataset = read_dataset(made)
    assert dataset.dataset_id == made.name and sorted(t for t, _, _ in dataset.truth("train")) == [1, 3, 4, 5]
    assert [t.task_id for t in runtime.store.tasks(1)] == [1, 3, 4, 5]
    assert (data / "files" / "labelloop" / "p1" / "b.png").is_file()
    assert forget(runtime, project, []).tasks == []
    runtime.media.close()
    runtime.store.close()


def test_a_file_that_another_task_shows_stays(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    report = forget(runtime, project, [SHARING])
    assert report.files == {"staged": 0, "shared": 1, "cached": 0}
    assert (tmp_path / "files" / "labelloop" / "p1" / "b.png").is_file()
    assert "1 files that other tasks show" in "\n".join(report.remains)
    report = forget(runtime, project, [3])
    assert report.files["staged"] == 1 and not (tmp_path / "files" / "labelloop" / "p1" / "b.png").exists()


def test_files_outside_of_ours_are_never_touched(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    theirs = tmp_path / "files" / "own" / "x.png"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    wild = {"a": "/data/local-files/?d=own/x.png", "b": "/data/local-files/?d=labelloop/p1/../../own/x.png",
            "c": "/data/upload/1/ab-x.png", "d": ["/etc/passwd", {"e": "/data/local-files/?d=labelloop/p1"}]}  # fmt: skip
    with runtime.store.begin() as connection:
        connection.execute(update(tasks).where(tasks.c.task_id == GONE).values(data=wild))
    report = forget(runtime, project, [GONE])
    assert theirs.read_bytes() == b"theirs" and report.files["staged"] == 0
    assert report.uploads == ["/data/upload/1/ab-x.png"]


def test_an_unknown_task_and_a_busy_project_are_said(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    project = fill(runtime)
    with pytest.raises(UsageError, match="has no task 77"):
        forget(runtime, project, [GONE, 77])
    assert tombstones(runtime.store, 1) == []
    monkeypatch.setattr(sync.forgetting, "LEASE_WAIT_S", 0.3)
    assert acquire(runtime.store, 1, "sync", 60) is not None
    with pytest.raises(NotReady, match="sync lease"):
        forget(runtime, project, [GONE])


def test_a_label_studio_that_is_away_is_asked_again(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = fill(runtime)

    def away(*_: Any) -> Any:
        raise ServiceDown("Label Studio is away")

    with monkeypatch.context() as patched:
        patched.setattr(runtime.client, "delete_task", away)
        with pytest.raises(ServiceDown):
            forget(runtime, project, [GONE])
    assert [stone.task_id for stone in unfinished(runtime, project)] == [GONE]
    assert GONE not in {t.task_id for t in runtime.store.tasks(1)}  # marked: nothing reads it any more
    assert forget(runtime, project, [1]).tasks == [1, GONE]
    runtime.media.close()
    runtime.store.close()
    assert traces(tmp_path) == []


def test_an_id_that_stands_for_another_task_by_now_is_not_deleted(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    remote: Any = runtime.client
    remote.write({**remote.held(), GONE: AT + timedelta(days=3)})
    report = forget(runtime, project, [GONE])
    assert report.in_label_studio["another_task"] == 1 and GONE in remote.held()


def test_a_version_that_cannot_be_read_is_named(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    made = version(runtime)
    (made / "manifest.json").write_bytes(b"{}")
    report = forget(runtime, project, [GONE])
    assert any(made.name in each and "may hold them" in each for each in report.remains)


def test_what_a_worker_writes_afterwards_is_emptied_by_the_next_reconcile(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    forget(runtime, project, [GONE])
    late = {"project_id": 1, "task_id": GONE, "model_version": "v2", "created_at": AT, "status": "ok", "confidence": 0.5,
            "uncertainty": 0.5, "result": [{"value": {"text": SECRET}}], "fired_rules": None}  # fmt: skip
    with runtime.store.begin() as connection:
        runtime.store.insert_missing(connection, outcomes, [late])
    assert erase_latecomers(runtime, project) == 1 and list(in_tables(runtime.store)) == []
    later(runtime.store, timedelta(days=2))
    assert erase_latecomers(runtime, project) == 0


def test_versions_that_are_frozen_afterwards_leave_it_out(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    before = version(runtime)
    forget(runtime, project, [GONE])
    after = freeze(runtime.store, project, runtime.services.artifacts)
    assert after != before.name
    assert 200 not in {row for row in read_dataset(before.parent / after).labels["task_id"]} and GONE not in set(
        read_dataset(before.parent / after).labels["task_id"]
    )


def test_the_history_of_a_forgotten_task_tells_that_and_not_what_it_was(runtime: Runtime, tmp_path: Path) -> None:
    project = fill(runtime)
    made = version(runtime)
    forget(runtime, project, [GONE])
    text = history_text(task_history(runtime.store, project, GONE, runtime.services.artifacts))
    assert "(forgotten, content 0000" in text and "its content was erased" in text and SECRET not in text
    assert "labelled: forgotten by person 1 (person-a) (annotation 201)" in text
    assert "changed; what it said was forgotten" in text and f"went into {made.name}, none of them as the truth" in text


# -- kill -9 ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import forgetting_steps
import sync.forgetting, sync.version_erasing
from labelloop import folders

place, name, when, number = sys.argv[3:]
owner = {"run": sync.forgetting._Forgetting, "forget": sync.forgetting, "folders": folders}[place]
real, left = getattr(owner, name), [int(number)]

def dies(*args, **options):
    left[0] -= 1
    if left[0] == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*args, **options)
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(owner, name, dies)
runtime = forgetting_steps.opened(Path(sys.argv[2]))
sync.forgetting.forget(runtime, runtime.store.project(1), [forgetting_steps.GONE])
"""
#: After a step is before the next one.
POINTS = [
    ("forget", "mark_forgotten", "before", 1),
    ("run", "from_label_studio", "before", 1),
    *(
        ("run", step, "after", 1)
        for step in ("from_label_studio", "from_files", "from_notes", "from_versions", "from_store")
    ),
    *(("folders", "replace_file", "after", number) for number in (1, 2, 3, 4)),
    ("forget", "erase_contents", "after", 1),
    ("forget", "finish_forgetting", "after", 1),
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: " ".join(map(str, point)))
def test_killed_anywhere_it_is_finished_by_the_next_run(
    point: tuple[str, str, str, int], runtime: Runtime, tmp_path: Path
) -> None:
    project = fill(runtime)
    made = version(runtime)
    runtime.media.close()
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), *map(str, point)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # At every point the version reads, and no training takes an emptied label for an empty one.
    assert len(read_dataset(made).truth("train")) in (4, 5)
    assert all(result for _, _, result in read_dataset(made).truth("train"))
    with runtime.store.begin() as connection:  # the lease of a killed process runs out
        from labelloop.store.tables import leases

        connection.execute(update(leases).values(expires_at=AT))
    again = [] if unfinished(runtime, project) else [GONE]
    forget(runtime, project, again)
    assert [stone.finished_at is not None for stone in tombstones(runtime.store, 1)] in ([True], [True, True])
    runtime.media.close()
    runtime.store.close()
    assert traces(tmp_path) == [] and cached(tmp_path) == 1
    assert sorted(task for task, _, _ in read_dataset(made).truth("train")) == [1, 3, 4, 5]


def test_labels_that_come_under_the_same_id_later_are_another_tasks(runtime: Runtime, tmp_path: Path) -> None:
    """Label Studio on SQLite gives a deleted last task's id to the next one."""
    project = fill(runtime)
    forget(runtime, project, [GONE])
    with runtime.store.begin() as connection:
        values = {"created_at": AT + timedelta(days=9), "deleted_at": None, "data": {"image": "/new.png"}}
        connection.execute(update(tasks).where(tasks.c.task_id == GONE).values(**values))
    add(runtime.store, [label(GONE, 5, box())])
    assert erase_latecomers(runtime, project) == 0
    with runtime.store.read() as connection:
        found = connection.execute(select(tasks.c.data).where(tasks.c.task_id == GONE)).scalar_one()
    assert found == {"image": "/new.png"}
