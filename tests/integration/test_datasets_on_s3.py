"""Dataset versions on a real S3 server: published at the end, finished by the next run, read by DuckDB and Polars, erased."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from labelloop import folders
from labelloop.errors import NotReady, ServiceDown
from labelloop.store import Store, open_store

sys.path.insert(0, str(Path(__file__).parent))
from frozen_projects import add, box, label, put_project, task

from sync.dataset_versions import list_versions, newest_version, show_version
from sync.freezing import freeze, freeze_version, open_dataset
from sync.version_erasing import erase_from_version
from sync.version_pieces import held_tasks, labels_of_task

pytestmark = pytest.mark.integration

ARTIFACTS = "s3://labels/labelloop"
DOCUMENT = Path(__file__).parents[2] / "docs" / "datasets.md"


@pytest.fixture
def labelled(sqlite_store: Store) -> Store:
    put_project(sqlite_store)
    sqlite_store.put_tasks(1, [task(n, "holdout" if n == 3 else "pool") for n in range(1, 6)])
    add(sqlite_store, [label(n, 1, box("cat" if n % 2 else "dog")) for n in range(1, 6)])
    return sqlite_store


def frozen(store: Store, artifacts: str = ARTIFACTS, **options: Any) -> str:
    project = store.project(1)
    assert project is not None
    return freeze(store, project, artifacts, **options)


def test_a_version_in_a_bucket_is_the_one_of_a_folder(bucket: Any, labelled: Store, tmp_path: Path) -> None:
    made = frozen(labelled)
    assert made == frozen(labelled, str(tmp_path / "artifacts"))
    one = open_dataset(ARTIFACTS, made, tmp_path / "cache")
    other = open_dataset(str(tmp_path / "artifacts"), made, tmp_path / "unused")
    assert one.labels.equals(other.labels) and one.path == tmp_path / "cache" / made
    assert sorted(name.rpartition("/")[2] for name in bucket.ls(f"labels/labelloop/datasets/{made}")) == [
        ".complete", "labels.parquet", "manifest.json", "regions.parquet", "tasks.parquet",
    ]  # fmt: skip
    project = labelled.project(1)
    assert project is not None and freeze_version(labelled, project, ARTIFACTS).known


def test_versions_in_a_bucket_are_listed_shown_and_looked_into(bucket: Any, labelled: Store, tmp_path: Path) -> None:
    first = frozen(labelled)
    add(labelled, [label(1, 1, box("dog"), rev=2)])
    second = frozen(labelled, parent=first)
    bucket.pipe_file("labels/labelloop/datasets/dunfinished/manifest.json", b"{}")
    listed = list_versions(ARTIFACTS, labelled, 1)
    assert [(row["dataset_id"], row["parent"]) for row in listed] == [(first, None), (second, first)]
    assert newest_version(ARTIFACTS, 1) == second and newest_version(ARTIFACTS, 2) is None
    shown = show_version(ARTIFACTS, second, tmp_path, labelled)
    assert [(row["class"], row["objects"]) for row in shown["classes"]] == [("cat", 2), ("dog", 3)]
    assert held_tasks(f"{ARTIFACTS}/datasets/{first}", {2, 77}) == {2}
    (row,) = labels_of_task(f"{ARTIFACTS}/datasets/{first}", 2)
    assert row["annotation_id"] == 201 and "result" not in row


KILLED = """
import os, signal, sys
import s3fs, labelloop.folders
from labelloop.store import open_store
import sync.freezing

database, artifacts, number = sys.argv[1:]
real, left = s3fs.S3FileSystem.put_file, [int(number)]

def dies(self, *args, **options):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return real(self, *args, **options)

s3fs.S3FileSystem.put_file = dies
s3fs.S3FileSystem.pipe_file = dies if int(number) > 3 else s3fs.S3FileSystem.pipe_file
store = open_store(database)
sync.freezing.freeze(store, store.project(1), artifacts)
"""


@pytest.mark.parametrize("uploads", range(5))
def test_an_upload_that_was_killed_is_no_version_and_is_finished_by_the_next(
    uploads: int, bucket: Any, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    store = open_store(url)
    put_project(store)
    store.put_tasks(1, [task(1)])
    add(store, [label(1, 1, box())])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, url, ARTIFACTS, str(uploads)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    bucket.invalidate_cache()
    assert len(bucket.find("labels")) == uploads and list_versions(ARTIFACTS, None) == []
    made = frozen(store)
    assert [row["dataset_id"] for row in list_versions(ARTIFACTS, None)] == [made]
    assert open_dataset(ARTIFACTS, made, tmp_path / "cache").labels.height == 1
    store.close()


def test_erasing_in_a_bucket_reaches_local_copies_when_they_are_next_used(
    bucket: Any, labelled: Store, tmp_path: Path
) -> None:
    made = frozen(labelled)
    copy = open_dataset(ARTIFACTS, made, tmp_path / "cache")
    assert len(copy.truth("train")) == 4
    assert erase_from_version(f"{ARTIFACTS}/datasets/{made}", [2]) == {2}
    again = open_dataset(ARTIFACTS, made, tmp_path / "cache")
    assert again.path == copy.path and again.forgotten == {2}
    assert [task_id for task_id, _, _ in again.truth("train")] == [1, 4, 5]
    unchanged = again.path.stat().st_ino
    assert open_dataset(ARTIFACTS, made, tmp_path / "cache").path.stat().st_ino == unchanged
    for name in bucket.find("labels"):
        assert b"/data/2.png" not in bucket.cat_file(name)


def test_a_bucket_that_is_not_there_or_not_reached_is_said(bucket: Any, labelled: Store, tmp_path: Path) -> None:
    with pytest.raises((ServiceDown, NotReady), match="s3://nobodys"):
        frozen(labelled, "s3://nobodys/labelloop")
    assert list_versions("s3://labels/other", None) == []
    with pytest.raises(NotReady, match="does not exist"):
        open_dataset(ARTIFACTS, "d" + "0" * 16, tmp_path)


def test_a_server_that_is_away_is_said(bucket: Any, labelled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(ServiceDown, match="cannot be read or written"):
        folders.names_below(f"{ARTIFACTS}/datasets")


# -- the document -----------------------------------------------------------------------------------------------------


def snippets() -> list[str]:
    """The Python blocks of the document."""
    return re.findall(r"^```python\n(.+?)^```", DOCUMENT.read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_document_has_the_snippets_that_are_promised() -> None:
    kinds = [("duckdb" in each, "polars" in each, "s3://" in each) for each in snippets()]
    assert len(kinds) == 5 and {
        (True, False, True),
        (False, True, True),
        (True, False, False),
        (False, True, False),
    } <= set(kinds)


@pytest.mark.parametrize("number", range(len(snippets())))
def test_a_snippet_of_the_document_runs(number: int, bucket: Any, labelled: Store, tmp_path: Path) -> None:
    source = snippets()[number]
    remote = "s3://" in source
    artifacts = "s3://labels" if remote else str(tmp_path / "artifacts")
    made = frozen(labelled, artifacts)
    place = f"{artifacts}/datasets/{made}"
    code, count = re.subn(r'"[^"]*datasets/d0123456789abcdef"', repr(place), source)
    assert count == 1
    names: dict[str, Any] = {}
    exec(compile(code, "docs/datasets.md", "exec"), names)  # noqa: S102
    if "truths" in names:
        assert [row[:2] for row in names["truths"]] == [(n, 1) for n in range(1, 6)]
        assert orjson.loads(names["truths"][0][4])[0]["value"]["rectanglelabels"] == ["cat"]
    else:
        assert names["objects"] == [("holdout", "cat", 1), ("train", "cat", 2), ("train", "dog", 2)]
