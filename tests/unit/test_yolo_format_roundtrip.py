"""What is written as YOLO comes back: to 1e-6 of the image, with each task's losses as declared."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelloop.geometry import bounds, rectangle_points
from labelloop.label_config import parse_label_config
from labelloop.masks import brush_of_pixels, pixels_of_brush
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.media import folder_fetch
from sync.formats.reading import read_labelled
from sync.formats.sources import open_export

#: Of the image, the error that eight decimals and two sums may make.
BOUND = 1e-6
SIZE = (640, 360)
TAGS = ("RectangleLabels", "PolygonLabels", "KeyPointLabels", "BrushLabels")
XML = '<View><Image name="image" value="$image"/>{}</View>'
LABELS = '<Label value="a &amp; b"/><Label value="c"/>'
few = settings(max_examples=25, deadline=None)


def config(*tags: str) -> str:
    return XML.format("".join(f'<{tag} name="{tag}" toName="image">{LABELS}</{tag}>' for tag in tags))


def region(tag: str, value: dict[str, Any], label: str, number: int, **more: Any) -> dict[str, Any]:
    kind = tag.lower()
    return {
        "id": f"r{number}", "from_name": tag, "to_name": "image", "type": kind, "value": {**value, kind: [label]},
        "original_width": SIZE[0], "original_height": SIZE[1],
    } | more  # fmt: skip


def there_and_back(results: list[list[dict[str, Any]]], xml: str, task: str) -> list[list[dict[str, Any]]]:
    """The regions of each image, written with copies and read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        tasks = []
        for number, result in enumerate(results):
            Image.new("L", SIZE).save(folder / "pictures" / f"{number:03}.png")
            label = {"id": number, "completed_by": 1, "result": result}
            tasks.append({"id": number, "data": {"image": f"{number:03}.png"}, "annotations": [label]})
        (folder / "export.json").write_bytes(orjson.dumps(tasks))
        (folder / "config.xml").write_text(xml)
        source = open_export(folder / "export.json", folder / "config.xml", "latest")
        options = ExportOptions(task=task, images=True)
        report = export_dataset(
            source, "yolo", folder / "out", options=options, fetch=folder_fetch(folder / "pictures")
        )
        assert report.items == len(results)
        labelled = read_labelled(folder / "out", "yolo", config=parse_label_config(xml))
        found = {str(item.data["image"]): item.result for item in labelled}
        assert labelled.rejected == [] and len(found) == len(results)
        return [found[name] for name in sorted(found)]


percent = st.floats(0, 90)
label = st.sampled_from(["a & b", "c"])


@st.composite
def upright(draw: st.DrawFn) -> dict[str, float]:
    x, y = draw(percent), draw(percent)
    return {
        "x": x, "y": y, "width": draw(st.floats(0.01, 100 - x)), "height": draw(st.floats(0.01, 100 - y)),
        "rotation": 0,
    }  # fmt: skip


@st.composite
def inside(draw: st.DrawFn) -> dict[str, float]:
    """A turned rectangle whose corners are all on the image, not so thin that eight decimals lose its direction."""
    value = {
        "x": 0.0, "y": 0.0, "width": draw(st.floats(2, 40)), "height": draw(st.floats(2, 40)),
        "rotation": draw(st.floats(0, 359)),
    }  # fmt: skip
    x0, y0, x1, y1 = bounds(rectangle_points(value, *SIZE))
    free_x, free_y = SIZE[0] - (x1 - x0), SIZE[1] - (y1 - y0)
    shrink = 0.9 * min(1.0, SIZE[0] / (x1 - x0), SIZE[1] / (y1 - y0)) if min(free_x, free_y) <= 0 else 1.0
    value |= {"width": value["width"] * shrink, "height": value["height"] * shrink}
    x0, y0, x1, y1 = bounds(rectangle_points(value, *SIZE))
    x = -x0 + draw(st.floats(0, 1)) * (SIZE[0] - (x1 - x0))
    y = -y0 + draw(st.floats(0, 1)) * (SIZE[1] - (y1 - y0))
    return value | {"x": 100 * x / SIZE[0], "y": 100 * y / SIZE[1]}


def numbers(value: dict[str, Any]) -> list[float]:
    return [value[key] for key in ("x", "y", "width", "height")]


@given(st.lists(st.lists(st.tuples(upright(), label), max_size=4, unique_by=str), min_size=1, max_size=4))
@few
def test_boxes(images: list[list[tuple[dict[str, float], str]]]) -> None:
    results = [[region("RectangleLabels", *each, n) for n, each in enumerate(found)] for found in images]
    back = there_and_back(results, config("RectangleLabels"), "detect")
    for found, regions in zip(images, back, strict=True):
        assert [each["value"]["rectanglelabels"] for each in regions] == [[name] for _, name in found]
        for (value, _), each in zip(found, regions, strict=True):
            assert numbers(each["value"]) == pytest.approx(numbers(value), abs=100 * BOUND, rel=0)


@given(st.lists(st.tuples(inside(), label), min_size=1, max_size=6, unique_by=str))
@few
def test_turned_boxes(found: list[tuple[dict[str, float], str]]) -> None:
    results = [[region("RectangleLabels", *each, 1)] for each in found]
    back = there_and_back(results, config("RectangleLabels"), "obb")
    for (value, name), (each,) in zip(found, back, strict=True):
        assert each["value"]["rectanglelabels"] == [name]
        drawn, read = (np.array(rectangle_points(place, *SIZE)) for place in (value, each["value"]))
        # The same rectangle, called by any of its corners.
        errors = [np.abs(np.roll(read, turn, axis=0) - drawn).max() for turn in range(4)]
        assert min(errors) <= BOUND * max(SIZE)


points = st.lists(st.tuples(percent, percent), min_size=3, max_size=8, unique=True)


def is_broad(outline: list[tuple[float, float]]) -> bool:
    from labelloop.geometry import points_area

    return points_area(outline) > 1e-3


@given(st.lists(st.tuples(points.filter(is_broad), label), min_size=1, max_size=5, unique_by=str))
@few
def test_polygons(found: list[tuple[list[tuple[float, float]], str]]) -> None:
    result = [region("PolygonLabels", {"points": outline}, name, n) for n, (outline, name) in enumerate(found)]
    (back,) = there_and_back([result], config("PolygonLabels"), "segment")
    for (outline, name), each in zip(found, back, strict=True):
        assert each["value"]["polygonlabels"] == [name]
        assert np.array(each["value"]["points"]) == pytest.approx(np.array(outline), abs=100 * BOUND, rel=0)


@st.composite
def blots(draw: st.DrawFn) -> Any:
    """A mask of rectangles, some of them holes."""
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    for inked in draw(st.lists(st.booleans(), min_size=1, max_size=6)):
        x, y = draw(st.integers(0, SIZE[0] - 2)), draw(st.integers(0, SIZE[1] - 2))
        mask[y : y + draw(st.integers(1, 90)), x : x + draw(st.integers(1, 90))] = inked
    mask[0, 0] = True
    return mask


@given(st.lists(blots(), min_size=1, max_size=3))
@few
def test_masks_come_back_to_the_pixel(masks: list[Any]) -> None:
    results = [[region("BrushLabels", {"format": "rle", "rle": brush_of_pixels(mask)}, "c", 1)] for mask in masks]
    back = there_and_back(results, config("BrushLabels"), "segment")
    for mask, (each,) in zip(masks, back, strict=True):
        assert (pixels_of_brush(each["value"]["rle"], *SIZE) == mask).all()


@given(st.lists(st.tuples(upright(), label, st.lists(st.tuples(label, percent, percent), max_size=2)), max_size=3))
@few
def test_key_points(found: list[tuple[dict[str, float], str, list[tuple[str, float, float]]]]) -> None:
    result, wanted = [], []
    for number, (value, name, marks) in enumerate(found):
        box = region("RectangleLabels", value, name, 10 * number)
        own = {mark: (x, y) for mark, x, y in reversed(marks)}
        result.append(box)
        for place, (mark, (x, y)) in enumerate(own.items()):
            at = {"x": x, "y": y, "width": 1}
            result.append(region("KeyPointLabels", at, mark, 10 * number + place + 1, parentID=box["id"]))
        entry = (name, numbers(value), own)
        if entry not in wanted:  # of equal rows one is left
            wanted.append(entry)
    (back,) = there_and_back([result], config("RectangleLabels", "KeyPointLabels"), "pose")
    boxes = [each for each in back if each["type"] == "rectanglelabels"]
    assert len(boxes) == len(wanted)
    for box, (name, place, own) in zip(boxes, wanted, strict=True):
        assert box["value"]["rectanglelabels"] == [name]
        assert numbers(box["value"]) == pytest.approx(place, abs=100 * BOUND, rel=0)
        theirs = [each["value"] for each in back if each.get("parentID") == box["id"]]
        read = {each["keypointlabels"][0]: (each["x"], each["y"]) for each in theirs}
        assert read.keys() == own.keys()
        for mark, at in own.items():
            assert read[mark] == pytest.approx(at, abs=100 * BOUND, rel=0)


@given(st.lists(label, min_size=1, max_size=5))
@few
def test_classes_of_images(names: list[str]) -> None:
    xml = XML.format(f'<Choices name="Choices" toName="image">{LABELS.replace("Label", "Choice")}</Choices>')
    results = [[region("Choices", {}, name, 1)] for name in names]
    back = there_and_back(results, xml, "classify")
    assert [[each["value"]["choices"] for each in regions] for regions in back] == [[[name]] for name in names]
