"""Pascal VOC files: whole pixels from 1, honest fields, names that never meet; read by globox and by VOC's own rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import globox
import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelloop.errors import DataError, UsageError
from sync.formats.media import folder_fetch
from sync.formats.report import ExportReport

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import BOXES, SHAPES, box, brush, config_of, exported, polygon, reasons, region, ringed, task_of


def voc_of(folder: Path, tasks: list[Any], config: str = BOXES, **more: Any) -> tuple[dict[str, Any], ExportReport]:
    """The root of each XML file by its path below Annotations."""
    out, report = exported(folder, "voc", tasks, config, **more)
    files = sorted((out / "Annotations").rglob("*.xml"))
    return {f.relative_to(out / "Annotations").as_posix(): ElementTree.parse(f).getroot() for f in files}, report  # noqa: S314


def objects_of(document: Any) -> list[tuple[Any, ...]]:
    """(name, xmin, ymin, xmax, ymax, truncated, difficult) of each object."""
    sides = [f"bndbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax")]
    numbers = [*sides, "truncated", "difficult"]
    return [
        (each.findtext("name"), *(int(each.findtext(path)) for path in numbers)) for each in document.iter("object")
    ]


def only_objects(folder: Path, result: list[dict[str, Any]], config: str = BOXES) -> list[tuple[Any, ...]]:
    (document,) = voc_of(folder, [result], config)[0].values()
    return objects_of(document)


def test_corners_are_whole_pixels_from_one_with_the_last_one_inside(tmp_path: Path) -> None:
    found = only_objects(
        tmp_path, [box(0, 0, 100, 100), box(10, 10, 5, 5), box(10.26, 10.3, 5.1, 5.1), box(10.1, 10.1, 0.1, 0.2)]
    )
    assert [each[1:5] for each in found] == [(1, 1, 200, 100), (21, 11, 30, 15), (21, 11, 31, 16), (21, 11, 21, 11)]
    assert [each[5:] for each in found] == [(0, 0)] * 4


def test_a_number_that_only_rounding_moved_is_the_whole_pixel_that_it_was(tmp_path: Path) -> None:
    third = box(100 / 3, 100 / 3, 100 / 3, 100 / 3, original_width=300, original_height=300)
    out, _ = exported(tmp_path, "voc", [task_of(1, [third], meta={})])
    document = ElementTree.parse(out / "Annotations" / "upload" / "1" / "i1.xml").getroot()  # noqa: S314
    assert objects_of(document)[0][1:5] == (101, 101, 200, 200)


def test_what_leaves_the_image_is_cut_and_truncated(tmp_path: Path) -> None:
    found, report = voc_of(
        tmp_path,
        [
            [
                box(-10, 95, 30, 10),
                box(95, -3, 20, 20),
                box(99.5, 0, 0.5000001, 9),
                box(120, 0, 9, 9),
                box(95, 50, 10, 10, rotation=45),
            ]
        ],
    )
    ((document,)) = found.values()
    assert [each[1:6] for each in objects_of(document)] == [
        (1, 96, 40, 100, 1), (191, 1, 200, 17, 1), (200, 1, 200, 9, 0), (183, 51, 200, 72, 1),
    ]  # fmt: skip
    assert reasons(report) == ["region r120: nothing of it is on the image"]


def test_other_shapes_are_the_boxes_around_them(tmp_path: Path) -> None:
    ellipse = region("EllipseLabels", "e", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 90})
    found, report = voc_of(
        tmp_path,
        [[box(50, 50, 20, 20, rotation=90), polygon([[40, 40], [60, 45], [50, 90]]), brush(ringed()), ellipse]],
        SHAPES,
    )
    ((document,)) = found.values()
    assert [each[1:5] for each in objects_of(document)[:3]] == [(81, 51, 100, 90), (81, 41, 120, 90), (31, 21, 60, 50)]
    assert objects_of(document)[3][1:5] == pytest.approx((91, 11, 110, 90), abs=1)
    assert any("polygons, ellipses and brushes" in loss for loss in report.declared_losses)
    assert any("turned boxes" in loss for loss in report.declared_losses)


def test_globox_reads_every_image_and_every_box(tmp_path: Path) -> None:
    results = [[box(x, x / 2, 12.5, 30, ["ant", "zebra"][i % 2]) for x in (1, 33.3, 70)] for i in range(5)]
    out, report = exported(tmp_path, "voc", [*results, []])
    read = globox.AnnotationSet.from_pascal_voc(folder=out / "Annotations" / "upload" / "1")
    assert (len(read), sum(len(each.boxes) for each in read)) == (report.items, report.objects) == (6, 15)
    (first,) = [each for each in read if each.image_id.endswith("i1.png")]
    assert first.image_size == (200, 100)
    assert next((b.label, b.xmin, b.ymin, b.xmax, b.ymax) for b in first.boxes) == ("ant", 3, 1, 27, 31)


def test_lists_and_labelmap_are_as_voc_has_them(tmp_path: Path) -> None:
    out, report = exported(tmp_path, "voc", [[box(1, 1, 9, 9)] for _ in range(40)], train_share=0.5, test_share=0.3)
    lists = {p.stem: p.read_text().splitlines() for p in (out / "ImageSets" / "Main").iterdir()}
    assert {name: len(names) for name, names in lists.items() if name != "trainval"} == report.splits
    assert sorted(lists["trainval"]) == sorted(lists["train"] + lists["val"])
    assert all((out / "Annotations" / f"{name}.xml").is_file() for names in lists.values() for name in names)
    assert (out / "labelmap.txt").read_text().splitlines() == [
        "# label:color_rgb:parts:actions", "background:0,0,0::", "zebra:128,0,0::", "ant:0,128,0::",
    ]  # fmt: skip


def test_copied_images_lie_where_the_files_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    Image.new("L", (40, 30)).save(tmp_path / "pictures" / "deep" / "i1.jpg", exif=exif)
    task = task_of(1, [box(0, 0, 50, 50)], {"image": "/data/local-files/?d=deep/i1.jpg"})
    found, _ = voc_of(tmp_path, [task], images=True, fetch=folder_fetch(tmp_path / "pictures"))
    document = found["deep/i1.xml"]
    place = tmp_path / "out-voc" / str(document.findtext("folder")) / str(document.findtext("filename"))
    assert place == tmp_path / "out-voc" / str(document.findtext("path"))
    with Image.open(place) as image:
        assert image.size == (int(document.findtext("size/width")), int(document.findtext("size/height"))) == (30, 40)
    assert document.findtext("size/depth") == "1"
    assert objects_of(document)[0][1:5] == (1, 1, 15, 20)


def test_the_fields_tell_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    task = task_of(7, [box(0, 0, 9, 9)], {"image": "s3://bucket/cats/a.jpg"})
    found, _ = voc_of(tmp_path, [task])
    document = found["cats/a.xml"]
    told = {path: document.findtext(path) for path in ("folder", "filename", "path", "segmented", "size/depth")}
    assert told == {"folder": "", "filename": "cats/a.jpg", "path": "cats/a.jpg", "segmented": "0", "size/depth": "3"}
    assert document.findtext("source/image") == "s3://bucket/cats/a.jpg"
    assert document.findtext("source/annotation") == "task 7, annotation 70"
    rebased, _ = voc_of(tmp_path, [task], rebase=("s3://bucket", "/mnt/b"))
    assert [rebased["cats/a.xml"].findtext(path) for path in ("folder", "filename", "path")] == [
        "/mnt/b/cats", "a.jpg", "/mnt/b/cats/a.jpg",
    ]  # fmt: skip


def test_one_base_name_in_two_folders_is_two_files(tmp_path: Path) -> None:
    places = ["a/x.png", "b/x.png", "b/x.jpg", "B/X.png", "c/y.png", "c/y.png", "plain"]
    tasks = [task_of(n, [box(n, 0, 9, 9)], {"image": f"/d/{place}"}) for n, place in enumerate(places, 1)]
    found, report = voc_of(tmp_path, tasks)
    assert len(found) == report.items == 7
    assert len({name.casefold() for name in found}) == 7
    assert sorted(each[1] for document in found.values() for each in objects_of(document)) == [3, 5, 7, 9, 11, 13, 15]


def test_negatives_have_a_file_without_objects(tmp_path: Path) -> None:
    found, report = voc_of(tmp_path, [[box(0, 0, 9, 9)], [], None])
    assert [len(objects_of(document)) for document in found.values()] == [1, 0]
    assert (report.items, report.objects) == (2, 1)


def test_texts_are_escaped_and_what_xml_forbids_is_replaced(tmp_path: Path) -> None:
    config = BOXES.replace('"ant"', '"a &amp; &lt;b&gt;: &quot;é&quot;"')
    label = 'a & <b>: "é"'
    task = task_of(1, [box(0, 0, 9, 9, label, id='r"<&1')], {"image": "/d/<i>&'\u0001\u0002.png"})
    found, report = voc_of(tmp_path, [task], config)
    ((document,)) = found.values()
    assert document.findtext("object/name") == label
    assert document.find("object/labelloop").get("region") == 'r"<&1'
    assert document.findtext("filename") == "d/<i>&'\ufffd\ufffd.png"
    assert "a &" not in (tmp_path / "out-voc" / "labelmap.txt").read_text()
    assert any("colon" in loss for loss in report.declared_losses)


def test_a_name_that_no_list_can_hold_is_named(tmp_path: Path) -> None:
    found, report = voc_of(tmp_path, [[box(0, 0, 9, 9)], task_of(2, [box(0, 0, 9, 9)], {"image": "/d/a%0Ab.png"})])
    assert len(found) == 1
    assert "line breaks" in reasons(report)[0]


def test_a_choice_about_a_region_makes_it_difficult(tmp_path: Path) -> None:
    config = config_of(
        "RectangleLabels",
        more='<Choices name="f" toName="image" perRegion="true"><Choice value="Difficult"/></Choices>',
    )
    mark = {"id": "r1", "from_name": "f", "to_name": "image", "type": "choices", "value": {"choices": ["Difficult"]}}
    assert [each[6] for each in only_objects(tmp_path, [box(1, 1, 9, 9), mark, box(2, 2, 9, 9)], config)] == [1, 0]


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    choice = region("Choices", "c", {"choices": ["x"]}) | {"from_name": "quality", "type": "choices"}
    broken = box(1, 0, 9, 9) | {"id": "none", "value": None}
    tie = {"type": "relation", "from_id": "r0", "to_id": "none"}
    empty = brush(np.zeros((100, 200), dtype=bool), id="empty")
    regions = [
        box(0, 0, 9, 9, ["ant", "zebra"]),
        choice,
        broken,
        box(9, 0, 9, 9, "ghost"),
        box(8, 0, 9, 9, []),
        tie,
        empty,
    ]
    found, report = voc_of(tmp_path, [regions], SHAPES)
    ((document,)) = found.values()
    assert [each[0] for each in objects_of(document)] == ["ant", "zebra"]
    assert sorted(reason.split(":")[0] for reason in reasons(report)) == [
        "region c", "region empty", "region none", "region r0 -> none", "region r8", "region r9",
    ]  # fmt: skip


def test_each_object_has_its_place_in_the_provenance(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "voc", [[box(1, 1, 9, 9), box(2, 2, 9, 9, ["zebra", "ant"])], [box(3, 3, 9, 9)]])
    rows = pl.read_parquet(out / "provenance.parquet").select("file", "object", "region_id", "label", "class_id").rows()
    assert rows == [
        ("Annotations/upload/1/i1.xml", 1, "r1", "ant", 1), ("Annotations/upload/1/i1.xml", 2, "r2", "zebra", 0),
        ("Annotations/upload/1/i1.xml", 3, "r2", "ant", 1), ("Annotations/upload/1/i2.xml", 1, "r3", "ant", 1),
    ]  # fmt: skip


def test_the_result_is_the_same_with_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.formats.parts.PartRunner.SMALL", 0)
    tasks = [[box(n % 90, n % 80, 5, 5)] for n in range(1200)]
    found = []
    for workers in (1, 3):
        (tmp_path / str(workers)).mkdir()
        out, _ = exported(tmp_path / str(workers), "voc", tasks, workers=workers, train_share=0.7)
        found.append(
            {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".parquet"}
        )
    assert len(found[0]) > 1200
    assert found[0] == found[1]


def test_options_and_configs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no options"):
        voc_of(tmp_path, [[]], values={"colour": "red"})
    with pytest.raises(DataError, match="VOC needs"):
        voc_of(tmp_path, [[]], config_of("KeyPointLabels"))
