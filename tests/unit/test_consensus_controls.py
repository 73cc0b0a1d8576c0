"""The consensus of every kind of control: what is fused, who is behind it, and who merely accepted a suggestion."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import polars as pl
import pytest

from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from labelloop.masks import brush_of_pixels, pixels_of_brush
from qa.consensus.clusters import clusters_of
from qa.consensus.controls import control_consensus
from qa.consensus.fusing import fused_outline, fused_point, fused_rectangle, fused_span
from qa.judgments import chosen_control

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/consensus.schema.json").read_text())
CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/><Text name="text" value="$text"/>'
    '<RectangleLabels name="box" toName="image"><Label value="cat"/><Label value="dog"/></RectangleLabels>'
    '<PolygonLabels name="outline" toName="image"><Label value="cat"/></PolygonLabels>'
    '<BrushLabels name="mask" toName="image"><Label value="cat"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image"><Label value="eye"/></KeyPointLabels>'
    '<Labels name="span" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>'
    '<Choices name="topic" toName="text"><Choice value="a"/><Choice value="b"/></Choices>'
    '<Choices name="tags" toName="text" choice="multiple"><Choice value="x"/><Choice value="y"/></Choices>'
    '<Taxonomy name="tree" toName="text"><Choice value="A"><Choice value="B"/><Choice value="C"/></Choice></Taxonomy>'
    '<Rating name="stars" toName="text"/><TextArea name="said" toName="text"/>'
    '<List name="items" value="$items"/><Ranker name="rank" toName="items"/></View>'
)


def consensus(
    name: str, people: list[list[dict[str, Any]]], method: str | None = None, shown: int = 0
) -> dict[str, Any]:
    """The first task's entry; the first `shown` people saw one suggestion."""
    rows = [
        {
            "task_id": 1, "annotation_id": person, "annotator": person, "at": datetime(2026, 1, 1, tzinfo=UTC),
            "shown": "v1" if person <= shown else None, "data": '{"text": "Ada met Bo"}',
            "result": orjson.dumps([{"from_name": name, **region} for region in result]).decode(),
        }
        for person, result in enumerate(people, start=1)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"shown": pl.String})
    report = control_consensus(frame, *chosen_control(CONFIG, name), method)
    jsonschema.validate(json.loads(json.dumps(report)), SCHEMA)
    task: dict[str, Any] = report["tasks"][0]
    return task


def box(
    x: float, label: str = "cat", width: float = 10, rotation: float = 0, region: str = "r", **more: Any
) -> dict[str, Any]:
    value = {"x": x, "y": 10, "width": width, "height": 10, "rotation": rotation, "rectanglelabels": [label]}
    sizes = {"original_width": 200, "original_height": 100}
    return {"id": region, "type": "rectanglelabels", "value": value, **sizes, **more}


def test_boxes_of_a_quorum_are_fused_and_others_are_told() -> None:
    task = consensus("box", [[box(10), box(60)], [box(12)], [box(11, "dog")], []])
    (kept,), (alone,) = task["regions"], task["rejected"]
    assert (task["n_people"], task["quorum"]) == (4, 2)
    assert (kept["label"], kept["support"], kept["people"]) == ("cat", 2, [1, 2])
    assert kept["value"]["x"] == pytest.approx(11) and kept["value"]["width"] == pytest.approx(10)
    # Three of four have the place, two thirds of those the class.
    assert kept["probability"] == pytest.approx(0.5)
    assert (alone["support"], alone["value"]["x"]) == (1, pytest.approx(60))


def test_turned_boxes_are_fused_whatever_corner_comes_first() -> None:
    corners = np.array([[0, 0], [4, 0], [4, 2], [0, 2]], dtype=np.float64)
    turned = np.stack([corners, np.roll(corners + 1, 1, axis=0)])
    assert np.allclose(fused_rectangle(turned, np.ones(2)), corners + 0.5)
    angle = consensus("box", [[box(30, rotation=27)], [box(30, rotation=33)]])["regions"][0]["value"]["rotation"]
    assert angle == pytest.approx(30)


def test_who_merely_accepted_a_suggestion_is_told() -> None:
    accepted, moved = box(10, region="s", origin="prediction"), box(10, region="s", origin="prediction-changed")
    task = consensus("box", [[accepted], [moved], [box(10)]], shown=2)
    assert (task["regions"][0]["support"], task["regions"][0]["anchored"]) == (3, 1)
    said = [{"id": "c", "type": "choices", "value": {"choices": [label]}, "origin": "prediction"} for label in "aab"]
    told = consensus("topic", [[each] for each in said], "majority", shown=1)
    assert (told["label"], told["support"], told["anchored"]) == ("a", 2, 1)


def test_outlines_vote_by_their_pixels() -> None:
    def square(left: float) -> dict[str, Any]:
        points = [[left, 10], [left + 20, 10], [left + 20, 30], [left, 30]]
        value = {"points": points, "polygonlabels": ["cat"]}
        return {"id": "p", "type": "polygonlabels", "value": value, "original_width": 100, "original_height": 100}

    points = consensus("outline", [[square(10)], [square(12)], [square(14)]])["regions"][0]["value"]["points"]
    xs = [x for x, _ in points]
    assert (min(xs), max(xs)) == (pytest.approx(12, abs=0.2), pytest.approx(32, abs=0.2))
    thin = [np.array([[0, 0], [0.0001, 0], [0, 0.0001]])] * 2
    assert fused_outline(thin, [1, 1], 100, 100) is thin[0]


def test_masks_vote_pixel_by_pixel() -> None:
    def brushed(columns: int, times: int = 1, **more: Any) -> dict[str, Any]:
        pixels = np.zeros((10 * times, 20 * times), dtype=bool)
        pixels[:, : columns * times] = True
        value = {"format": "rle", "rle": brush_of_pixels(pixels), "brushlabels": ["cat"]}
        size = {"original_width": 20 * times, "original_height": 10 * times}
        return {"id": "m", "type": "brushlabels", "value": value, **size, **more}

    task = consensus("mask", [[brushed(4)], [brushed(8)], [brushed(12)], []])
    assert pixels_of_brush(task["regions"][0]["value"]["rle"], 20, 10).sum() == 80
    larger = consensus("mask", [[brushed(4)], [brushed(8, times=2)], [brushed(12)], []])["regions"][0]
    assert pixels_of_brush(larger["value"]["rle"], 20, 10).sum() == 80 and larger["support"] == 3

    accepted = brushed(8, origin="prediction")
    stroke = brushed(2, origin="manual") | {"id": "n"}
    people = [[accepted], [accepted, stroke], [brushed(8)]]
    (told,) = consensus("mask", people, shown=2)["regions"]
    assert (told["support"], told["anchored"]) == (3, 1), "who adds a stroke has not merely accepted"


def test_points_and_spans_take_the_middle() -> None:
    def point(x: float) -> dict[str, Any]:
        value = {"x": x, "y": 50, "width": 1, "keypointlabels": ["eye"]}
        return {"id": "k", "type": "keypointlabels", "value": value, "original_width": 100, "original_height": 100}

    assert consensus("point", [[point(10)], [point(10)], [point(11)]])["regions"][0]["value"]["x"] == pytest.approx(
        10, abs=0.01
    )
    assert fused_point(np.array([[0.0, 0], [0, 0], [100, 0]]), np.ones(3))[0] == pytest.approx(0, abs=0.1)
    assert fused_span([0, 0, 4], [3, 4, 4]) == (0, 4) and fused_span([0, 1], [3, 3]) == (0, 3)

    def span(start: int, end: int, label: str) -> dict[str, Any]:
        return {"id": "s", "type": "labels", "value": {"start": start, "end": end, "labels": [label]}}

    task = consensus("span", [[span(0, 3, "PER")], [span(0, 3, "PER")], [span(0, 4, "ORG"), span(8, 10, "PER")]])
    assert task["regions"][0]["value"] == {"start": 0, "end": 3} and task["regions"][0]["label"] == "PER"
    assert task["rejected"][0]["value"] == {"start": 8, "end": 10}
    # Passages that have a third in common are one, whose ends are voted on.
    long, short = [span(0, 10, "PER")], [span(6, 10, "PER")]
    (one,) = consensus("span", [long, short, short])["regions"]
    assert (one["value"], one["support"]) == ({"start": 6, "end": 10}, 3)


def test_sets_and_paths_are_asked_for_one_by_one() -> None:
    tags = [{"type": "choices", "value": {"choices": list(chosen)}} for chosen in ("xy", "x", "xy")]
    assert consensus("tags", [[each] for each in tags])["label"] == ["x", "y"]
    assert consensus("tags", [[tags[1]], [], []])["label"] == []
    paths = [{"type": "taxonomy", "value": {"taxonomy": [path]}} for path in (["A", "B"], ["A", "C"], ["A"])]
    assert consensus("tree", [[each] for each in paths])["label"] == ["A"]


def test_numbers_texts_and_orders() -> None:
    stars = [{"type": "rating", "value": {"rating": each}} for each in (1, 4, 5)]
    task = consensus("stars", [[each] for each in stars])
    assert (task["label"], task["support"], task["probability"]) == (4, 1, pytest.approx(1 / 3))
    said = [{"type": "textarea", "value": {"text": [each]}} for each in ("a house", "the house", "the hose")]
    assert consensus("said", [[each] for each in said])["label"] == "the house"
    orders = [{"type": "ranker", "value": {"ranker": list(each)}} for each in ("abc", "acb", "bac")]
    assert consensus("rank", [[each] for each in orders])["label"] == ["a", "b", "c"]


def test_people_weigh_by_how_far_they_agree_with_others() -> None:
    people = [[box(10)], [box(10)], [box(60)]]
    plain, weighed = consensus("box", people), consensus("box", people, "weighted")
    assert plain["regions"][0]["probability"] == pytest.approx(2 / 3)
    assert weighed["regions"][0]["probability"] == 1.0


def test_no_cluster_has_two_regions_of_one_person() -> None:
    alike = np.array([[1, 0.9, 0.8], [0.9, 1, 0.7], [0.8, 0.7, 1]])
    assert clusters_of(alike, [1, 2, 1]) == [[0, 1], [2]]
    assert clusters_of(alike, [1, 2, 3]) == [[0, 1, 2]]
    # A chain is not one thing: its ends have nothing in common.
    chain = np.array([[1, 0.6, 0.0], [0.6, 1, 0.55], [0.0, 0.55, 1]])
    assert clusters_of(chain, [1, 2, 3]) == [[0, 1], [2]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="take one of \\['majority', 'weighted'\\]"):
        consensus("box", [[box(10)]], "dawid_skene")
    with pytest.raises(DataError, match="no judgment"):
        consensus("box", [[], []])
    with pytest.raises(UsageError, match="name one with --control"):
        chosen_control(CONFIG, None)
