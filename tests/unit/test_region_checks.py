"""L11: what leaves fits the label config; every kind of region, right and wrong, held against label_studio_sdk's validator."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from labelloop.label_config import CONTROL_TAGS, parse_label_config

XML = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="rectangle" toName="image"><Label value="cat"/><Label value="dog" alias="hound"/></RectangleLabels>
  <PolygonLabels name="polygon" toName="image"><Label value="cat"/></PolygonLabels>
  <BrushLabels name="brush" toName="image"><Label value="cat"/></BrushLabels>
  <KeyPointLabels name="point" toName="image"><Label value="cat"/></KeyPointLabels>
  <EllipseLabels name="ellipse" toName="image"><Label value="cat"/></EllipseLabels>
  <Text name="text" value="$text"/>
  <Labels name="span" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>
  <HyperText name="page" value="$page"/>
  <HyperTextLabels name="html" toName="page"><Label value="PER"/></HyperTextLabels>
  <Paragraphs name="talk" value="$talk"/>
  <ParagraphLabels name="turn" toName="talk"><Label value="PER"/></ParagraphLabels>
  <Choices name="one" toName="text"><Choice value="good"/><Choice value="not good" alias="bad"/></Choices>
  <Choices name="many" toName="text" choice="multiple"><Choice value="a"/><Choice value=" b "/></Choices>
  <Taxonomy name="tree" toName="text">
    <Choice value="animal"><Choice value="cat"/><Choice value="a dog" alias="dog"/></Choice><Choice value="plant"/>
  </Taxonomy>
  <Taxonomy name="leaves" toName="text" leafsOnly="true" maxUsages="1">
    <Choice value="animal"><Choice value="cat"/></Choice><Choice value="plant"/>
  </Taxonomy>
  <Choices name="asked" toName="text" value="$options"/>
</View>
"""
CONFIG = parse_label_config(XML)
SIZES = {"original_width": 640, "original_height": 480}
RIGHT: dict[str, dict[str, Any]] = {
    "rectangle": {"x": 1, "y": 2.5, "width": 3, "height": 4, "rotation": 0, "rectanglelabels": ["cat"]},
    "polygon": {"points": [[0, 0], [100, 0], [50.5, 100.0]], "closed": True, "polygonlabels": ["cat"]},
    "brush": {"format": "rle", "rle": [0, 0, 255, 17], "brushlabels": ["cat"]},
    "point": {"x": 0, "y": 100, "width": 0.5, "keypointlabels": ["cat"]},
    "ellipse": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 50, "rotation": 30, "ellipselabels": ["cat"]},
    "span": {"start": 0, "end": 4, "text": "John", "labels": ["PER"]},
    "html": {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 2, "endOffset": 5,
             "globalOffsets": {"start": 2, "end": 5}, "text": "abc", "hypertextlabels": ["PER"]},
    "turn": {"start": "0", "end": "1", "startOffset": 9, "endOffset": 2, "paragraphlabels": ["PER"]},
    "one": {"choices": ["bad"]},
    "many": {"choices": ["a", " b "]},
    "tree": {"taxonomy": [["animal"], ["animal", "dog"], ["plant"]]},
    "leaves": {"taxonomy": [["animal", "cat"]]},
    "asked": {"choices": ["what the task offers"]},
}  # fmt: skip


def region(control: str, *, value: Any = None, **other: Any) -> dict[str, Any]:
    """A right region of a control, with changes; what is changed to Ellipsis is left out."""
    known = CONFIG.control(control)
    whole = {"id": "r1", "from_name": control, "to_name": known.to_name, "type": known.region_type, "score": 0.5}
    whole |= SIZES if known.object_tag == "Image" else {}
    whole["value"] = {k: v for k, v in (RIGHT[control] | (value or {})).items() if v is not ...}
    return {k: v for k, v in (whole | other).items() if v is not ...}


@cache
def interface() -> LabelInterface:
    return LabelInterface(XML)


def sdk_refuses(made: dict[str, Any]) -> list[str]:
    found = interface().validate_prediction({"result": [made]}, return_errors=True)
    assert isinstance(found, list)
    return found


def test_every_kind_of_region_is_tried() -> None:
    assert {CONFIG.control(name).tag for name in RIGHT} == set(CONTROL_TAGS)


@pytest.mark.parametrize("control", RIGHT)
def test_a_right_region_fits_and_label_studio_takes_it(control: str) -> None:
    made = region(control)
    assert CONFIG.problem_with(made) is None
    assert sdk_refuses(made) == []


FITS = [
    region("rectangle", value={"rectanglelabels": ["hound"]}),
    region("rectangle", value={"rotation": 45, "x": -3, "y": 99, "width": 20, "height": 30}),
    region("rectangle", value={"rotation": ...}, score=..., id=..., original_width=..., original_height=...),
    region("rectangle", value={"x": 0, "y": 0, "width": 100, "height": 100}, score=None),
    region("rectangle", value={"x": 33.3, "width": 66.7 + 1e-9}),
    region("point", value={"width": ...}),
    region("span", value={"start": 3, "end": 3, "text": ...}),
    region("span", value={"labels": ["PER", "ORG"]}),
    region("turn", value={"start": 1, "end": 1, "startOffset": 2, "endOffset": 2}),
    region("html", value={"globalOffsets": ..., "startOffset": ..., "endOffset": ...}),
    region("one", value={"x": 1, "y": 1, "width": 2, "height": 2}),  # a choice per region carries the region's place
    region("tree", value={"taxonomy": [["animal", "cat"]]}),
]


@pytest.mark.parametrize("made", FITS, ids=range(len(FITS)))
def test_what_people_can_draw_fits(made: dict[str, Any]) -> None:
    assert CONFIG.problem_with(made) is None
    assert sdk_refuses(made) == []


NAN, INF = float("nan"), float("inf")
WRONG: list[tuple[dict[str, Any], str]] = [
    *[(region(name, value={CONFIG.control(name).value_key: ["zzz"] if name not in ("tree", "leaves") else [["zzz"]]}),
       "'zzz' is not in the config") for name in RIGHT if name != "asked"],
    *[(region(name, value={CONFIG.control(name).value_key: []}), "is empty") for name in RIGHT],
    *[(region(name, value={CONFIG.control(name).value_key: ...}), "is empty") for name in RIGHT],
    *[(region(name, score=score), "score") for name in ("one", "span") for score in (1.01, -0.1, NAN, INF, "0.5", True)],
    *[(region("rectangle", value={key: wrong}), f"value.{key}")
      for key in ("x", "y", "width", "height") for wrong in (..., None, "1", NAN, INF, True, 100.5)],
    (region("rectangle", value={"x": -0.5}), "below 0"),
    (region("rectangle", value={"width": 0}), "not above 0"),
    (region("rectangle", value={"height": -4}), "value.height"),
    (region("rectangle", value={"x": 60, "width": 41}), "leaves the image"),
    (region("rectangle", value={"rotation": NAN}), "rotation"),
    (region("rectangle", value={"rotation": 361}), "rotation"),
    (region("rectangle", value={"rectanglelabels": "cat"}), "is empty"),
    (region("rectangle", value={"rectanglelabels": [["cat"]]}), "no list of texts"),
    (region("rectangle", value={"rectanglelabels": [3]}), "no list of texts"),
    (region("rectangle", value={"rectanglelabels": ["cat", "cat"]}), "twice"),
    (region("rectangle", value={"rectanglelabels": ["dog"]}), "'dog' is not in the config"),  # it has an alias
    (region("rectangle", original_width=0), "original_width"),
    (region("rectangle", original_height=-480), "original_height"),
    (region("rectangle", original_height=480.5), "original_height"),
    (region("rectangle", item_index=0), "item_index"),
    (region("rectangle", id=""), "id is no text"),
    (region("rectangle", id=7), "id is no text"),
    (region("rectangle", value={}, to_name="text"), "labels 'image'"),
    (region("rectangle", type="labels"), "type 'rectanglelabels'"),
    (region("rectangle", type=...), "type 'rectanglelabels'"),
    (region("rectangle", from_name="zzz"), "unknown control"),
    (region("rectangle", from_name=["rectangle"]), "unknown control"),
    (region("ellipse", value={"radiusX": 51}), "radiusX"),
    (region("ellipse", value={"radiusY": 0}), "radiusY"),
    (region("ellipse", value={"x": -1}), "value.x"),
    (region("ellipse", value={"radiusX": ...}), "radiusX"),
    (region("point", value={"x": 101}), "value.x"),
    (region("point", value={"y": ...}), "value.y"),
    (region("point", value={"width": -1}), "width"),
    *[(region("polygon", value={"points": points}), "points")
      for points in (..., None, "abc", [], [[0, 0], [1, 1]], [[0, 0], [1, 1], [2]], [[0, 0], [1, 1], [2, NAN]],
                     [[0, 0], [1, 1], [2, 101]], [[0, 0], [1, 1], [-1, 1]], [[0, 0], [1, 1], "ab"])],
    (region("brush", value={"format": "png"}), "format"),
    (region("brush", value={"format": ...}), "format"),
    *[(region("brush", value={"rle": rle}), "rle") for rle in (..., [], [256], [-1], [1.5], [True], "abc")],
    (region("brush", original_width=...), "original_width is missing"),
    *[(region("span", value={key: wrong}), key) for key in ("start", "end") for wrong in (..., "0", 1.5, None, -1, True)],
    (region("span", value={"start": 5}), "behind"),
    (region("span", value={"text": 3}), "value.text"),
    (region("html", value={"start": ""}), "value.start"),
    (region("html", value={"start": 9, "end": 3}), "behind"),
    (region("html", value={"startOffset": 9}), "startOffset"),
    (region("html", value={"endOffset": -1}), "endOffset"),
    (region("html", value={"end": "/p[2]/text()[1]", "endOffset": -1}), "endOffset"),
    (region("turn", value={"startOffset": "9"}), "startOffset"),
    (region("html", value={"globalOffsets": {"start": 9, "end": 5}}), "globalOffsets"),
    (region("turn", value={"start": "x"}), "paragraph"),
    (region("turn", value={"start": "2"}), "behind"),
    (region("turn", value={"end": "0"}), "startOffset"),
    (region("one", value={"choices": ["good", "bad"]}), "takes one choice"),
    (region("one", value={"choices": ["not good"]}), "not in the config"),
    (region("one", value={"choices": ["Good"]}), "not in the config"),
    (region("one", value={"choices": "good"}), "is empty"),
    (region("many", value={"choices": ["b"]}), "not in the config"),  # white space is part of the name
    (region("many", value={"choices": ["a", "a"]}), "twice"),
    (region("tree", value={"taxonomy": ["animal"]}), "no list of paths"),
    (region("tree", value={"taxonomy": [[]]}), "no list of paths"),
    (region("tree", value={"taxonomy": [["cat"]]}), "path 'cat'"),
    (region("tree", value={"taxonomy": [["plant", "cat"]]}), "path 'plant/cat'"),
    (region("tree", value={"taxonomy": [["animal / cat"]]}), "not in the config"),
    (region("leaves", value={"taxonomy": [["animal"]]}), "last level"),
    (region("leaves", value={"taxonomy": [["animal", "cat"], ["plant"]]}), "1 paths at most"),
    (region("asked", value={"choices": ["x", "y"]}), "takes one choice"),
    ({**region("one"), "value": ["choices"]}, "value is no object"),
    ({"from_name": "one", "to_name": "text", "type": "choices"}, "value is no object"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "said"), WRONG, ids=range(len(WRONG)))
def test_l11_what_does_not_fit_is_said(made: dict[str, Any], said: str) -> None:
    found = CONFIG.problem_with(made)
    assert found is not None and said in found


def test_a_list_of_images_has_item_indices_and_no_other() -> None:
    listed = parse_label_config(
        '<View><Image name="image" valueList="$images"/>'
        '<RectangleLabels name="rectangle" toName="image"><Label value="cat"/></RectangleLabels></View>'
    )
    assert listed.problem_with(region("rectangle", item_index=2)) is None
    assert listed.problem_with(region("rectangle")) is None
    for wrong in (-1, "0", 1.0, True):
        assert "item_index" in (listed.problem_with(region("rectangle", item_index=wrong)) or "")


def test_a_span_of_a_sound_has_seconds() -> None:
    sound = parse_label_config(
        '<View><Audio name="text" value="$sound"/><Labels name="span" toName="text"><Label value="PER"/></Labels></View>'
    )
    assert sound.problem_with(region("span", value={"start": 0.25, "end": 1.5, "text": ...})) is None
    assert "behind" in (sound.problem_with(region("span", value={"start": 2.5, "end": 1.5})) or "")


NUMBERS = st.one_of(st.floats(-20, 120), st.floats(), st.integers(-1000, 1000), st.booleans(), st.none(), st.text())


@given(x=NUMBERS, y=NUMBERS, width=NUMBERS, height=NUMBERS, rotation=st.one_of(NUMBERS, st.floats(-400, 400)))
def test_what_is_let_through_label_studio_takes(x: Any, y: Any, width: Any, height: Any, rotation: Any) -> None:
    made = region("rectangle", value={"x": x, "y": y, "width": width, "height": height, "rotation": rotation})
    if CONFIG.problem_with(made) is None:
        assert sdk_refuses(made) == []
        assert all(math.isfinite(made["value"][key]) for key in ("x", "y", "width", "height"))
