"""An ingest that is killed after every single write, or meets a full disk: the next run goes on, nothing lost or doubled."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from ingest_forks import Forks, forks
from ingest_remote import IngestRemote, ingest_remote
from ingest_site import BOXES, Site, ingest_site, picture

from labelloop.errors import DataError, ServiceDown
from labelloop.store import Store, open_store
from labelloop.store.tables import outcomes

pytestmark = pytest.mark.integration

PICTURES = 9


@pytest.fixture(scope="module")
def program() -> Iterator[Forks]:
    with forks() as made:
        yield made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, boxes for them, and a store that knows the project: each run starts from a copy."""
    folder = tmp_path_factory.mktemp("template")
    for n in range(PICTURES):
        picture(folder / "pics" / f"{n}.png", n)
    (folder / "pics" / "torn.png").write_bytes(b"\x89PNG")
    content = {
        "images": [{"id": n + 1, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(PICTURES)],
        "annotations": [
            {"id": n + 1, "image_id": n + 1, "category_id": 1, "bbox": [8, 6, 16, 12], "area": 192, "iscrowd": 0}
            for n in range(PICTURES)
        ],
        "categories": [{"id": 1, "name": "circle"}],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    store = open_store(f"sqlite:///{folder / 'store.sqlite3'}")
    store.put_project(project_id=1, title="P", task_type="t", backend="b", label_config=BOXES, settings={})
    store.close()
    return folder


def state(folder: Path, remote: IngestRemote) -> dict[str, Any]:
    """What both sides hold, whatever ids they gave; a list has doubles."""
    store = open_store(f"sqlite:///{folder / 'store.sqlite3'}")
    rows = {row.task_id: row for row in store.tasks(1)}
    with store.read() as connection:
        said = sorted(row.task_id for row in connection.execute(outcomes.select()))
    store.close()
    contents = {task_id: task["meta"]["labelloop"]["content"] for task_id, task in remote.tasks.items()}
    staged = [path.name for path in (folder / "served").rglob("*") if path.is_file()]
    return {
        "tasks": sorted((contents[i], task["overlap"], task["data"]["image"]) for i, task in remote.tasks.items()),
        "recorded": sorted((row.content_hash, row.overlap, row.role) for row in rows.values()),
        "same ids": rows.keys() == remote.tasks.keys(),
        "annotations": sorted(contents[row["task"]] for row in remote.annotations),
        "predictions": sorted((contents[row["task"]], row["model_version"]) for row in remote.predictions),
        "said": sorted(contents[task_id] for task_id in said),
        "people": remote.maximum_annotations,
        "files": sorted(staged),
    }


def run(program: Forks, template: Path, folder: Path, kill_at: int | None, **labels: str) -> tuple[list[str], Any]:
    """The points of one ingest from nothing, killed at one of them and then run again; the state afterwards."""
    shutil.copytree(template, folder)
    with ingest_remote() as remote:
        ended, points = program.run(remote.url, folder, kill_at, **labels)
        assert ended == (signal.SIGKILL if kill_at is not None else 0)
        if kill_at is not None:
            assert len(points) == kill_at
            halves = [path.name for path in (folder / "served").rglob(".*.part")]
            assert halves == []  # a copy is whole under its final name; no point lies within one
            assert program.run(remote.url, folder, **labels)[0] == 0
        return points, state(folder, remote)


def dangerous(points: list[str]) -> list[int]:
    """Numbers of the points after a write to Label Studio or a commit of the store, and of the first of the others."""
    written = ("POST", "PATCH", "DELETE", "store")
    return [n for n, name in enumerate(points, 1) if name.startswith(written) or points.index(name) == n - 1]


@pytest.mark.parametrize("labels", [{"kind": "predictions"}, {"kind": "annotations"}], ids=str)
def test_killed_after_any_write_the_next_run_goes_on(
    program: Forks, template: Path, tmp_path: Path, labels: dict[str, str]
) -> None:
    points, whole = run(program, template, tmp_path / "whole", None, **labels)
    kinds = Counter(point.partition(" ")[0] for point in points)
    assert kinds["POST"] >= 5 and kinds["store"] >= 6 and kinds["file"] == PICTURES and kinds["journal"] >= 8
    assert len(whole["tasks"]) == PICTURES and whole["same ids"] and len(set(whole["tasks"])) == PICTURES
    assert len(whole["files"]) == PICTURES
    for kill_at in dangerous(points):
        _, found = run(program, template, tmp_path / str(kill_at), kill_at, **labels)
        assert found == whole, f"killed after {kill_at}: {points[kill_at - 1]}"
        shutil.rmtree(tmp_path / str(kill_at))


@pytest.fixture
def site(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, BOXES) as made:
        for n in range(PICTURES):
            picture(tmp_path / "pics" / f"{n}.png", n)
        yield made


def test_a_disk_that_fills_up_stops_the_ingest_and_the_next_one_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, copied = shutil.copyfile, []

    def filling(source: Any, target: Any) -> Any:
        copied.append(target)
        if len(copied) == 6:
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        return copy(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", filling)
        with pytest.raises(DataError, match=r"takes no more files \(No space left on device\); make room"):
            site.ingest(site.folder / "pics")
    served = site.folder / "served" / "labelloop" / "p1"
    assert len(list(served.iterdir())) == 5 and not list(served.glob(".*"))
    report = site.ingest(site.folder / "pics")
    assert (report.added + report.present, len(list(served.iterdir()))) == (PICTURES, PICTURES)
    site.agree()


def test_a_full_disk_under_the_notes_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ingest(site.folder / "pics", dry_run=True)
    notes = site.folder / "ingest" / "1" / "work.sqlite3"
    notes.write_bytes(b"no database at all" * 500)
    with pytest.raises(DataError, match=r"work\.sqlite3 cannot be used .*or delete it"):
        site.ingest(site.folder / "pics")
    notes.unlink()
    assert site.ingest(site.folder / "pics").added == PICTURES


def test_an_answer_that_gets_lost_is_no_reason_to_import_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    request = site.client.request

    def lost(method: Any, path: str, **rest: Any) -> Any:
        answer = request(method, path, **rest)
        if path.endswith("/import"):
            raise ServiceDown("the answer got lost")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(site.client, "request", lost)
        with pytest.raises(ServiceDown):
            site.ingest(site.folder / "pics")
    there = len(site.remote.tasks)
    report = site.ingest(site.folder / "pics")
    assert 0 < there < PICTURES and (report.present, report.finished) == (there, there)
    assert report.added == PICTURES - there
    site.agree()
