"""COCO files become regions: one for each annotation, of every kind that files in the wild have; what cannot is named."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as oracle

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.masks import mask_of_pixels, pixels_of_brush
from sync.formats.reading import Labelled, LabelledItem, read_labelled

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import BOXES, config_of, ringed

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CATEGORIES = [{"id": 7, "name": "cat & <co>", "supercategory": "x"}, {"id": 3, "name": "dog"}]
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]


def image(number: Any, **over: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"i{number}.png", "width": 200, "height": 100, **over}


def row(number: int, image_id: Any = 1, **over: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": 3, "bbox": [10, 10, 20, 20], **over}


def written(path: Path, rows: list[Any], images: list[Any] | None = None, **over: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images or [image(1)], "annotations": rows, "categories": CATEGORIES, **over}
    path.write_text(json.dumps(content))
    return path


def items_of(labelled: Labelled) -> list[LabelledItem]:
    """Every item; each of its regions fits the config."""
    items = list(labelled)
    for item in items:
        assert [labelled.config.problem_with(region) for region in item.result] == [None] * len(item.result)
        assert len({(region["id"], region["from_name"]) for region in item.result}) == len(item.result)
    return items


def read(folder: Path, rows: list[Any], task: str | None = None, config: LabelConfig | None = None, **over: Any) -> Any:
    """(the regions of the only image, what was opened)."""
    labelled = read_labelled(written(folder / "a.json", rows, **over), "coco", task=task, config=config)
    (item,) = items_of(labelled)
    return item.result, labelled


def shown(regions: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(region["type"], region["value"][region["type"]]) for region in regions]


def test_a_box_is_one_rectangle_whether_or_not_it_has_an_outline(tmp_path: Path) -> None:
    rows = [row(1), row(2, segmentation=[]), row(3, segmentation=[SQUARE]), row(4, category_id=7, segmentation=None)]
    regions, labelled = read(tmp_path, rows)
    assert shown(regions) == [("rectanglelabels", [name]) for name in ("dog", "dog", "dog", "cat & <co>")]
    assert {key: regions[0]["value"][key] for key in ("x", "y", "width", "height")} == {
        "x": 5, "y": 10, "width": 10, "height": 20,
    }  # fmt: skip
    assert [control.classes for control in labelled.config.controls] == [("cat & <co>", "dog")]
    assert (regions[0]["original_width"], regions[0]["original_height"], labelled.count) == (200, 100, 1)


def test_outlines_and_masks_are_polygons_and_brushes(tmp_path: Path) -> None:
    mask = mask_of_pixels(ringed())
    parts = [SQUARE, [100, 50, 120, 50, 110, 70]]
    rows = [
        row(1, segmentation=[[10, 10, 30, 10, 20, 30]]),
        row(2, segmentation=[10, 10, 30, 10, 20, 30]),
        row(3, segmentation=parts),
        row(4, segmentation={"size": [100, 200], "counts": mask.compressed()}),
        row(5, segmentation={"size": [100, 200], "counts": mask.counts.tolist()}, iscrowd=1),
        row(6, segmentation=[SQUARE]),
    ]
    regions, labelled = read(tmp_path, rows)
    kinds = ["polygon", "polygon", "brush", "brush", "brush", "choices", "rectangle"]
    assert [kind.removesuffix("labels") for kind, _ in shown(regions)] == kinds
    assert regions[0]["value"]["points"] == [[5, 10], [15, 10], [10, 30]]
    joined = oracle.decode(oracle.merge(oracle.frPyObjects(parts, 100, 200))).astype(bool)
    drawn = [pixels_of_brush(region["value"]["rle"], 200, 100) for region in regions if region["type"] == "brushlabels"]
    assert (drawn[0] != joined).sum() <= 40  # the pixels of the outlines
    assert (drawn[1] == ringed()).all()
    assert (drawn[2] == ringed()).all()
    assert (regions[5]["value"]["choices"], regions[5]["id"]) == (["crowd"], regions[4]["id"])
    assert labelled.config.control("flags").attributes["perRegion"] == "true"


def test_masks_go_where_a_config_has_room_for_them(tmp_path: Path) -> None:
    mask = {"size": [100, 200], "counts": mask_of_pixels(ringed()).compressed()}
    rows = [row(1, segmentation=mask, bbox=None), row(2, segmentation=[[10, 10, 30, 10, 20, 30]]), row(3)]
    for tag, kind in (("PolygonLabels", "polygonlabels"), ("RectangleLabels", "rectanglelabels")):
        config = parse_label_config(config_of(tag).replace("ant", "dog"))
        regions, _ = read(tmp_path, rows, config=config)
        assert [region["type"] for region in regions] == [kind] * 3
        points = regions[0]["value"].get("points", [])
        if points:
            outline = [(x * 2, y) for x, y in points]
            area = sum(a * d - c * b for (a, b), (c, d) in zip(outline, [*outline[1:], outline[0]], strict=True)) / 2
            assert abs(area) == pytest.approx(800)
        else:
            assert regions[0]["value"]["x"] == 15


def test_detection_takes_boxes_only(tmp_path: Path) -> None:
    regions, labelled = read(tmp_path, [row(1, segmentation=[[10, 10, 30, 10, 20, 30]])], task="detect")
    assert shown(regions) == [("rectanglelabels", ["dog"])]
    assert any("outlines and masks" in loss for loss in labelled.losses)


PERSON = {"id": 3, "name": "dog", "keypoints": ["nose", "left ear", "tail"], "skeleton": [[1, 2]]}


def test_key_points_have_their_names_and_their_object(tmp_path: Path) -> None:
    numbers = [12, 14, 2, 0, 0, 0, 20, 22, 1]
    rows = [row(1, keypoints=numbers, num_keypoints=2), row(2, keypoints=[0] * 9, num_keypoints=0), row(3)]
    regions, labelled = read(tmp_path, rows, categories=[PERSON])
    boxes = [region for region in regions if region["type"] == "rectanglelabels"]
    points = [region for region in regions if region["type"] == "keypointlabels"]
    assert len(boxes) == 3
    assert [(p["value"]["keypointlabels"], p["value"]["x"], p["value"]["y"]) for p in points] == [
        (["nose"], 6, 14), (["tail"], 10, 22),
    ]  # fmt: skip
    assert {point["parentID"] for point in points} == {boxes[0]["id"]}
    (mark,) = [region for region in regions if region["type"] == "choices"]
    assert (mark["id"], mark["value"]["choices"]) == (points[1]["id"], ["hidden"])
    assert "skeletons" in " ".join(labelled.losses)


def test_points_without_a_box_and_points_that_cannot_be(tmp_path: Path) -> None:
    lone = {"id": 1, "image_id": 1, "category_id": 3, "keypoints": [12, 14, 2, 500, 1, 2, 20, 22, 2, 9, 9, 2]}
    regions, labelled = read(tmp_path, [lone], categories=[PERSON])
    assert [region["type"] for region in regions] == ["keypointlabels", "keypointlabels"]
    assert all("parentID" not in region for region in regions)
    assert [each.reason for each in labelled.rejected] == ["bad_keypoint", "no_name"]
    boxes = parse_label_config(BOXES.replace("ant", "dog"))
    _, labelled = read(tmp_path, [row(1, keypoints=[12, 14, 2, 0, 0, 0, 0, 0, 0])], "pose", boxes, categories=[PERSON])
    assert [each.reason for each in labelled.rejected] == ["no_control"]


BROKEN = {
    "no_category": row(1, category_id=99),
    "category_of_a_strange_kind": row(1, category_id=[3]),
    "no_area": row(1, bbox=[10, 10, 0, 20]),
    "outside": row(1, bbox=[300, 10, 5, 20]),
    "no_numbers": row(1, bbox=["a", 10, 5, 20]),
    "too_few": row(1, bbox=[10, 5, 20]),
    "no_bbox": {"id": 1, "image_id": 1, "category_id": 3},
    "odd": row(1, segmentation=[[10, 10, 30, 10, 20, 30, 7]]),
    "text": row(1, segmentation=[["a", "b"]]),
    "mask_of_another_size": row(1, segmentation={"size": [9, 9], "counts": "abc"}),
    "mask_cut": row(1, segmentation={"size": [100, 200], "counts": [5, 5]}),
    "mask_huge": row(1, segmentation={"size": [100, 200], "counts": [10**30]}),
    "mask_empty": row(1, segmentation={"size": [100, 200], "counts": [20000]}),
    "mask_without_counts": row(1, segmentation={"size": [100, 200]}),
    "polygon_outside": row(1, segmentation=[[300, 10, 330, 10, 320, 30]]),
    "segmentation_of_a_strange_kind": row(1, segmentation="mask"),
    "keypoints_cut": row(1, keypoints=[1, 2]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_annotation_is_named_and_the_rest_is_read(name: str, tmp_path: Path) -> None:
    good = row(2, segmentation=[[10, 10, 30, 10, 20, 30]], keypoints=[1, 2, 2])
    point = [{**category, "keypoints": ["tip"]} for category in CATEGORIES]
    labelled = read_labelled(written(tmp_path / "a.json", [BROKEN[name], good], categories=point), "coco")
    (item,) = items_of(labelled)
    assert [region["type"] for region in item.result if "parentID" not in region][-1] in ("polygonlabels",)
    if name == "segmentation_of_a_strange_kind":  # it has a box all the same
        assert len(item.result) == 3
    else:
        assert len(item.result) == 2
        (told,) = labelled.rejected
        assert told.source == "a.json, image 1, annotation 1"


def test_a_number_beyond_all_bounds_is_one_broken_member(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [row(1, bbox=[1, 2, 3, 4.5]), row(2)])
    path.write_text(path.read_text().replace("4.5", "1e999"))
    labelled = read_labelled(path, "coco")
    assert [len(item.result) for item in items_of(labelled)] == [1]
    assert [each.source for each in labelled.rejected] == ["a.json, annotations, member 0"]


def test_images_are_named_once_have_a_size_and_negatives_are_kept(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "i4.png", format="JPEG", exif=exif)
    images = [
        image(1), image(2), image(1, file_name="other.png"), image(4, width=None), image(5, height=0),
        {"id": 6}, {"id": 7, "coco_url": "http://images.example/7.jpg", "width": "30", "height": 40.0}, "x", None,
    ]  # fmt: skip
    rows = [row(1), row(2, 9), row(3, 9), row(4, 4), row(5, 5), row(6, 6), 17]
    labelled = read_labelled(written(tmp_path / "a.json", rows, images), "coco")
    items = items_of(labelled)
    found = {str(item.data["image"]): (item.size, len(item.result)) for item in items}
    assert found == {
        "i1.png": ((200, 100), 1), "i2.png": ((200, 100), 0), "i4.png": ((30, 40), 1),
        "http://images.example/7.jpg": ((30, 40), 0),
    }  # fmt: skip
    told = {(each.source, each.reason) for each in labelled.rejected}
    assert told == {
        ("a.json, image 1", "same_id"), ("a.json, image 9", "no_image"), ("a.json, image 5", "no_size"),
        ("a.json, image 6", "no_file_name"), ("a.json, images, member 7", "no_object"),
        ("a.json, images, member 8", "no_object"), ("a.json, annotations, member 6", "no_object"),
    }  # fmt: skip


@pytest.mark.parametrize("identity", ["one", 2**70, 1.0, -5, True])
def test_ids_need_not_be_small_numbers(identity: Any, tmp_path: Path) -> None:
    labelled = read_labelled(written(tmp_path / "a.json", [row(1, identity)], [image(identity), image(77)]), "coco")
    assert [len(item.result) for item in items_of(labelled)] == [1, 0]
    assert labelled.rejected == []


def test_folders_as_coco_and_roboflow_lay_them_out(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        written(tmp_path / "coco" / "annotations" / f"instances_{split}.json", [row(1)])
        written(tmp_path / "coco" / "annotations" / f"captions_{split}.json", [row(1)])
        written(tmp_path / "coco" / "annotations" / f"person_keypoints_{split}.json", [row(1), row(2)])
        (tmp_path / "coco" / "images" / split).mkdir(parents=True)
        Image.new("RGB", (200, 100)).save(tmp_path / "coco" / "images" / split / "i1.png")
    for split in ("train", "valid", "test"):
        written(tmp_path / "robo" / split / "_annotations.coco.json", [row(1)])
        Image.new("RGB", (200, 100)).save(tmp_path / "robo" / split / "i1.png")
    items = items_of(read_labelled(tmp_path / "coco", "coco"))
    assert [(item.split, item.source, len(item.result)) for item in items] == [
        ("train", "annotations/instances_train2017.json, image 1", 1),
        ("val", "annotations/instances_val2017.json, image 1", 1),
    ]
    assert [item.media for item in items] == [
        tmp_path / "coco" / "images" / year / "i1.png" for year in ("train2017", "val2017")
    ]
    poses = items_of(read_labelled(tmp_path / "coco", "coco", task="pose"))
    assert [len(item.result) for item in poses] == [2, 2]
    robo = items_of(read_labelled(tmp_path / "robo", "coco"))
    assert [(item.split, item.media) for item in robo] == [
        (split, tmp_path / "robo" / folder / "i1.png")
        for split, folder in (("test", "test"), ("train", "train"), ("val", "valid"))
    ]


def test_images_are_found_where_they_are_said_to_be_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(tmp_path / "pictures" / "deep" / "i1.png")
    Image.new("RGB", (200, 100)).save(tmp_path / "secret.png")
    names = ["C:\\work\\deep\\i1.png", "../secret.png", str(tmp_path / "secret.png"), "/elsewhere/i1.png"]
    images = [image(n, file_name=name) for n, name in enumerate(names)]
    path = written(tmp_path / "set" / "a.json", [], images)
    items = items_of(read_labelled(path, "coco", images=tmp_path / "pictures"))
    assert [item.media for item in items] == [tmp_path / "pictures" / "deep" / "i1.png", None, None, None]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"images": {}, "annotations": []}', '{"images": [], "annotations": 3}', '{"images": [', "\x00"],
)
def test_what_is_no_coco_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="COCO"):
        read_labelled(tmp_path / "a.json", "coco")


def test_refusals_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations/\*\.json"):
        read_labelled(tmp_path, "coco")
    with pytest.raises(DataError, match="names no category"):
        read_labelled(written(tmp_path / "a.json", [], categories=[]), "coco")
    config = parse_label_config(
        '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    )
    with pytest.raises(DataError, match="<Image>"):
        read_labelled(written(tmp_path / "a.json", []), "coco", config=config)


def test_text_that_is_no_utf8_is_one_broken_member(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [row(1), row(2)], [image(1), image(2)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"i2.png", b"i\xff2.png"))
    labelled = read_labelled(path, "coco")
    assert [len(item.result) for item in items_of(labelled)] == [2]
    assert [each.source for each in labelled.rejected] == ["a.json, images, member 1"]


@pytest.mark.parametrize("indent", [None, 2])
def test_long_lists_are_read_window_by_window(
    indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = {"size": [100, 200], "counts": mask_of_pixels(ringed()).counts.tolist()}
    rows = [
        row(
            n,
            n % 7,
            attributes={"note": '}, {"id": 5}' + "]" * (n % 5), "deep": {"er": [{}]}},
            segmentation=mask if n % 3 else [],
        )
        for n in range(90)
    ]
    images = [image(n, license={"name": "}"}) for n in range(7)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"annotations": rows, "images": images, "categories": CATEGORIES}, indent=indent))
    monkeypatch.setattr("sync.formats.coco_index._WINDOW", 700)
    items = items_of(read_labelled(path, "coco"))
    assert [len(item.result) for item in items] == [sum(r["image_id"] == n for r in rows) for n in range(7)]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outline = (np.random.default_rng(1).random(200) * 90).tolist()
    rows = [row(n, n % 100, segmentation=[outline]) for n in range(4000)]
    path = written(tmp_path / "a.json", rows, [image(n) for n in range(100)])
    monkeypatch.setattr("sync.formats.coco_index._WINDOW", 1 << 16)
    assert path.stat().st_size > 8 << 20
    tracemalloc.start()
    try:
        labelled = read_labelled(path, "coco")
        assert sum(len(item.result) for item in labelled) == 4000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
