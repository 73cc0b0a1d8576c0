"""D1 to D11: what the usual converter of Label Studio's exports gets wrong in objects and images, right in every format."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from labelloop.masks import brush_of_pixels
from sync.formats.media import folder_fetch

sys.path.insert(0, str(Path(__file__).parent))
from defect_exports import (
    BOXES,
    BRUSHES,
    POSES,
    annotation,
    as_pixels,
    box,
    brush,
    coco,
    conll,
    csv_rows,
    export,
    image_task,
    text_task,
    two_people,
    voc,
    yolo,
)


def test_d01_several_annotations_of_a_task_are_one_truth_and_the_newest_wins(tmp_path: Path) -> None:
    old, new = (
        annotation(1, [box(0, 0, 10, 10)], "2026-01-01T00:00:00Z"),
        annotation(2, [box(50, 0, 10, 10)], "2026-01-02T00:00:00Z"),
    )
    tasks = [image_task(1, old, new), image_task(2, new | {"id": 3}, old | {"id": 4})]
    found = coco(tmp_path, tasks)
    assert [image["id"] for image in found["images"]] == [1, 2]
    assert [row["bbox"][0] for row in found["annotations"]] == [100, 100]
    assert [as_pixels(rows[0])[0] for rows in yolo(tmp_path, tasks).values()] == pytest.approx([100, 100])
    assert [objects[0][1][0] for objects in voc(tmp_path, tasks).values()] == [101, 101]
    assert [row["annotation_id"] for row in csv_rows(tmp_path, tasks)] == ["2", "3"]


def test_d02_boxes_are_turned_in_pixels(tmp_path: Path) -> None:
    tasks = [image_task(1, annotation(1, [box(50, 50, 20, 20, rotation=90)]))]
    (only,) = coco(tmp_path, tasks)["annotations"]
    assert only["bbox"] == pytest.approx([80, 50, 20, 40]) and only["area"] == pytest.approx(800)
    (rows,) = yolo(tmp_path, tasks).values()
    assert as_pixels(rows[0]) == pytest.approx([80, 50, 20, 40], abs=1e-4)
    (objects,) = voc(tmp_path, tasks).values()
    assert objects == [("ant", [81, 51, 100, 90])]
    (turned,) = yolo(tmp_path, tasks, task="obb").values()
    xs, ys = turned[0][1::2], turned[0][2::2]
    assert (min(xs) * 200, max(xs) * 200) == pytest.approx((80, 100), abs=1e-4)
    assert (min(ys) * 100, max(ys) * 100) == pytest.approx((50, 90), abs=1e-4)


def test_d03_negatives_are_kept_with_a_size_and_what_nobody_labelled_is_left_out(tmp_path: Path) -> None:
    tasks = [image_task(1, annotation(1, [box(0, 0, 9, 9)])), image_task(2, annotation(2, [])), image_task(3)]
    images = coco(tmp_path, tasks)["images"]
    assert [(i["id"], i["width"], i["height"]) for i in images] == [(1, 200, 100), (2, 200, 100)]
    assert {name: len(rows) for name, rows in yolo(tmp_path, tasks).items()} == {"i1.txt": 1, "i2.txt": 0}
    assert {name: len(found) for name, found in voc(tmp_path, tasks).items()} == {"i1.xml": 1, "i2.xml": 0}
    assert [(row["task_id"], row["label"]) for row in csv_rows(tmp_path, tasks)] == [("1", "ant"), ("2", "")]
    bare = [image_task(2, annotation(2, []), meta={}), image_task(4, annotation(4, [box(0, 0, 9, 9)]))]
    assert [(i["id"], i.get("width")) for i in coco(tmp_path, bare)["images"]] == [(2, None), (4, 200)]
    assert {name: len(found) for name, found in voc(tmp_path, bare).items()} == {"i2.xml": 0, "i4.xml": 1}
    texts = [text_task(1, "Ada ran", (0, 3, "PER")), text_task(2, "nobody"), {"id": 3, "data": {"text": "unseen"}}]
    tokens, report = conll(tmp_path, texts)
    assert [token for token, _ in tokens] == ["Ada", "ran", "nobody"]
    assert report.left_out == {"nobody labelled it": 1}


def test_d04_one_base_name_in_two_folders_is_two_files(tmp_path: Path) -> None:
    places = [(1, "a/x.png"), (2, "b/x.png"), (3, "b/x.jpg"), (4, "B/X.png"), (5, "c/y.png"), (6, "c/y.png")]
    tasks = [
        image_task(n, annotation(n, [box(n, 0, 9, 9)]), image=f"/data/local-files/?d={place}") for n, place in places
    ]
    names = [image["file_name"] for image in coco(tmp_path, tasks)["images"]]
    assert len({Path(name).with_suffix("").as_posix().casefold() for name in names}) == 6
    assert len(yolo(tmp_path, tasks)) == len(voc(tmp_path, tasks)) == 6
    assert sorted(as_pixels(rows[0])[0] for rows in yolo(tmp_path, tasks).values()) == pytest.approx(
        [2, 4, 6, 8, 10, 12]
    )


def test_d05_classes_are_those_of_the_config_in_its_order(tmp_path: Path) -> None:
    choice = {
        "id": "c",
        "from_name": "quality",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["blurry"]},
    }
    regions = [box(0, 0, 9, 9), box(20, 0, 9, 9, "zebra"), box(40, 0, 9, 9, "GHOST"), choice]
    tasks = [image_task(1, annotation(1, regions)), image_task(2, annotation(2, [], was_cancelled=True))]
    found = coco(tmp_path, tasks)
    assert [(c["id"], c["name"]) for c in found["categories"]] == [(1, "zebra"), (2, "ant")]
    assert [row["category_id"] for row in found["annotations"]] == [2, 1]
    (rows,) = yolo(tmp_path, tasks).values()
    assert [row[0] for row in rows] == [1, 0]
    out, report = export(tmp_path, "yolo", tasks, task="detect")
    assert "0: zebra" in (out / "data.yaml").read_text() and "blurry" not in (out / "data.yaml").read_text()
    assert any("GHOST" in reason for _, reason in report.skipped)
    assert report.left_out == {"everybody skipped it": 1}


def test_d06_nothing_is_dropped_in_silence(tmp_path: Path) -> None:
    config = BOXES.replace(
        "</View>", '<VideoRectangle name="v" toName="image"/><Rating name="stars" toName="image"/></View>'
    )
    others = [
        {"id": "rate", "from_name": "stars", "to_name": "image", "type": "rating", "value": {"rating": 4}},
        {"id": "vid", "from_name": "v", "to_name": "image", "type": "videorectangle", "value": {"sequence": []}},
        {"type": "relation", "from_id": "r0", "to_id": "r20", "direction": "right"},
    ]
    tasks = [image_task(1, annotation(1, [box(0, 0, 9, 9, ["ant", "zebra"]), box(20, 0, 9, 9), *others]))]
    assert [row["category_id"] for row in coco(tmp_path, tasks, config)["annotations"]] == [2, 1, 2]
    assert [name for name, _ in voc(tmp_path, tasks, config)["i1.xml"]] == ["ant", "zebra", "ant"]
    for format, task in (("coco", None), ("yolo", "detect"), ("voc", None)):
        _, report = export(tmp_path, format, tasks, config, task)
        assert report.n_skipped == 3, (format, report.skipped)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_d07_a_mask_is_one_object_with_its_holes_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    drawn = np.zeros((40, 60), dtype=bool)
    drawn[5:35, 10:40] = True
    drawn[15:25, 20:30] = False
    drawn[2:4, 50:58] = True  # a part of its own, of the same object
    tasks = [image_task(1, annotation(1, [brush(brush_of_pixels(drawn))]))]
    found = coco(tmp_path, tasks, BRUSHES)
    (only,) = found["annotations"]
    assert only["area"] == 800 + 16
    assert (coco_mask.decode(only["segmentation"]).astype(bool) == drawn).all()
    assert only["bbox"] == [10, 2, 48, 33]
    assert coco(tmp_path, tasks, BRUSHES) == found


def test_d08_a_region_without_its_image_size_is_named_and_with_the_image_it_is_kept(tmp_path: Path) -> None:
    bare = box(10, 10, 10, 10)
    del bare["original_width"], bare["original_height"]
    tasks = [image_task(1, annotation(1, [bare]), meta={})]
    for format in ("coco", "voc"):
        _, report = export(tmp_path, format, tasks)
        assert any("size" in reason for _, reason in report.skipped), format
        assert report.objects == 0
    Image.new("RGB", (200, 100)).save(tmp_path / "i1.png")
    kept = coco(tmp_path, tasks, fetch=folder_fetch(tmp_path))
    assert kept["annotations"][0]["bbox"] == pytest.approx([20, 10, 20, 10])
    (rows,) = yolo(tmp_path, tasks).values()
    assert as_pixels(rows[0]) == pytest.approx([20, 10, 20, 10], abs=1e-4)


def test_d09_key_points_belong_to_their_person(tmp_path: Path) -> None:
    tasks = [image_task(1, annotation(1, two_people()))]
    found = coco(tmp_path, tasks, POSES, task="pose")
    assert [row["num_keypoints"] for row in found["annotations"]] == [1, 2]
    assert all(row["area"] > 0 for row in found["annotations"])
    (category,) = [c for c in found["categories"] if c.get("keypoints")]
    assert (category["name"], category["keypoints"]) == ("person", ["nose", "hip"])
    (rows,) = yolo(tmp_path, tasks, POSES, "pose").values()
    assert [len(row) for row in rows] == [5 + 2 * 3] * 2
    assert yaml.safe_load((tmp_path / "yolo-pose" / "data.yaml").read_text())["kpt_shape"] == [2, 3]


def test_d10_ids_begin_at_one_and_the_truth_scores_one_against_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        image_task(i, annotation(i, [box(x, x / 2, 12.5, 30, ["ant", "zebra"][i % 2]) for x in (1, 33.3, 70)]))
        for i in range(1, 5)
    ]
    assert [row["id"] for row in coco(tmp_path, tasks)["annotations"]] == list(range(1, 13))
    truth = COCO(str(tmp_path / "coco-None/annotations/instances_train.json"))
    same = [{**row, "score": 0.9} for row in truth.dataset["annotations"]]
    evaluation = COCOeval(truth, truth.loadRes(same), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0 and "Average Precision" in capsys.readouterr().out


def test_d11_yolo_rows_are_of_one_kind_and_on_the_image(tmp_path: Path) -> None:
    config = BOXES.replace(
        "<Choices", '<PolygonLabels name="poly" toName="image"><Label value="ant"/></PolygonLabels><Choices'
    )
    triangle = {"points": [[60, 10], [90, 10], [75, 90]], "polygonlabels": ["ant"]}
    polygon = box(0, 0, 1, 1) | {"id": "p", "from_name": "poly", "type": "polygonlabels", "value": triangle}
    over = box(95, 10, 20, 20)
    tasks = [image_task(1, annotation(1, [over, polygon, box(0, 50, 10, 10)]))]
    for task, lengths in (("detect", {5}), ("segment", {7, 9})):
        (rows,) = yolo(tmp_path, tasks, config, task).values()
        assert len(rows) == 3 and {len(row) for row in rows} <= lengths
        assert all(0 <= number <= 1 for row in rows for number in row[1:])
    (rows,) = yolo(tmp_path, tasks, config, "detect").values()
    assert as_pixels(rows[0]) == pytest.approx([190, 10, 10, 20], abs=1e-4)
