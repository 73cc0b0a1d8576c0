"""Pascal VOC files become regions: VOC's own folders and those of other tools, with all that such files lack or break."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from sync.formats.reading import Labelled, LabelledItem, read_labelled

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import BOXES, HEIGHT, WIDTH, box, config_of, exported

SIZE = "<size><width>200</width><height>100</height><depth>3</depth></size>"


def an_object(box: str = "11,11,30,40", name: str = "cat", more: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box.split(","), strict=True)
    told = "".join(f"<{side}>{number}</{side}>" for side, number in sides)
    return f"<object><name>{name}</name>{more}<bndbox>{told}</bndbox></object>"


def written(path: Path, objects: str = "", head: str = "<filename>a.jpg</filename>" + SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{head}{objects}</annotation>")
    return path


def items_of(labelled: Labelled) -> list[LabelledItem]:
    items = list(labelled)
    for item in items:
        assert [labelled.config.problem_with(found) for found in item.result] == [None] * len(item.result)
    return items


def regions_of(folder: Path, objects: str, **more: Any) -> tuple[list[dict[str, Any]], Labelled]:
    labelled = read_labelled(written(folder / "a.xml", objects), "voc", **more)
    (item,) = items_of(labelled)
    return item.result, labelled


def pixels(found: dict[str, Any]) -> tuple[float, ...]:
    value = found["value"]
    x, y = value["x"] * WIDTH / 100, value["y"] * HEIGHT / 100
    return x, y, x + value["width"] * WIDTH / 100, y + value["height"] * HEIGHT / 100


def test_corners_count_from_one_and_the_last_pixel_is_inside(tmp_path: Path) -> None:
    boxes = ("1,1,200,100", "11,11,30,40", "11.5,11.25,30.75,40.0", "0,-5,300,50")
    regions, labelled = regions_of(tmp_path, "".join(map(an_object, boxes)))
    assert [pixels(found) for found in regions] == [
        pytest.approx(corners)
        for corners in ((0, 0, 200, 100), (10, 10, 30, 40), (10.5, 10.25, 30.75, 40), (0, 0, 200, 50))
    ]
    assert [control.classes for control in labelled.config.controls] == [("cat",)]
    assert labelled.count == 1


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (an_object("11,11,11,11"), "no_area"),
        (an_object("30,11,11,40"), "no_area"),
        (an_object("300,11,330,40"), "no_area"),
        (an_object("a,11,30,40"), "bad_object"),
        (an_object("nan,11,30,40"), "no_area"),
        (an_object("1,1,1e999,9").replace("xmin", "x"), "bad_object"),
        ("<object><name>cat</name></object>", "no_box"),
        ("<object><bndbox/></object>", "class_not_in_config"),
    ],
)
def test_a_broken_object_is_named_and_the_rest_is_read(broken: str, reason: str, tmp_path: Path) -> None:
    regions, labelled = regions_of(tmp_path, an_object() + broken + an_object())
    assert len(regions) == 2
    assert [(each.source, each.reason) for each in labelled.rejected] == [("a.xml, object 2", reason)]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<annotation>", b"\xff\xfe\x00", b"<html/>", b'<?xml version="1.0" encoding="none"?><annotation/>',
        b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;">]><annotation><filename>&c;</filename></annotation>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>',
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named_and_the_rest_is_read(content: bytes, tmp_path: Path) -> None:
    written(tmp_path / "a.xml", an_object())
    (tmp_path / "b.xml").write_bytes(content)
    labelled = read_labelled(tmp_path, "voc")
    assert len(items_of(labelled)) == 1
    assert [(each.source, each.reason) for each in labelled.rejected] == [("b.xml", "unreadable")]


def test_a_size_that_is_missing_is_the_images(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg")
    written(tmp_path / "a.xml", an_object(), "<filename>a.jpg</filename>")
    written(tmp_path / "b.xml", an_object(), SIZE.replace("200", "0"))
    written(tmp_path / "c.xml", "", "")
    labelled = read_labelled(tmp_path, "voc")
    a, c = items_of(labelled)
    assert (a.size, a.media, pixels(a.result[0])) == ((200, 100), tmp_path / "a.jpg", pytest.approx((10, 10, 30, 40)))
    assert (c.size, c.result, c.data) == (None, [], {"image": "c.jpg"})
    assert [(each.source, each.reason) for each in labelled.rejected] == [("b.xml", "no_size")]


def test_folders_as_voc_and_other_tools_lay_them_out(tmp_path: Path) -> None:
    kit = tmp_path / "kit" / "VOC2012"
    for name in ("x", "deep/y", "z"):
        written(kit / "Annotations" / f"{name}.xml", an_object(), f"<filename>{Path(name).name}.png</filename>{SIZE}")
        (kit / "JPEGImages" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(kit / "JPEGImages" / f"{name}.png")
    (kit / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in {"train": "x\n", "val": "deep/y\r\n", "trainval": "x\ndeep/y\n", "test": "z"}.items():
        (kit / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    for place in (tmp_path / "kit", kit):
        items = items_of(read_labelled(place, "voc"))
        found = {item.data["image"]: (item.split, item.media) for item in items}
        assert found == {
            name: (split, kit / "JPEGImages" / name)
            for name, split in (("x.png", "train"), ("deep/y.png", "val"), ("z.png", "test"))
        }
    for split in ("train", "valid"):
        written(tmp_path / "robo" / split / "a.xml", an_object())
        Image.new("RGB", (200, 100)).save(tmp_path / "robo" / split / "a.jpg")
    items = items_of(read_labelled(tmp_path / "robo", "voc"))
    assert [(item.split, item.media, item.source) for item in items] == [
        ("train", tmp_path / "robo/train/a.jpg", "train/a.xml"), ("val", tmp_path / "robo/valid/a.jpg", "valid/a.xml"),
    ]  # fmt: skip
    (alone,) = items_of(read_labelled(kit / "Annotations" / "x.xml", "voc"))
    assert alone.media == kit / "JPEGImages" / "x.png"
    (elsewhere,) = items_of(
        read_labelled(written(tmp_path / "b.xml", an_object()), "voc", images=tmp_path / "robo" / "train")
    )
    assert elsewhere.media == tmp_path / "robo" / "train" / "a.jpg"


def test_lists_with_the_suffixes_of_images_are_understood(tmp_path: Path) -> None:
    written(tmp_path / "annotations" / "a.xml", an_object())
    (tmp_path / "val.txt").write_text("a.jpg\n")
    assert [item.split for item in items_of(read_labelled(tmp_path, "voc"))] == ["val"]


def test_the_classes_of_a_labelmap_come_first(tmp_path: Path) -> None:
    written(tmp_path / "Annotations" / "a.xml", an_object(name="late") + an_object(name="b &amp; c"))
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nb & c:1,2,3::\nearly:4,5,6::\n"
    )
    labelled = read_labelled(tmp_path, "voc")
    assert labelled.config.controls[0].classes == ("b & c", "early", "late")
    assert len(items_of(labelled)[0].result) == 2


def test_difficult_objects_are_marked_where_a_config_has_room(tmp_path: Path) -> None:
    objects = an_object(more="<difficult>1</difficult>") + an_object(more="<difficult>0</difficult>")
    regions, labelled = regions_of(tmp_path, objects)
    assert [found["type"] for found in regions] == ["rectanglelabels", "choices", "rectanglelabels"]
    assert (regions[1]["id"], regions[1]["value"]["choices"]) == (regions[0]["id"], ["difficult"])
    config = parse_label_config(BOXES.replace("ant", "cat"))
    regions, labelled = regions_of(tmp_path, objects, config=config)
    assert len(regions) == 2
    assert any("difficult" in loss for loss in labelled.losses)


def test_regions_go_under_a_given_config(tmp_path: Path) -> None:
    objects = an_object(name="ant") + an_object(name="cat")
    regions, labelled = regions_of(tmp_path, objects, config=parse_label_config(config_of("PolygonLabels")))
    assert regions[0]["value"]["points"] == [[5, 10], [15, 10], [15, 40], [5, 40]]
    assert [each.reason for each in labelled.rejected] == ["class_not_in_config"]
    with pytest.raises(DataError, match="on an <Image>"):
        regions_of(tmp_path, objects, config=parse_label_config(config_of("KeyPointLabels")))


def test_refusals_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Annotations/\*\.xml"):
        read_labelled(tmp_path, "voc")
    written(tmp_path / "a.xml")
    with pytest.raises(DataError, match="no file names an object"):
        read_labelled(tmp_path, "voc")


# -- there and back -----------------------------------------------------------------------------------------------------


@st.composite
def boxes(draw: Any) -> dict[str, Any]:
    x, y = draw(st.floats(0, 99)), draw(st.floats(0, 99))
    label = draw(st.sampled_from(["ant", "zebra", ["ant", "zebra"]]))
    return box(x, y, draw(st.floats(0.01, 100 - x)), draw(st.floats(0.01, 100 - y)), label)


@settings(deadline=None, max_examples=50)
@given(st.lists(boxes(), max_size=6), st.booleans())
def test_boxes_come_back_exactly_or_within_a_pixel_where_only_voc_is_left(result: list[Any], plain: bool) -> None:
    sent = [{**found, "id": f"region {number}"} for number, found in enumerate(result)]
    with tempfile.TemporaryDirectory() as folder:
        out, report = exported(Path(folder), "voc", [sent])
        if plain:  # as another tool leaves the file: what VOC does not know is gone
            for file in out.rglob("*.xml"):
                lines = file.read_text().splitlines(keepends=True)
                file.write_text("".join(line for line in lines if "<labelloop" not in line))
        labelled = read_labelled(out, "voc", config=parse_label_config(BOXES))
        (item,) = items_of(labelled)
    assert (item.split, item.size, item.data["image"]) == ("train", (WIDTH, HEIGHT), "upload/1/i1.png")
    if not plain:
        assert labelled.rejected == []
        for before, after in zip(sent, item.result, strict=True):
            assert pixels(after) == pytest.approx(pixels(before), rel=0, abs=1e-9)
            assert (after["id"], after["value"]["rectanglelabels"]) == (
                before["id"],
                before["value"]["rectanglelabels"],
            )
        return
    flat = [(label, found) for found in sent for label in found["value"]["rectanglelabels"]]
    assert len(item.result) + len(labelled.rejected) == len(flat) == report.objects
    assert {each.reason for each in labelled.rejected} <= {"no_area"}  # of boxes in one row or column of pixels
    wide = [(label, found) for label, found in flat if is_wide(pixels(found))]
    for (label, before), after in zip(wide, item.result, strict=True):
        old, new = pixels(before), pixels(after)
        assert after["value"]["rectanglelabels"] == [label]
        assert all(-1e-5 <= a - b < 1 for a, b in zip(old[:2], new[:2], strict=True))  # outwards, by less than a pixel
        assert all(-1e-5 <= b - a < 1 for a, b in zip(old[2:], new[2:], strict=True))
        for side in (0, 1):  # the middle stays within half a pixel
            assert abs(old[side] + old[side + 2] - new[side] - new[side + 2]) / 2 <= 0.5


def is_wide(corners: tuple[float, ...]) -> bool:
    from sync.formats.voc_boxes import whole_pixels

    xmin, ymin, xmax, ymax = whole_pixels(*corners, (WIDTH, HEIGHT))  # type: ignore[arg-type]
    return xmin < xmax and ymin < ymax


def test_a_box_that_another_tool_moved_is_where_it_was_moved_to(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "voc", [[box(10.26, 10.3, 20, 30)]])
    (file,) = out.rglob("*.xml")
    file.write_text(file.read_text().replace("<xmin>21</xmin>", "<xmin>31</xmin>"))
    (item,) = items_of(read_labelled(out, "voc"))
    assert pixels(item.result[0]) == pytest.approx((30, 10, 61, 41))
