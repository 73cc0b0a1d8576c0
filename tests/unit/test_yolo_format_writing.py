"""YOLO files: rows, names of files, data.yaml, and what is told of everything that has no place in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import yaml
from PIL import Image

from labelloop.errors import DataError, UsageError
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.format import ClassName
from sync.formats.media import folder_fetch
from sync.formats.parts import PartRunner
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

SHAPES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="zebra" category="7"/><Label value="ant"/></RectangleLabels>'
    '<PolygonLabels name="polygon" toName="image"><Label value="yak"/><Label value="ant"/></PolygonLabels>'
    '<EllipseLabels name="ellipse" toName="image"><Label value="ant"/></EllipseLabels>'
    '<BrushLabels name="brush" toName="image"><Label value="ant"/></BrushLabels>'
    '<Choices name="quality" toName="image"><Choice value="blurry"/></Choices></View>'
)
Regions = Sequence[Mapping[str, Any]]


def region(control: str, kind: str, value: dict[str, Any], labels: list[str], number: int = 1, **more: Any) -> Any:
    return {
        "id": f"r{number}", "from_name": control, "to_name": "image", "type": kind, "value": value | {kind: labels},
        "original_width": 200, "original_height": 100,
    } | more  # fmt: skip


def box(x: Any, y: Any, w: Any, h: Any, *labels: str, rotation: float = 0, number: int = 1, **more: Any) -> Any:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation}
    return region("box", "rectanglelabels", value, list(labels or ("ant",)), number, **more)


def exported(folder: Path, results: Sequence[Regions | None], xml: str = SHAPES, **more: Any) -> ExportReport:
    """Tasks of these results (None: nobody labelled it), all in train; `names` are the images' addresses."""
    names = more.pop("names", [f"/data/local-files/?d=1/i{number}.jpg" for number in range(1, len(results) + 1)])
    given = {key: more.pop(key) for key in ("classes", "fetch", "workers") if key in more}
    tasks = [
        {"id": number, "data": {"image": name}, "annotations": [] if result is None else [label(number, result)]}
        for number, (name, result) in enumerate(zip(names, results, strict=True), start=1)
    ]
    (folder / "export.json").write_bytes(orjson.dumps(tasks))
    (folder / "config.xml").write_text(xml)
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    return export_dataset(source, "yolo", folder / "out", options=ExportOptions(**{"train_share": 1.0} | more), **given)


def label(number: int, result: Regions) -> dict[str, Any]:
    return {"id": number, "completed_by": 1, "result": list(result), "updated_at": "2026-01-01T00:00:00Z"}


def rows(folder: Path, name: str = "1/i1") -> list[list[float]]:
    text = (folder / "out" / "labels" / "train" / f"{name}.txt").read_text()
    assert not text or text.endswith("\n")
    return [[float(cell) for cell in line.split()] for line in text.splitlines()]


def reasons(report: ExportReport) -> list[str]:
    return [reason for _, reason in report.skipped]


def test_boxes_are_centre_and_size_in_the_order_of_the_config(tmp_path: Path) -> None:
    report = exported(tmp_path, [[box(10, 20, 30, 40, "zebra"), box(50, 0, 10, 10, "ant", number=2)]], task="detect")
    text = (tmp_path / "out/labels/train/1/i1.txt").read_text()
    assert text == "0 0.25000000 0.40000000 0.30000000 0.40000000\n1 0.55000000 0.05000000 0.10000000 0.10000000\n"
    assert (report.items, report.objects, report.n_skipped) == (1, 2, 0)
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert data["names"] == {0: "zebra", 1: "ant", 2: "yak"} and data["nc"] == 3 and "path" not in data


def test_a_turned_box_is_turned_in_pixels(tmp_path: Path) -> None:
    exported(tmp_path, [[box(50, 50, 20, 20, rotation=90)]], task="detect")
    assert rows(tmp_path) == [pytest.approx([1, 0.45, 0.7, 0.1, 0.4], abs=1e-8)]
    exported(tmp_path, [[box(50, 50, 20, 20, rotation=90)]], task="obb")
    assert rows(tmp_path) == [pytest.approx([1, 0.5, 0.5, 0.5, 0.9, 0.4, 0.9, 0.4, 0.5], abs=1e-8)]


def test_boxes_are_cut_at_the_edge_and_none_is_left_without_area(tmp_path: Path) -> None:
    found = [box(-10, 90, 30, 20), box(120, 0, 10, 10, number=2), box(5, 5, 0, 10, number=3)]
    report = exported(tmp_path, [found], task="detect")
    assert rows(tmp_path) == [pytest.approx([1, 0.1, 0.95, 0.2, 0.1])]
    assert reasons(report) == [f"region r{number}: nothing of it is on the image" for number in (2, 3)]


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_broken_regions_are_named_and_nothing_else_is_lost(task: str, tmp_path: Path) -> None:
    points = {"points": [[10, 10], [None, 20], [30, 30]]}
    found = [
        box(None, 0, 10, 10),
        box("left", 0, 10, 10, number=2),
        box(0, 0, [10], 10, number=3),
        {"id": "r4", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": [1]},
        {"id": "r5", "from_name": ["box"], "type": "rectanglelabels"},
        region("polygon", "polygonlabels", points, ["yak"], 6),
        region("polygon", "polygonlabels", {"points": [[0, 0], [1, 1]]}, ["yak"], 7),
        region("brush", "brushlabels", {"format": "rle", "rle": [1, 2, 3]}, ["ant"], 8),
        region("ellipse", "ellipselabels", {"x": 5, "y": 5, "radiusX": 2}, ["ant"], 9),
        box(1, 1, 5, 5, "ghost", number=10),
        {**box(1, 1, 5, 5, number=11), "value": {"x": 1, "y": 1, "width": 5, "height": 5}},
        region("quality", "choices", {}, ["blurry"], 12),
        box(20, 20, 30, 30, number=13),
    ]  # fmt: skip
    report = exported(tmp_path, [found], task=task)
    assert (report.items, report.objects) == (1, 1)
    assert [reason.split(":")[0] for reason in reasons(report)] == [f"region r{number}" for number in range(1, 13)]
    assert len(rows(tmp_path)) == 1


def test_negatives_are_empty_files_and_what_nobody_labelled_has_none(tmp_path: Path) -> None:
    report = exported(tmp_path, [[box(0, 0, 10, 10)], [], None], task="detect")
    assert (report.items, report.objects) == (2, 1)
    assert rows(tmp_path, "1/i2") == []
    assert sorted(p.name for p in (tmp_path / "out/labels").rglob("*.txt")) == ["i1.txt", "i2.txt"]
    assert (tmp_path / "out/train.txt").read_text() == "./images/train/1/i1.jpg\n./images/train/1/i2.jpg\n"


def test_images_of_one_name_keep_their_own_labels(tmp_path: Path) -> None:
    names = ["/data/local-files/?d=one/a.png", "/data/local-files/?d=two/a.png", "s3://b/c.png", "s3://b/c.jpg"]
    report = exported(tmp_path, [[box(x, 0, 10, 10)] for x in (0, 10, 20, 30)], names=names, task="detect")
    assert report.items == 4
    assert [rows(tmp_path, name)[0][1] for name in ("one/a", "two/a", "c-3", "c-4")] == [0.05, 0.15, 0.25, 0.35]


def test_several_labels_are_rows_and_equal_rows_are_one(tmp_path: Path) -> None:
    found = [box(0, 0, 10, 10, "zebra", "ant"), box(0, 0, 10, 10, "ant", number=2)]
    report = exported(tmp_path, [found], task="detect")
    assert [row[0] for row in rows(tmp_path)] == [0, 1]
    assert reasons(report) == ["region r2: another region has the same row"] and report.objects == 2
    kept = pl.read_parquet(tmp_path / "out/provenance.parquet")
    columns = kept.select("file", "object", "region_id", "label", "class_id").rows()
    file = "labels/train/1/i1.txt"
    assert columns == [(file, 1, "r1", "zebra", 0), (file, 2, "r1", "ant", 1)]


def test_the_kinds_of_rows_never_mix(tmp_path: Path) -> None:
    polygon = {"points": [[10, 10], [30, 20], [20, 50]]}
    ellipse = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 90}
    found = [
        box(10, 10, 20, 20),
        region("polygon", "polygonlabels", polygon, ["yak"], 2),
        region("ellipse", "ellipselabels", ellipse, ["ant"], 3),
    ]
    exported(tmp_path, [found], task="detect")
    assert rows(tmp_path)[1:] == [
        pytest.approx([2, 0.2, 0.3, 0.2, 0.4]), pytest.approx([1, 0.5, 0.5, 0.2, 0.4]),
    ]  # fmt: skip
    exported(tmp_path, [found], task="segment")
    assert [len(row) for row in rows(tmp_path)] == [9, 7, 145]
    assert rows(tmp_path)[0] == pytest.approx([1, 0.1, 0.1, 0.3, 0.1, 0.3, 0.3, 0.1, 0.3])
    exported(tmp_path, [found], task="obb")
    assert [len(row) for row in rows(tmp_path)] == [9, 9, 9]


def test_a_retired_class_keeps_its_place(tmp_path: Path) -> None:
    classes = [ClassName("box", 0, "gone", retired=True), ClassName("box", 1, "ant"), ClassName("box", 2, "zebra")]
    exported(tmp_path, [[box(0, 0, 10, 10, "zebra")]], task="detect", classes=classes)
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == {0: "gone", 1: "ant", 2: "zebra"}
    assert rows(tmp_path)[0][0] == 2


def test_only_what_is_turned_needs_the_size_of_the_image(tmp_path: Path) -> None:
    bare = {"original_width": None, "original_height": None}
    found = [box(0, 0, 10, 10, **bare), box(50, 50, 10, 10, rotation=45, number=2, **bare)]
    report = exported(tmp_path, [found], task="detect")
    assert report.objects == 1 and any("region r2: a turn counts in pixels" in reason for reason in reasons(report))
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "pictures" / "i1.jpg")
    report = exported(tmp_path, [found], task="detect", fetch=folder_fetch(tmp_path / "pictures"))
    assert (report.objects, report.n_skipped) == (2, 0)


def test_names_that_lead_trainers_astray_are_marked(tmp_path: Path) -> None:
    names = ["images/a.jpg", "images_/a.jpg", "x/Images/.b/c.jpg", ".d.jpg", "_.d.jpg", "my images/e.jpg", "images.jpg"]
    exported(tmp_path, [[] for _ in names], names=[f"/data/local-files/?d={name}" for name in names], task="detect")
    listed = (tmp_path / "out/train.txt").read_text().splitlines()
    assert [line.removeprefix("./images/train/") for line in listed] == [
        "images_/a.jpg", "images__/a.jpg", "x/Images_/_.b/c.jpg", "_.d.jpg", "__.d.jpg", "my images/e.jpg", "images.jpg",
    ]  # fmt: skip


def test_a_copy_without_a_suffix_gets_that_of_its_format(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name, format in (("one", "PNG"), ("two", "GIF"), ("three", "JPEG")):
        Image.new("RGB", (20, 10)).save(tmp_path / "pictures" / name, format=format)
    names = [f"/data/local-files/?d={name}" for name in ("one", "two", "three")]
    fetch = folder_fetch(tmp_path / "pictures")
    report = exported(tmp_path, [[], [], []], names=names, images=True, fetch=fetch, task="detect")
    assert sorted(p.name for p in (tmp_path / "out/images/train").iterdir()) == ["one.png", "three.jpg"]
    assert report.items == 2 and "trainers read no GIF images" in reasons(report)[0]
    report = exported(tmp_path, [[], [], []], names=names, task="detect")
    assert report.items == 0 and report.n_skipped == 3


def test_an_image_that_is_not_at_hand_keeps_its_labels(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    report = exported(
        tmp_path, [[box(0, 0, 10, 10)]], images=True, fetch=folder_fetch(tmp_path / "pictures"), task="detect"
    )
    assert report.items == 1 and "1/i1.jpg: image not copied (not_found" in reasons(report)[0]


def test_links_lead_to_rebased_paths(tmp_path: Path) -> None:
    names = ["/data/local-files/?d=a/i.jpg", "s3://bucket/j.jpg"]
    report = exported(tmp_path, [[], []], names=names, rebase=("/data/local-files/?d=", "/mnt/set/"), task="detect")
    link = tmp_path / "out/images/train/a/i.jpg"
    assert str(link.readlink()) == "/mnt/set/a/i.jpg"
    assert reasons(report) == [
        "s3://bucket/j.jpg: image not linked, its address does not begin with '/data/local-files/?d='"
    ]
    exported(tmp_path, [[]], names=names[:1], rebase=("/data/local-files/?d=", "../set/"), task="detect")
    assert str(link.readlink()) == "../../../../set/a/i.jpg"
    assert link.parent.joinpath(link.readlink()).resolve() == (tmp_path / "set/a/i.jpg").resolve()
    with pytest.raises(UsageError, match="expected a path"):
        exported(tmp_path, [[]], names=names[:1], rebase=("/data/", "https://host/"), task="detect")


def test_trainers_get_a_train_and_a_val(tmp_path: Path) -> None:
    exported(tmp_path, [[]], task="detect")
    text = (tmp_path / "out/data.yaml").read_text()
    data = yaml.safe_load(text)
    assert (data["train"], data["val"], "test" in data) == ("train.txt", "train.txt", False)
    assert "No image is in val, so val is train" in text
    exported(tmp_path, [[]], task="detect", test_share=1.0)
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert (data["train"], data["val"], data["test"]) == (None, "test.txt", "test.txt")


@pytest.mark.parametrize(
    ("controls", "task"),
    [
        (["RectangleLabels"], "detect"),
        (["RectangleLabels", "PolygonLabels"], "segment"),
        (["BrushLabels"], "segment"),
        (["RectangleLabels", "KeyPointLabels"], "pose"),
        (["KeyPointLabels"], "pose"),
        (["BrushLabels", 'KeyPointLabels smart="true"'], "segment"),
    ],
)
def test_the_config_tells_the_task(controls: list[str], task: str, tmp_path: Path) -> None:
    tags = "".join(
        f'<{tag} name="c{n}" toName="image"><Label value="a"/></{tag.split()[0]}>' for n, tag in enumerate(controls)
    )
    report = exported(tmp_path, [[]], f'<View><Image name="image" value="$image"/>{tags}</View>')
    assert report.task == task


def test_refusals_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="YOLO pose needs <KeyPointLabels>"):
        exported(tmp_path, [[]], task="pose")
    with pytest.raises(UsageError, match="--images"):
        exported(tmp_path, [[]], task="classify")
    with pytest.raises(UsageError, match="knows the options"):
        exported(tmp_path, [[]], task="detect", values={"colour": "red"})
    texts = '<View><Text name="text" value="$text"/><Labels name="l" toName="text"><Label value="a"/></Labels></View>'
    with pytest.raises(DataError, match="YOLO needs"):
        exported(tmp_path, [[]], texts)


def test_images_go_into_the_folder_of_their_one_choice(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(1, 5):
        Image.new("RGB", (20, 10)).save(tmp_path / "pictures" / f"i{number}.jpg")
    xml = (
        '<View><Image name="image" value="$image"/><Choices name="kind" toName="image" choice="multiple">'
        '<Choice value="z"/><Choice value="a/b"/></Choices></View>'
    )
    results = [
        [region("kind", "choices", {}, ["a/b"])], [region("kind", "choices", {}, ["a/b", "z"])], [],
        [region("kind", "choices", {}, ["ghost"])],
    ]  # fmt: skip
    report = exported(tmp_path, results, xml, images=True, fetch=folder_fetch(tmp_path / "pictures"))
    assert (report.task, report.items, report.objects) == ("classify", 1, 1)
    assert (tmp_path / "out/train/a%2Fb/1/i1.jpg").is_file() and (tmp_path / "out/train/z").is_dir()
    assert reasons(report) == [
        "1/i2.jpg: it has the choices ['a/b', 'z']; a folder holds images of one",
        "1/i3.jpg: it has no choice, so no folder",
        "region r1: class 'ghost' is not in the label config",
    ]
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == {0: "z", 1: "a/b"}


def test_the_number_of_processes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartRunner, "SMALL", 0)
    results = [[box(x, 0, 10, 10, number=x) for x in range(number % 4)] for number in range(1200)]
    found = []
    for workers in (1, 2):
        report = exported(tmp_path, results, task="detect", workers=workers)
        assert (report.items, report.objects) == (1200, sum(number % 4 for number in range(1200)))
        out = tmp_path / "out"
        found.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()})
    assert found[0] == found[1] and len(found[0]) == 1204


def test_a_list_of_images_is_a_file_each(tmp_path: Path) -> None:
    xml = SHAPES.replace('value="$image"', 'valueList="$image"')
    names: Any = [["/a/p.jpg", "/a/q.jpg"]]
    found = [box(0, 0, 10, 10, item_index=1), box(0, 0, 10, 10, number=2, item_index=7)]
    report = exported(tmp_path, [found], xml, names=names, task="detect")
    assert (report.items, report.objects) == (2, 1)
    assert rows(tmp_path, "a/p") == [] and len(rows(tmp_path, "a/q")) == 1
    assert reasons(report) == ["region r2: YOLO has no place for rectanglelabels"]
