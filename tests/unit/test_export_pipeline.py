"""The pipeline that all formats share: parts, processes, provenance, manifest, and folders that are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import polars as pl
import pytest
from PIL import Image

from labelloop.errors import DataError, MediaError, UsageError
from sync.formats import exporting
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.format import ClassName, small_file
from sync.formats.media import copy_upright, folder_fetch
from sync.formats.parts import PartRunner
from sync.formats.publishing import move_export, staging_folder, upload, whole_folder
from sync.formats.registry import load_format
from sync.formats.report import ExportReport
from sync.formats.sources import ExportSource, open_export

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/export.schema.json").read_text())
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="zebra"/><Label value="ant"/></RectangleLabels>'
    '<Choices name="quality" toName="image"><Choice value="blurry"/></Choices></View>'
)


def box(x: float, label: str = "ant", **over: Any) -> dict[str, Any]:
    value = {"x": x, "y": 10, "width": 10, "height": 10, "rotation": 0, "rectanglelabels": [label]}
    return {
        "id": f"r{x}", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value,
        "original_width": 200, "original_height": 100, "origin": "manual",
    } | over  # fmt: skip


def task(number: int, *regions: dict[str, Any], **over: Any) -> dict[str, Any]:
    made = {"id": number, "completed_by": 3, "result": list(regions), "updated_at": "2026-01-01T00:00:00Z"}
    data = {"image": f"/data/local-files/?d=a/{number}.png"}
    return {"id": number, "data": data, "annotations": [made | over]}


def source_of(folder: Path, tasks: Iterable[dict[str, Any]]) -> ExportSource:
    (folder / "export.json").write_bytes(orjson.dumps(list(tasks)))
    (folder / "config.xml").write_text(CONFIG)
    return open_export(folder / "export.json", folder / "config.xml", "latest")


def exported(folder: Path, tasks: Iterable[dict[str, Any]], out: str = "out", **options: Any) -> ExportReport:
    report = export_dataset(source_of(folder, tasks), "coco", folder / out, **options)
    jsonschema.validate(report.to_json(), SCHEMA)
    return report


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_number_of_processes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartRunner, "SMALL", 0)
    sized = {"meta": {"labelloop": {"width": 200, "height": 100}}}
    tasks = [task(i, *[box(x, "ant" if i % 3 else "zebra") for x in range(i % 5)]) | sized for i in range(1, 2301)]
    one = exported(tmp_path, tasks, "one", workers=1)
    two = exported(tmp_path, tasks, "two", workers=2)
    assert (one.items, one.objects) == (2300, sum(i % 5 for i in range(1, 2301)))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert replace(one, path="", manifest="") == replace(two, path="", manifest="")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.xml", "export.json", "one", "two"]


#: An export by two processes, in a process that has started no thread (numpy is one that does); kills one if told to.
ALONE = """
import importlib, os, signal, sys
from pathlib import Path
from sync.formats import parts
from sync.formats.exporting import export_dataset
from sync.formats.sources import open_export
parts.PartRunner.SMALL = 0
folder, threads, kill = Path(sys.argv[1]), sys.argv[2] == "threads", sys.argv[3] == "kill"
if threads:
    import polars
assert parts._start_method() == ("spawn" if threads or sys.platform != "linux" else "fork")
def dying(job):
    os.kill(os.getpid(), signal.SIGKILL)
if kill:
    parts.write_part = dying
if __name__ == "__main__":
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    export_dataset(source, "coco", folder / "alone", workers=2)
"""


@pytest.mark.parametrize("threads", ["threads", "none"])
def test_processes_start_by_a_fork_where_that_is_safe(tmp_path: Path, threads: str) -> None:
    exported(tmp_path, [task(i, box(i % 50)) for i in range(1, 2301)], "one", workers=1)
    (tmp_path / "alone.py").write_text(ALONE)
    subprocess.run([sys.executable, str(tmp_path / "alone.py"), str(tmp_path), threads, "no"], check=True, timeout=120)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "alone")


@pytest.mark.skipif(sys.platform != "linux", reason="processes start by a fork on Linux only")
def test_a_killed_process_is_told(tmp_path: Path) -> None:
    source_of(tmp_path, [task(i, box(1)) for i in range(1, 2301)])
    (tmp_path / "alone.py").write_text(ALONE)
    command = [sys.executable, str(tmp_path / "alone.py"), str(tmp_path), "none", "kill"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode != 0 and "ServiceError: a process of the export was killed" in ran.stderr
    assert not (tmp_path / "alone").exists()


def test_provenance_names_each_object_of_the_files(tmp_path: Path) -> None:
    regions = [
        box(1),
        box(20, origin="prediction", score=0.75),
        box(40, origin="prediction-changed", score=0.75),
        box(60, "zebra"),
    ]
    shown = {"id": 8, "model_version": "yolo-p1-v2-r1", "result": [box(20)]}
    rules = {"id": 9, "model_version": "rules-p1-v1-r1", "result": [box(20)]}
    tasks = [
        task(1, *regions, prediction=shown, ground_truth=True),
        task(2, box(5, origin="prediction"), prediction=rules),
    ]
    report = exported(tmp_path, tasks, options=ExportOptions(train_share=1.0))
    table = pl.read_parquet(tmp_path / "out" / "provenance.parquet")
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert table["object"].to_list() == [row["id"] for row in content["annotations"]] == [1, 2, 3, 4, 5]
    assert table["class_id"].to_list() == [row["category_id"] for row in content["annotations"]]
    assert table["source"].to_list() == ["person", "model", "person", "person", "rule"]
    assert table["confidence"].to_list() == [None, 0.75, None, None, None]
    assert table["version"].to_list() == ["yolo-p1-v2-r1"] * 4 + ["rules-p1-v1-r1"]
    assert table["annotator"].to_list() == [3] * 5
    assert table["ground_truth"].to_list() == [True] * 4 + [False]
    assert set(table["dataset_id"]) == {report.dataset_id} and set(table["policy"]) == {"latest"}
    assert b'"score"' not in (tmp_path / "out/annotations/instances_train.json").read_bytes()


def test_objects_are_numbered_on_from_part_to_part_in_each_file(tmp_path: Path) -> None:
    exported(tmp_path, [task(i, box(1), box(30)) for i in range(1, 2301)])
    table = pl.read_parquet(tmp_path / "out" / "provenance.parquet")
    for file, rows in table.group_by("file"):
        assert rows["object"].sort().to_list() == list(range(1, len(rows) + 1)), file


def test_the_manifest_says_what_was_written(tmp_path: Path) -> None:
    choice = {
        "id": "c",
        "from_name": "quality",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["blurry"]},
    }
    report = exported(tmp_path, [task(1, box(1), choice), {"id": 2, "data": {}, "annotations": []}])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["items"], manifest["objects"], manifest["dataset_id"]) == (1, 1, report.dataset_id)
    assert manifest["declared_losses"] == list(report.declared_losses)
    assert manifest["left_out"] == {"nobody labelled it": 1}
    assert manifest["n_skipped"] == 1 and manifest["skipped"][0]["reason"].startswith("region c: ")
    (line,) = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line) == manifest["skipped"][0]
    assert all((tmp_path / "out" / name).is_file() for name in manifest["files"])


def test_classes_keep_their_ids(tmp_path: Path) -> None:
    classes = [ClassName("box", 0, "zebra"), ClassName("box", 1, "gone", retired=True), ClassName("box", 2, "ant")]
    exported(tmp_path, [task(1, box(1))], options=ExportOptions(train_share=1.0), classes=classes)
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "zebra"), (2, "gone"), (3, "ant")]
    assert content["annotations"][0]["category_id"] == 3


def test_two_tasks_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two tasks have the id 7"):
        exported(tmp_path, [task(7, box(1)), task(8, box(1)), task(7, box(1))])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("images", [False, True])
def test_images_that_claim_one_name_are_told_apart_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: bool
) -> None:
    monkeypatch.setattr(PartRunner, "SMALL", 0)
    tasks = [task(i, box(1)) for i in range(1, 2301)]
    for number, name in ((3, "sub/x.png"), (2100, "sub/X.jpg"), (5, "y.png"), (7, "z.png"), (8, "z.png")):
        tasks[number - 1]["data"] = {"image": f"https://host/{name}"}
    # Labels may come: what nobody has labelled yet claims its name too.
    tasks.append({"id": 2301, "data": {"image": "https://host/y.png"}, "annotations": []})
    source = source_of(tmp_path, tasks)
    Image.new("RGB", (200, 100)).save(tmp_path / "image.png")
    report = export_dataset(
        source, "voc", tmp_path / "out", options=ExportOptions(images=images, train_share=1.0),
        fetch=lambda address: tmp_path / "image.png", workers=2,
    )  # fmt: skip
    assert (report.items, report.objects) == (2300, 2300)
    out = tmp_path / "out"
    found = {str(p.relative_to(out / "Annotations"))[:-4] for p in (out / "Annotations").rglob("*.xml")}
    marked = {"sub/x-3", "sub/X-2100", "y-5", "z-7", "z-8"}
    assert found == {f"a/{i}" for i in range(1, 2301) if i not in (3, 5, 7, 8, 2100)} | marked
    assert set((out / "ImageSets/Main/train.txt").read_text().split()) == found
    assert pl.read_parquet(out / "provenance.parquet").height == 2300
    assert sum(1 for p in (out / "JPEGImages").rglob("*.*")) == (2300 if images else 0)


def test_an_earlier_export_is_replaced_and_foreign_files_are_not(tmp_path: Path) -> None:
    exported(tmp_path, [task(1, box(1)), task(2, box(1))])
    exported(tmp_path, [task(1, box(1))])
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["items"] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="no export wrote"):
        exported(tmp_path, [task(1, box(1))], "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_count_that_does_not_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(load_format("coco"), count=lambda plan, folder: (1, 0))
    monkeypatch.setattr(exporting, "load_format", lambda name: wrong)
    with pytest.raises(DataError, match="read back 1 with 0"):
        exported(tmp_path, [task(1, box(1))])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.xml", "export.json"]


def test_unknown_formats_and_tasks_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, [task(1, box(1))])
    with pytest.raises(UsageError, match="expected one of"):
        export_dataset(source, "yaml", tmp_path / "out")
    with pytest.raises(UsageError, match="got 'ner'"):
        export_dataset(source, "coco", tmp_path / "out", options=ExportOptions(task="ner"))


# -- images -----------------------------------------------------------------------------------------------------------


def picture(path: Path, size: tuple[int, int], orientation: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size, (200, 30, 30)).save(path, exif=exif)


def test_sizes_that_no_label_carries_are_read_from_the_files_in_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PartRunner, "SMALL", 0)
    picture(tmp_path / "pictures/a/1.jpg", (40, 30), orientation=6)
    tasks = [
        task(1) | {"data": {"image": "/data/local-files/?d=a/1.jpg"}},
        task(2),
        *(task(i, box(1)) for i in range(3, 1500)),
    ]
    fetch = folder_fetch(tmp_path / "pictures")
    for workers in (1, 2):
        report = exported(tmp_path, tasks, fetch=fetch, workers=workers, options=ExportOptions(train_share=1.0))
        content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
        assert content["images"][0]["id"] == 1
        assert (content["images"][0]["width"], content["images"][0]["height"]) == (30, 40)
        assert report.items == 1499 and report.n_skipped == 1
        assert "no file '2.png'" in report.skipped[0][1]


def test_images_are_copied_upright_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "pictures/1.jpg", (40, 20), orientation=6)
    picture(tmp_path / "pictures/2.png", (40, 20))
    tasks = [
        task(i, box(1)) | {"data": {"image": f"/d/{name}"}} for i, name in ((1, "1.jpg"), (2, "2.png"), (3, "no.png"))
    ]
    options = ExportOptions(train_share=1.0, images=True)
    report = exported(tmp_path, tasks, fetch=folder_fetch(tmp_path / "pictures"), options=options)
    with Image.open(tmp_path / "out/images/train/d/1.jpg") as image:
        assert image.size == (20, 40) and image.getexif().get(0x0112, 1) == 1
    assert (tmp_path / "out/images/train/d/2.png").read_bytes() == (tmp_path / "pictures/2.png").read_bytes()
    assert [(task_id, "not copied" in reason) for task_id, reason in report.skipped] == [(3, True)]
    # The file's own size counts, not that of the copy that was labelled.
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [(i["width"], i["height"]) for i in content["images"]] == [(20, 40), (40, 20), (200, 100)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_way_an_image_may_be_turned_is_turned_back(orientation: int, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (6, 4), orientation)
    assert copy_upright(tmp_path / "a.png", tmp_path / "deep" / "b.png") == (orientation != 1)
    with Image.open(tmp_path / "deep" / "b.png") as image:
        assert image.size == ((4, 6) if orientation > 4 else (6, 4))


def test_a_folder_gives_files_by_their_path_or_its_end(tmp_path: Path) -> None:
    for name in ("ds/a.png", "b.png"):
        picture(tmp_path / name, (1, 1))
    fetch = folder_fetch(tmp_path)
    assert fetch("/data/local-files/?d=ds/a.png") == tmp_path / "ds/a.png"
    assert fetch("s3://bucket/x/ds/a.png") == tmp_path / "ds/a.png"
    assert fetch("https://host/deep/b.png") == tmp_path / "b.png"
    with pytest.raises(MediaError, match=r"no file 'c\.png'"):
        fetch("/d/c.png")


# -- whole or not at all ----------------------------------------------------------------------------------------------


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def dead_process() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_is_put_right(tmp_path: Path) -> None:
    dead = dead_process()
    (tmp_path / f".out.{dead}.part").mkdir()
    (tmp_path / f".out.{dead}.part" / "half").write_text("x")
    (tmp_path / f".out.{dead}.old").mkdir()
    (tmp_path / f".out.{dead}.old" / "manifest.json").write_text("{}")
    (tmp_path / f".out.{os.getppid()}.part").mkdir()  # of a process that works still
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out"):
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".out.{os.getppid()}.part", "out"]
    assert (tmp_path / "out" / "manifest.json").read_text() == "{}"


def test_a_staging_folder_goes_with_its_process(tmp_path: Path) -> None:
    (tmp_path / f".staging.{dead_process()}" / "export").mkdir(parents=True)
    (tmp_path / f".staging.{os.getppid()}").mkdir()
    with staging_folder(tmp_path) as folder:
        (folder / "x").touch()
        assert len(list(tmp_path.iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == [f".staging.{os.getppid()}"]


def test_a_finished_export_takes_the_place_of_an_earlier_one_only(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(name)
    move_export(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "manifest.json").read_text() == "new"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DataError, match="no export wrote"):
        move_export(tmp_path / "old", tmp_path / "mine")


def test_an_upload_ends_with_its_manifest_and_replaces_exports_only(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    exported(tmp_path, [task(1, box(1)), task(2, box(1))], options=ExportOptions(train_share=0.5))
    upload(tmp_path / "out", "memory://bucket/set")
    first = memory.find("/bucket/set")
    assert "/bucket/set/manifest.json" in first and "/bucket/set/provenance.parquet" in first
    exported(tmp_path, [task(1, box(1))], options=ExportOptions(train_share=1.0))
    upload(tmp_path / "out", "memory://bucket/set")
    there = {name.removeprefix("/bucket/set/") for name in memory.find("/bucket/set")}
    assert there == set(files_of(tmp_path / "out"))
    memory.pipe_file("/bucket/mine/thesis.txt", b"precious")
    with pytest.raises(DataError, match="no finished export wrote"):
        upload(tmp_path / "out", "memory://bucket/mine")
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 200_000])
def test_a_small_file_is_read_whole_even_where_it_is_not_small(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(251)) * (size // 251) + b"x" * (size % 251))
    assert small_file(str(path)) == path.read_bytes()
