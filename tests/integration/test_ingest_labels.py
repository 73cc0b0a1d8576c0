"""Pre-annotations: joined to their items or alone, as predictions or annotations, once each, whatever the server drops."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parent))
from ingest_site import BOXES, TEXTS, Site, ingest_site, lines, picture, texts, words

from labelloop.settings import Settings
from labelloop.store import Store
from labelloop.store.tables import outcomes
from sync.ingesting import IngestReport, LabelOptions
from sync.promotion import begun_cold_start, plan_cold_start, run_promotion
from sync.runtime import Runtime

pytestmark = pytest.mark.integration


@pytest.fixture
def boxes(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, BOXES) as made:
        yield made


@pytest.fixture
def notes(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, TEXTS) as made:
        yield made


def pictures(site: Site, count: int) -> Path:
    folder = site.folder / "pics"
    for n in range(count):
        picture(folder / f"{n}.png", n)
    return folder


def coco(site: Site, count: int, classes: tuple[str, ...] = ("circle",), name: str = "boxes") -> Path:
    """A box of each class on each of the images 0.png to (count - 1).png."""
    names = [*enumerate(classes, 1)]
    annotations = [
        {"image_id": n + 1, "category_id": k, "bbox": [8 * k, 6, 16, 12], "area": 192, "iscrowd": 0}
        for n in range(count)
        for k, _ in names
    ]
    content = {
        "images": [{"id": n + 1, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(count)],
        "annotations": [{"id": i, **row} for i, row in enumerate(annotations, 1)],
        "categories": [{"id": k, "name": each} for k, each in names],
    }
    path = site.folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def pool(site: Site) -> set[int]:
    return {row.task_id for row in site.store.tasks(1) if row.role == "pool"}


def said(site: Site, version: str) -> dict[int, Any]:
    """What the store keeps of an import, by task."""
    c = outcomes.c
    query = select(c.task_id, c.status, c.result).where(c.model_version == version)
    with site.store.read() as connection:
        return {task_id: (status, result) for task_id, status, result in connection.execute(query)}


def test_images_and_their_boxes_come_in_together(boxes: Site) -> None:
    folder = pictures(boxes, 40)
    report = boxes.ingest(None, labels=LabelOptions(coco(boxes, 41), "coco", images=folder))
    assert (report.added, report.rejected) == (40, {"not_found": 1})
    held = boxes.remote.of_version("import-boxes")
    assert held.keys() == pool(boxes) and all(len(rows) == 1 for rows in held.values())
    (region,) = next(iter(held.values()))[0]
    assert (region["type"], region["value"]["x"], region["original_width"]) == ("rectanglelabels", 12.5, 64)
    # What a holdout task must not show is kept for measuring.
    assert len(said(boxes, "import-boxes")) == 40
    assert report.labels is not None
    assert (report.labels.sent, report.labels.withheld) == (len(pool(boxes)), 40 - len(pool(boxes)))
    again = boxes.ingest(None, labels=LabelOptions(coco(boxes, 41), "coco", images=folder))
    assert again.labels is not None and (again.added, again.labels.sent) == (0, 0)
    assert again.labels.present == len(pool(boxes)) == len(boxes.remote.predictions)


def test_the_items_of_a_source_take_their_labels_by_file_name(boxes: Site) -> None:
    folder = pictures(boxes, 6)
    report = boxes.ingest(folder, labels=LabelOptions(coco(boxes, 8), "coco", kind="annotations"))
    assert (report.added, report.rejected) == (6, {"fits_no_task": 2})
    assert len(boxes.remote.annotations) == 6
    more = boxes.folder / "more"
    for n in (6, 7, 20):
        picture(more / f"{n}.png", n)
    report = boxes.ingest(more, labels=LabelOptions(coco(boxes, 8), "coco", kind="annotations"))
    assert report.labels is not None and (report.added, report.labels.sent, report.labels.present) == (3, 2, 6)
    assert len(boxes.remote.annotations) == 8


def test_labels_alone_find_the_tasks_that_are_there(boxes: Site) -> None:
    boxes.ingest(pictures(boxes, 30))
    report = boxes.ingest(None, labels=LabelOptions(coco(boxes, 31), "coco"))
    assert (report.added, report.present) == (0, 30) and report.rejected == {"not_found": 1}
    assert boxes.remote.of_version("import-boxes").keys() == pool(boxes)
    boxes.agree()


def test_regions_that_do_not_fit_are_told_and_the_others_come_in(boxes: Site) -> None:
    folder = pictures(boxes, 20)
    path = coco(boxes, 20, ("circle", "hexagon"))
    report = boxes.ingest(None, labels=LabelOptions(path, "coco", images=folder, kind="annotations"))
    assert report.labels is not None
    assert (report.added, report.labels.regions, report.labels.refused_regions) == (20, 20, 20)
    assert "hexagon" in lines(report.rejects)[0]["detail"] and report.rejected.total() == 20
    assert all(len(row["result"]) == 1 for row in boxes.remote.annotations)
    only = coco(boxes, 20, ("hexagon",), "none")
    report = boxes.ingest(None, labels=LabelOptions(only, "coco", images=folder, kind="annotations"))
    # Nothing of it fits: that is no annotation that says that nothing is there.
    assert report.labels is not None and report.labels.sent == 0 and len(boxes.remote.annotations) == 20


@pytest.mark.parametrize("kind", ["predictions", "annotations"])
def test_nothing_is_there_is_a_label_too(boxes: Site, kind: Any) -> None:
    folder = pictures(boxes, 20)
    path = coco(boxes, 20)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    boxes.ingest(None, labels=LabelOptions(path, "coco", images=folder, kind=kind))
    rows = boxes.remote.annotations if kind == "annotations" else boxes.remote.predictions
    assert [row["result"] for row in rows] == [[]] * (20 if kind == "annotations" else len(pool(boxes)))


# -- what Label Studio drops ------------------------------------------------------------------------------------------


def test_annotations_that_an_import_dropped_are_sent_again_as_imported_ones(boxes: Site) -> None:
    boxes.remote.drops = {"annotations"}
    folder = pictures(boxes, 12)
    report = boxes.ingest(None, labels=LabelOptions(coco(boxes, 12), "coco", images=folder, kind="annotations"))
    assert report.labels is not None and (report.labels.sent, report.labels.resent) == (12, 12)
    found = {row["task"]: row["import_id"] for row in boxes.remote.annotations}
    assert found.keys() == boxes.remote.tasks.keys() and None not in found.values()
    assert len(boxes.remote.annotations) == 12
    again = boxes.ingest(None, labels=LabelOptions(coco(boxes, 12), "coco", images=folder, kind="annotations"))
    assert again.labels is not None and (again.labels.sent, again.labels.present) == (0, 12)


def test_predictions_that_a_push_dropped_are_sent_again_and_one_that_never_fits_is_told(boxes: Site) -> None:
    folder = pictures(boxes, 30)
    lost: set[int] = set()
    hopeless: list[int] = []

    def refuses(row: dict[str, Any]) -> bool:
        """Every third row the first time, and the first one always while it has regions."""
        hopeless.extend([] if hopeless else [row["task"]])
        first = row["task"] % 3 == 0 and row["task"] not in lost
        lost.add(row["task"])
        return first or (row["task"] == hopeless[0] and bool(row["result"]))

    boxes.remote.refuses = refuses
    report = boxes.ingest(None, labels=LabelOptions(coco(boxes, 30), "coco", images=folder))
    held = boxes.remote.of_version("import-boxes")
    assert held.keys() == pool(boxes) and all(len(rows) == 1 for rows in held.values())
    assert report.labels is not None and report.labels.resent > 0 and report.rejected == {"does_not_fit": 1}
    assert [task for task, rows in held.items() if rows == [[]]] == hopeless


def test_another_name_is_another_import_and_a_changed_one_is_told(boxes: Site) -> None:
    folder = pictures(boxes, 20)

    def bring(path: Path, **options: Any) -> IngestReport:
        return boxes.ingest(None, labels=LabelOptions(path, "coco", images=folder, **options))

    circles, squares = coco(boxes, 20), coco(boxes, 20, ("square",), "squares")
    bring(circles, kind="annotations")
    report = bring(squares, kind="annotations", name="boxes")
    assert report.rejected == {"annotation_differs": 20} and len(boxes.remote.annotations) == 20
    bring(squares, kind="annotations", name="second look")
    assert len(boxes.remote.annotations) == 40
    bring(circles)
    before = boxes.remote.of_version("import-boxes")
    bring(squares, name="boxes")
    after = boxes.remote.of_version("import-boxes")  # predictions are brought up to date
    assert before.keys() == after.keys() and len(after) == len(boxes.remote.predictions)
    assert all(before[task] != after[task] for task in before)


# -- texts ------------------------------------------------------------------------------------------------------------


def test_spans_stay_on_their_words_when_the_text_gets_its_normal_form(notes: Site) -> None:
    rows = [f"Rene\u0301 B-PER\nlives O\nin O\nBonn B-LOC\n{word} O\n" for word in words(3, 30).split()]
    path = notes.folder / "people.conll"
    path.write_text("\n".join(rows))
    report = notes.ingest(None, labels=LabelOptions(path, "conll", kind="annotations"))
    assert (report.added, report.changed_texts["nfc"]) == (len(set(rows)), len(set(rows)))
    for row in notes.remote.annotations:
        text = notes.remote.tasks[row["task"]]["data"]["text"]
        spans = [text[r["value"]["start"] : r["value"]["end"]] for r in row["result"]]
        assert spans == ["René", "Bonn"] == [r["value"]["text"] for r in row["result"]]


def test_labels_of_texts_join_a_source_by_the_text(notes: Site) -> None:
    source = texts(notes.folder / "a.jsonl", [{"text": words(n) + "\r\n", "n": n} for n in range(30)])
    table = notes.folder / "topics.csv"
    table.write_text("text,label\n" + "".join(f'"{words(n)}\n",sea\n' for n in range(5, 35)))
    report = notes.ingest(source, labels=LabelOptions(table, "csv", kind="annotations"))
    assert report.labels is not None
    assert (report.added, report.labels.items, report.labels.sent) == (30, 25, 25)
    assert report.rejected == {"fits_no_task": 5}  # the source says what comes in
    assert all("n" in task["data"] for task in notes.remote.tasks.values())
    later = notes.ingest(None, labels=LabelOptions(table, "csv", kind="annotations"))
    assert later.labels is not None and (later.added, later.present, later.labels.sent) == (5, 25, 5)


# -- what people see --------------------------------------------------------------------------------------------------


def runtime_of(site: Site) -> Runtime:
    services = Settings().services.model_copy(update={"data": site.folder})
    runtime = Runtime(Settings(services=services))
    runtime.__dict__.update(client=site.client, store=site.store)
    return runtime


def test_imported_predictions_are_shown_until_a_model_is_served(boxes: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelloop.queueing.Queue.report", lambda *_: None)
    runtime = runtime_of(boxes)
    project = boxes.store.project(1)
    assert project is not None
    boxes.ingest(pictures(boxes, 30))
    first = plan_cold_start(runtime, project)
    assert first is not None and begun_cold_start(boxes.store, 1) == first and run_promotion(runtime, first)
    assert boxes.remote.model_version == "b-p1-v0-r1" and begun_cold_start(boxes.store, 1) is None
    boxes.ingest(None, labels=LabelOptions(coco(boxes, 30), "coco"))
    second = plan_cold_start(runtime, project, "import-boxes")
    assert second == "import-boxes-r1" and run_promotion(runtime, second)
    assert boxes.remote.model_version == "import-boxes-r1"
    shown = boxes.remote.of_version("import-boxes-r1")
    assert {task for task, rows in shown.items() if rows != [[]]} == pool(boxes)
    assert shown.keys() == boxes.remote.tasks.keys()
    assert plan_cold_start(runtime, project, "import-boxes") is None and plan_cold_start(runtime, project) is None
