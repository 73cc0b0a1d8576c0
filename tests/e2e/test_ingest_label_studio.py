"""Ingest against a real Label Studio: roles and overlaps, images that are served, pre-annotations, and every retry."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from labelloop.errors import ServiceError
from labelloop.label_studio import LabelStudio
from labelloop.settings import ProjectSettings
from labelloop.store import Store, open_store
from sync.ingesting import (
    IngestOptions,
    IngestReport,
    IngestTarget,
    LabelOptions,
    LocalFiles,
    ingest,
    policy_of,
    task_record,
)
from sync.mirroring.revisions import kind_of
from sync.projects import create_project
from templates.catalogue import Template, load_template

pytestmark = pytest.mark.e2e

TEXTS, BOXES = load_template("text_classification"), load_template("bbox")
SETTINGS = ProjectSettings()


@pytest.fixture
def client(label_studio: Any) -> Iterator[LabelStudio]:
    with LabelStudio(label_studio.url, label_studio.token) as labels:
        yield labels


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/store.sqlite3")
    yield opened
    opened.close()


class Project:
    """A project of a template, and what is brought into it."""

    def __init__(self, client: LabelStudio, store: Store, template: Template, folder: Path, files_root: Path) -> None:
        title = f"ingest {secrets.token_hex(4)}"
        self.client, self.store, self.folder = client, store, folder
        self.id = create_project(client, store, template, title, template.example_classes, SETTINGS)
        self.target = IngestTarget(client, store, self.id, SETTINGS, folder / "ingest", LocalFiles(files_root))

    def ingest(self, source: Path | None, **options: Any) -> IngestReport:
        return ingest(self.target, None if source is None else str(source), IngestOptions(**options))

    def texts(self, n: int, start: int = 0) -> Path:
        path = self.folder / f"texts-{start}-{n}.jsonl"
        path.write_text("\n".join(json.dumps({"text": f"text {i} {secrets.token_hex(40)}"}) for i in range(start, n)))
        return path

    def agree(self) -> None:
        """Label Studio and the store have the same tasks with the same overlaps and roles."""
        project = self.store.project(self.id)
        assert project is not None
        policy = policy_of(project, SETTINGS)
        recorded = {row.task_id: row for row in self.store.tasks(self.id)}
        seen = {row.task_id: row for page in self.client.changed_tasks(self.id) for row in page}
        assert recorded.keys() == seen.keys()
        for task_id, row in seen.items():
            again = task_record(task_id, row.data, row.meta, row.overlap, policy)
            mine = recorded[task_id]
            assert (again["role"], again["overlap"]) == (mine.role, mine.overlap)
            assert (again["content_hash"], again["group_key"]) == (mine.content_hash, mine.group_key)


@pytest.fixture
def project(client: LabelStudio, store: Store, tmp_path: Path, label_studio: Any) -> Iterator[Project]:
    made = Project(client, store, TEXTS, tmp_path, label_studio.files_root)
    yield made
    client.delete_project(made.id)


@pytest.fixture
def boxes(client: LabelStudio, store: Store, tmp_path: Path, label_studio: Any) -> Iterator[Project]:
    made = Project(client, store, BOXES, tmp_path, label_studio.files_root)
    yield made
    client.delete_project(made.id)


def test_ingest_gives_roles_and_overlaps_and_adds_nothing_twice(project: Project) -> None:
    source = project.texts(200)
    report = project.ingest(source)
    assert (report.added, report.roles["holdout"]) == (200, 50)
    project.agree()
    assert report.overlapped == sum(mark.overlap == 2 for mark in project.client.task_marks(project.id))
    lines = source.read_text().splitlines()[190:] + project.texts(210, 200).read_text().splitlines()
    source.write_text("\n".join(lines))
    later = project.ingest(source)
    assert (later.added, later.present) == (10, 10)
    project.agree()
    assert project.client.counts(project.id).tasks == 210


@pytest.mark.parametrize("fails", ["set_task_overlap", "update_project"])
def test_an_ingest_cut_off_half_way_is_finished_by_the_next(
    project: Project, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise ServiceError("cut off")

    source = project.texts(40)
    with monkeypatch.context() as patched:
        patched.setattr(project.client, fails, down)
        with pytest.raises(ServiceError, match="cut off"):
            project.ingest(source)
    assert 0 < project.client.counts(project.id).tasks < 40
    report = project.ingest(source)
    assert (report.added + report.present, project.client.counts(project.id).tasks) == (40, 40)
    project.agree()


def test_a_task_that_label_studio_refuses_costs_the_others_nothing(project: Project) -> None:
    source = project.texts(20)
    source.write_text(source.read_text() + "\n" + json.dumps({"text": {"an object": "is no text"}}))
    report = project.ingest(source)
    assert (report.added, dict(report.rejected), project.client.counts(project.id).tasks) == (20, {"refused": 1}, 20)
    assert report.rejects is not None and "object tag Text expects" in report.rejects.read_text()
    project.agree()


def images(folder: Path, n: int) -> Path:
    """Images of noise, so that none is near another; one that is torn."""
    folder.mkdir()
    for number in range(n):
        Image.effect_noise((160, 120), 80).save(folder / f"image {number}.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n")
    return folder


def test_images_are_staged_and_served_to_people_only(boxes: Project, label_studio: Any) -> None:
    source = images(boxes.folder / "pictures", 3)
    report = boxes.ingest(source)
    assert (report.added, dict(report.rejected)) == (3, {"unreadable": 1})
    (row,) = [row for row in boxes.store.tasks(boxes.id) if "image_0-" in row.data["image"]]
    assert (row.meta["labelloop"]["width"], row.meta["labelloop"]["name"]) == (160, "image 0.png")
    address = f"{boxes.client.url}{row.data['image']}"
    served = httpx.get(address, headers={"Authorization": f"Token {label_studio.token}"})
    assert served.content == (source / "image 0.png").read_bytes()
    assert httpx.get(address).status_code == 401


def coco(folder: Path, n: int) -> Path:
    """A box on each of n images, and one of a class that the project has not."""
    boxes = [
        {"id": 2 * i + k + 1, "image_id": i + 1, "category_id": k + 1, "bbox": [16 * k, 12, 32, 24], "area": 768}
        for i in range(n)
        for k in range(2)
    ]
    content = {
        "images": [{"id": i + 1, "file_name": f"image {i}.png", "width": 160, "height": 120} for i in range(n)],
        "annotations": [{**box, "iscrowd": 0} for box in boxes],
        "categories": [{"id": 1, "name": "circle"}, {"id": 2, "name": "hexagon"}],
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["predictions", "annotations"])
def test_images_and_their_coco_boxes_come_in_together_and_once(boxes: Project, kind: Any) -> None:
    source = images(boxes.folder / "pictures", 12)
    labels = LabelOptions(coco(boxes.folder, 12), "coco", images=source, kind=kind)
    report = boxes.ingest(None, labels=labels)
    assert report.labels is not None and report.added == 12
    assert (report.labels.regions, report.labels.refused_regions) == (12, 12)
    again = boxes.ingest(None, labels=labels)
    assert again.labels is not None and (again.added, again.present, again.labels.sent) == (0, 12, 0)
    rows = boxes.client.tasks_by_id(boxes.id, [row.task_id for row in boxes.store.tasks(boxes.id)])
    if kind == "annotations":
        assert [len(row.annotations) for row in rows] == [1] * 12
        assert all(row.annotations[0].import_id is not None and row.annotations[0].result for row in rows)
        assert not any(row.annotations[0].ground_truth for row in rows)
    else:
        shown = sum(row.role == "pool" for row in boxes.store.tasks(boxes.id))
        assert boxes.client.model_versions(boxes.id) == {"import-boxes": shown}
        assert report.labels.withheld == 12 - shown


class Dropping(httpx.HTTPTransport):
    """A Label Studio whose SQLite is locked: it makes the tasks of an import and loses what comes with them, once."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/import") and not self.dropped:
            rows = json.loads(request.content)
            self.dropped = sum(len(row.get("annotations", [])) + len(row.get("predictions", [])) for row in rows)
            kept = [{key: row[key] for key in ("data", "meta")} for row in rows]
            headers = {key: value for key, value in request.headers.items() if key != "content-length"}
            request = httpx.Request("POST", request.url, headers=headers, json=kept)
        return super().handle_request(request)


def test_what_an_import_dropped_is_found_by_its_counts_and_sent_again(project: Project, label_studio: Any) -> None:
    transport = Dropping()
    region = {"id": "r", "from_name": "label", "to_name": "text", "type": "choices"}
    region["value"] = {"choices": [TEXTS.example_classes[0]]}  # type: ignore[assignment]
    rows = [
        {
            "data": {"text": f"text {n}"},
            "meta": {},
            "annotations": [{"id": 10 + n, "result": [region], "ground_truth": False}],
            "predictions": [{"model_version": "v1", "score": 0.5, "result": [region]}],
        }
        for n in range(5)
    ]
    resent: list[int] = []
    with LabelStudio(label_studio.url, label_studio.token, transport=transport) as dropping:
        ids = dropping.import_tasks(project.id, rows, resent=resent.append)
    assert (transport.dropped, resent) == (10, [10])
    found = project.client.tasks_by_id(project.id, ids)
    assert [[a.import_id for a in row.annotations] for row in found] == [[10 + n] for n in range(5)]
    assert {kind_of(a) for row in found for a in row.annotations} == {"import"}
    assert project.client.count_predictions(project.id, "v1") == 5
    counts = project.client.counts(project.id)
    assert (counts.annotations, counts.ground_truth, counts.predictions) == (5, 0, 5)
    whole = project.client.import_tasks(project.id, rows, resent=resent.append)
    assert resent == [10] and {
        kind_of(a) for row in project.client.tasks_by_id(project.id, whole) for a in row.annotations
    } == {"import"}
    # Said twice with one unique id, it is there once.
    again = {"id": 99, "result": [region], "unique_id": "00000000-0000-4000-8000-000000000001"}
    for _ in range(2):
        project.client.add_annotation(ids[0], again)
    assert len(project.client.tasks_by_id(project.id, ids[:1])[0].annotations) == 2
