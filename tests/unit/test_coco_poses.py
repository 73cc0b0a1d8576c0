"""COCO key points: those of one object together, in the order of the config, with flags; scored by pycocotools."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sync.formats.report import ExportReport

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import POSES, box, config_of, exported, point, reasons, task_of

LOOSE = POSES.replace(POSES[POSES.index("<RectangleLabels") : POSES.index("<KeyPointLabels")], "")


def coco_of(folder: Path, *results: Any, config: str = POSES, **more: Any) -> tuple[dict[str, Any], ExportReport]:
    out, report = exported(folder, "coco", results, config, **more)
    return json.loads((out / "annotations" / "instances_train.json").read_text()), report


def two_people() -> list[dict[str, Any]]:
    return [
        point(60, 10, "nose", "n2", parentID="b"), box(5, 5, 30, 60, "person", id="a"),
        point(10, 10, "nose", "n1", parentID="a"), box(50, 5, 30, 60, "person", id="b"),
        point(62.5, 8.25, "left eye", "e2", parentID="b"),
    ]  # fmt: skip


def test_each_object_has_its_own_points_in_the_order_of_the_classes(tmp_path: Path) -> None:
    found, report = coco_of(tmp_path, two_people(), values={"skeleton": "nose:left eye, 1:3"})
    first, second = found["annotations"]
    assert (first["keypoints"], first["num_keypoints"]) == ([20, 10, 2, 0, 0, 0, 0, 0, 0], 1)
    assert (second["keypoints"], second["num_keypoints"]) == ([120, 10, 2, 125, 8.25, 2, 0, 0, 0], 2)
    assert (first["bbox"], first["area"], first["iscrowd"]) == ([10, 5, 60, 60], 3600, 0)
    assert second["labelloop"]["points"] == ["n2", "e2", None]
    assert [(c["id"], c["name"]) for c in found["categories"]] == [(1, "person"), (2, "dog")]
    for category in found["categories"]:
        assert category["keypoints"] == ["nose", "left eye", "tail"]
        assert category["skeleton"] == [[1, 2], [1, 3]]
    assert (report.task, report.objects, report.n_skipped) == ("pose", 2, 0)


def test_key_points_score_exactly_one_against_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = exported(tmp_path, "coco", [two_people(), two_people()[1:], []], POSES)
    truth = COCO(str(out / "annotations" / "instances_train.json"))
    assert len(truth.getAnnIds()) == 4
    found = [{**row, "score": 0.9} for row in truth.dataset["annotations"]]
    evaluation = COCOeval(truth, truth.loadRes(found), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array([0.05, 0.05, 0.05])
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0
    assert "Average Precision" in capsys.readouterr().out


def test_relations_tie_points_to_their_box_and_to_each_other(tmp_path: Path) -> None:
    boxes = [box(0, 0, 60, 60, "dog", id="a"), box(20, 0, 60, 60, "dog", id="b")]  # both hold all points
    points = [point(30, 10, "nose", "n"), point(31, 10, "left eye", "e"), point(32, 10, "tail", "t", parentID="e")]
    ties = [
        {"type": "relation", "from_id": "b", "to_id": "n", "direction": "right"},
        {"type": "relation", "from_id": "e", "to_id": "n", "direction": "left"},
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
    ]
    found, report = coco_of(tmp_path, [*points, *boxes, *ties])
    assert [row["num_keypoints"] for row in found["annotations"]] == [0, 3]
    assert reasons(report) == ["region a -> b: COCO has no place for relations"]


def test_a_points_own_tie_goes_before_that_of_its_friends(tmp_path: Path) -> None:
    boxes = [box(0, 0, 90, 90, "dog", id="a"), box(1, 0, 90, 90, "dog", id="b")]
    points = [point(30, 10, "nose", "n", parentID="a"), point(31, 10, "tail", "t", parentID="b")]
    tie = {"type": "relation", "from_id": "n", "to_id": "t", "direction": "right"}
    found, _ = coco_of(tmp_path, [*boxes, *points, tie])
    assert [row["num_keypoints"] for row in found["annotations"]] == [1, 1]


def test_points_without_ties_belong_to_the_only_box_that_holds_them(tmp_path: Path) -> None:
    boxes = [box(0, 0, 40, 50, "dog", id="a"), box(60, 0, 30, 50, "dog", id="b"), box(70, 0, 30, 50, "dog", id="c")]
    found, report = coco_of(tmp_path, [*boxes, point(10, 10, "nose", "in"), point(75, 10, "nose", "both")])
    assert [row["num_keypoints"] for row in found["annotations"]] == [1, 0, 0]
    assert reasons(report) == ["region both: no box, parent or relation tells of which object it is a key point"]


def test_hidden_points_have_the_flag_one(tmp_path: Path) -> None:
    mark = {"id": "n1", "from_name": "seen", "to_name": "image", "type": "choices", "value": {"choices": ["Occluded"]}}
    found, report = coco_of(tmp_path, [*two_people(), mark])
    assert [row["keypoints"][2] for row in found["annotations"]] == [1, 2]
    assert [row["num_keypoints"] for row in found["annotations"]] == [1, 2]
    assert report.n_skipped == 0


def test_points_alone_are_one_object_with_a_box_around_them(tmp_path: Path) -> None:
    points = [point(10, 10, "nose", "n"), point(20, 40, "tail", "t")]
    found, report = coco_of(tmp_path, points, [point(100, 100, "nose", "corner")], [], config=LOOSE)
    assert [(c["id"], c["name"]) for c in found["categories"]] == [(1, "keypointlabels")]
    first, second = found["annotations"]
    assert (first["bbox"], first["area"], first["num_keypoints"]) == ([20, 10, 20, 30], 600, 2)
    assert (second["bbox"], second["area"]) == ([199, 99, 1, 1], 1)
    assert (report.items, report.n_skipped) == (3, 0)
    named, _ = coco_of(tmp_path, points, config=LOOSE, values={"category": "person"})
    assert named["categories"][0]["name"] == "person"


def test_points_tied_to_each_other_are_objects_of_their_own(tmp_path: Path) -> None:
    points = [point(10, 10, "nose", "n1"), point(20, 40, "tail", "t1"), point(60, 10, "nose", "n2")]
    points += [point(70, 40, "tail", "t2"), point(90, 90, "nose", "n3")]
    ties = [{"type": "relation", "from_id": f"n{i}", "to_id": f"t{i}"} for i in (1, 2)]
    found, report = coco_of(tmp_path, [*points, *ties], config=LOOSE)
    assert [row["num_keypoints"] for row in found["annotations"]] == [2, 2, 1]
    assert report.n_skipped == 0


def test_what_an_object_cannot_have_is_named(tmp_path: Path) -> None:
    extra = [
        point(11, 11, "nose", "twice", parentID="a"), point(12, 12, "ghost", "ghost", parentID="a"),
        point(120, 12, "tail", "outside", parentID="a"), point(12, 12, [], "classless", parentID="a"),
        point(12, 12, "tail", "nan", parentID="a") | {"value": {"x": "x", "y": 1, "keypointlabels": ["tail"]}},
    ]  # fmt: skip
    found, report = coco_of(tmp_path, [*two_people(), *extra])
    assert [row["num_keypoints"] for row in found["annotations"]] == [1, 2]
    named = sorted(reason.split(":")[0] for reason in reasons(report))
    assert named == [f"region {name}" for name in ("classless", "ghost", "nan", "outside", "twice")]


def test_each_class_of_a_box_has_the_points(tmp_path: Path) -> None:
    found, report = coco_of(
        tmp_path, [box(0, 0, 50, 50, ["dog", "person"], id="a"), point(1, 1, "nose", "n", parentID="a")]
    )
    assert [(row["category_id"], row["num_keypoints"]) for row in found["annotations"]] == [(2, 1), (1, 1)]
    assert report.n_skipped == 0


def test_polygons_and_pages_have_key_points_too(tmp_path: Path) -> None:
    config = config_of(
        "PolygonLabels", image='valueList="$pages"',
        more='<KeyPointLabels name="keypointlabels" toName="image"><Label value="nose"/></KeyPointLabels>',
    )  # fmt: skip
    outline = {"points": [[0, 0], [50, 0], [0, 50]], "polygonlabels": ["ant"]}
    regions = []
    for page in (0, 1):
        shape = box(0, 0, 1, 1, id=f"p{page}", item_index=page, from_name="polygonlabels", type="polygonlabels")
        regions += [shape | {"value": outline}, point(2 + page, 2, "nose", f"n{page}", item_index=page)]
    ties = [{"type": "relation", "from_id": "p1", "to_id": "n1"}, {"type": "relation", "from_id": "p0", "to_id": "p1"}]
    task = task_of(1, [*regions, *ties], {"pages": ["/a.png", "/b.png"]}, meta={})
    found, report = coco_of(tmp_path, task, config=config)
    assert [row["keypoints"] for row in found["annotations"]] == [[4, 2, 2], [6, 2, 2]]
    assert [row["area"] for row in found["annotations"]] == [2500, 2500]
    assert reasons(report) == ["region p0 -> p1: COCO has no place for relations"]


def test_detection_leaves_key_points_out_and_says_so(tmp_path: Path) -> None:
    found, report = coco_of(tmp_path, two_people(), task="detect")
    assert len(found["annotations"]) == 2
    assert "keypoints" not in found["annotations"][0]
    assert reasons(report) == [f"region {name}: COCO has no place for keypointlabels" for name in ("n2", "n1", "e2")]
    assert any("--task pose" in loss for loss in report.declared_losses)
