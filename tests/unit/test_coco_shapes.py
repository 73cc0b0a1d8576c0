"""COCO's outlines and masks: polygons, ellipses, brushes with holes; each against pycocotools."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as oracle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import HEIGHT, SHAPES, WIDTH, box, brush, config_of, exported, polygon, reasons, region, ringed

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MARKED = config_of(
    "BrushLabels", more='<Choices name="kind" toName="image" perRegion="true"><Choice value="crowd"/></Choices>'
)


def rows_of(folder: Path, result: list[dict[str, Any]], config: str = SHAPES, **more: Any) -> list[dict[str, Any]]:
    out, _ = exported(folder, "coco", [result], config, **more)
    rows: list[dict[str, Any]] = json.loads((out / "annotations" / "instances_train.json").read_text())["annotations"]
    return rows


def ellipse(x: float, y: float, rx: float, ry: float, rotation: float = 0, **over: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "radiusX": rx, "radiusY": ry, "rotation": rotation}
    return region("EllipseLabels", over.pop("id", "e"), value, **over)


def every_shape() -> list[dict[str, Any]]:
    return [
        box(5, 5, 20, 30), box(60, 10, 20, 20, "zebra", rotation=30), polygon([[40, 40], [60, 45], [50, 90]], "zebra"),
        ellipse(80, 70, 10, 20, 40), brush(ringed(), "zebra"),
    ]  # fmt: skip


def test_a_config_with_outlines_is_segmented_by_default_and_detection_has_bounds(tmp_path: Path) -> None:
    _, report = exported(tmp_path, "coco", [every_shape()], SHAPES)
    assert (report.task, report.objects, report.n_skipped) == ("segment", 5, 0)
    assert any("ellipse is a polygon" in loss for loss in report.declared_losses)
    segmented = rows_of(tmp_path, every_shape())
    detected = rows_of(tmp_path, every_shape(), task="detect")
    for whole, bounds in zip(segmented, detected, strict=True):
        assert whole["bbox"] == bounds["bbox"]
        assert whole["iscrowd"] == 0
    assert all(len(row["segmentation"][0]) == 8 for row in detected)
    assert detected[2]["area"] == pytest.approx(40 * 50)
    assert detected[1]["area"] == segmented[1]["area"] == pytest.approx(40 * 20)  # a turned box stays turned


def test_outlines_and_masks_score_exactly_one_against_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = exported(tmp_path, "coco", [every_shape(), every_shape()[2:], []], SHAPES)
    truth = COCO(str(out / "annotations" / "instances_train.json"))
    assert (len(truth.getImgIds()), len(truth.getAnnIds())) == (3, 8)
    same = [
        {
            "image_id": row["image_id"],
            "category_id": row["category_id"],
            "segmentation": truth.annToRLE(row),
            "score": 1,
        }
        for row in truth.dataset["annotations"]
    ]
    for kind in ("segm", "bbox"):
        found = same if kind == "segm" else [{**row, "score": 1.0} for row in truth.dataset["annotations"]]
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == 1.0
    assert "Average Precision" in capsys.readouterr().out


def test_a_brush_is_one_object_with_its_holes_and_parts(tmp_path: Path) -> None:
    pixels = ringed()
    pixels[2:4, 150:158] = True  # a part of its own, of the same object
    (only,) = rows_of(tmp_path, [brush(pixels)])
    code = only["segmentation"]
    assert code["size"] == [HEIGHT, WIDTH]
    assert (oracle.decode(code).astype(bool) == pixels).all()
    assert only["area"] == pixels.sum() == oracle.area(code) == 816
    assert only["bbox"] == oracle.toBbox(code).tolist()


def test_a_brush_on_an_image_of_another_size_is_fitted_to_it(tmp_path: Path) -> None:
    (only,) = rows_of(tmp_path, [box(0, 0, 10, 10), brush(ringed(400, 200))])[1:]
    assert only["segmentation"]["size"] == [HEIGHT, WIDTH]
    assert only["bbox"] == [15, 10, 15, 15]


def test_an_empty_or_broken_brush_is_named(tmp_path: Path) -> None:
    broken = brush(ringed(), id="cut")
    broken["value"]["rle"] = broken["value"]["rle"][:20]
    sizeless = {key: entry for key, entry in brush(ringed(), id="sizeless").items() if key != "original_width"}
    nothing = brush(np.zeros((HEIGHT, WIDTH), dtype=bool), id="nothing")
    _, report = exported(tmp_path, "coco", [[box(0, 0, 9, 9), broken, sizeless, nothing]], SHAPES)
    assert [reason.split(":")[0] for reason in reasons(report)] == ["region cut", "region sizeless", "region nothing"]
    assert report.objects == 1


def test_polygons_are_cut_at_the_edge(tmp_path: Path) -> None:
    points = [[0, 0], [50, 0], [50, 50], [25, 25], [-25, 50]]
    (only,) = rows_of(tmp_path, [polygon(points)])
    assert only["bbox"] == pytest.approx([0, 0, 100, 50])
    # On the image stays what is above (0, 37.5) - (50, 25) - (100, 50): 50 * 31.25 + 50 * 37.5 square pixels.
    assert only["area"] == pytest.approx(3437.5)


def test_an_ellipse_has_its_area_and_its_bounds(tmp_path: Path) -> None:
    upright, turned = rows_of(tmp_path, [ellipse(50, 50, 20, 10), ellipse(50, 50, 20, 10, 90)])
    for row in (upright, turned):
        assert row["area"] == pytest.approx(math.pi * 40 * 10)
    assert upright["bbox"] == pytest.approx([60, 40, 80, 20], abs=0.1)
    assert turned["bbox"] == pytest.approx([90, 10, 20, 80], abs=0.1)
    code = oracle.frPyObjects(upright["segmentation"], HEIGHT, WIDTH)
    assert int(oracle.area(code)[0]) == pytest.approx(math.pi * 40 * 10, rel=0.02)


def test_a_choice_about_a_region_makes_it_a_crowd(tmp_path: Path) -> None:
    crowd = brush(ringed(), id="many")
    mark = {"id": "many", "from_name": "kind", "to_name": "image", "type": "choices", "value": {"choices": ["crowd"]}}
    rows = rows_of(tmp_path, [crowd, mark, brush(ringed(), id="one")], MARKED)
    assert [row["iscrowd"] for row in rows] == [1, 0]


@pytest.mark.parametrize(
    "value",
    [
        {"points": [[1, 1], [2, 2]]},
        {"points": "abc"},
        {"points": [[1, 1], [2, 2], [3, None]]},
        {"points": [[1], [2], [3]]},
        {},
    ],
)
def test_a_broken_polygon_is_named(value: dict[str, Any], tmp_path: Path) -> None:
    broken = polygon([], id="broken") | {"value": {**value, "polygonlabels": ["ant"]}}
    _, report = exported(tmp_path, "coco", [[polygon([[0, 0], [9, 0], [9, 9]]), broken]], SHAPES)
    assert report.objects == 1
    assert reasons(report)[0].startswith("region broken: expected")
