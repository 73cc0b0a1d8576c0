"""Agreement on polygons: exact areas, of concave and self-crossing ones too, beside clipping and beside rasters."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.geometry import clip_polygon, polygon_area, rectangle_corners
from labelloop.label_config import parse_label_config
from labelloop.masks import mask_of_polygons
from qa.kinds.kind import Compared, Readings
from qa.kinds.polygons import POLYGONS
from qa.kinds.registry import kind_of
from qa.measures.mask_overlap import common_pixels
from qa.measures.outline_overlap import common_areas, likely_overlaps, rings_of

Points = list[tuple[float, float]]
SQUARE: Points = [(0, 0), (10, 0), (10, 10), (0, 10)]
#: The square without the notch (4, 4) to (6, 10).
NOTCHED: Points = [(0, 0), (10, 0), (10, 10), (6, 10), (6, 4), (4, 4), (4, 10), (0, 10)]


def control_of(tag: str) -> Any:
    labels = '<Label value="cat"/><Label value="dog"/>' if tag.endswith("Labels") else ""
    config = parse_label_config(
        f'<View><Image name="image" value="$image"/><{tag} name="c" toName="image">{labels}</{tag}></View>'
    )
    return (*config.controls, *config.answers)[0]


def polygon(points: Points, *labels: str, **more: Any) -> dict[str, Any]:
    """Of an image of 200 by 100; `points` in pixels."""
    value = {"points": [[x / 2, y] for x, y in points], "closed": True, "polygonlabels": list(labels)}
    return {
        "id": "r", "from_name": "c", "to_name": "image", "type": "polygonlabels",
        "original_width": 200, "original_height": 100, "value": value, **more,
    }  # fmt: skip


def compared(*results: list[dict[str, Any]]) -> Compared:
    values = [POLYGONS.read(result, control_of("PolygonLabels"), {}) for result in results]
    return POLYGONS.compare(Readings(np.zeros(len(values), np.int64), np.arange(len(values)), values))


def areas(first: Points, second: Points) -> tuple[float, float, float]:
    found = common_areas(
        rings_of([np.array(each, dtype=float) for each in (first, second)]), np.array([0]), np.array([1])
    )
    common, one, other = (float(each[0]) for each in found)
    return common, one, other


@pytest.mark.parametrize("tag", ["PolygonLabels", "Polygon"])
def test_every_tag_of_polygons_is_of_this_kind(tag: str) -> None:
    assert kind_of(control_of(tag)) is POLYGONS


def test_a_notch_is_not_shared() -> None:
    assert areas(SQUARE, NOTCHED) == pytest.approx((88, 100, 88))
    found = compared([polygon(SQUARE, "cat")], [polygon(NOTCHED, "cat")])
    assert found.pairs.to_dicts() == [
        {
            "left": 0, "right": 1, "score": 1.0, "n_both": 2.0, "matched": 1.0, "matched_50_95": pytest.approx(0.8),
            "iou": pytest.approx(0.88), "matched_any": 1.0,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Two notched squares, of which one is upside down: 12 twice is missing, 4 of it in both.
        (NOTCHED, [(x, 10 - y) for x, y in NOTCHED], (80, 88, 88)),
        # Corners and sides that lie on each other.
        (SQUARE, [(0, 0), (5, 0), (5, 10), (0, 10)], (50, 100, 50)),
        (SQUARE, SQUARE[::-1], (100, 100, 100)),
        (SQUARE, [(10, 0), (20, 0), (20, 10), (10, 10)], (0, 100, 100)),
        (SQUARE, [(3, 3), (7, 3), (7, 7), (3, 7)], (16, 100, 16)),
        (SQUARE, [(100, 100), (110, 100), (110, 110)], (0, 100, 50)),
        # A bow tie: two triangles of 25.
        (SQUARE, [(0, 0), (10, 10), (10, 0), (0, 10)], (50, 100, 50)),
        # The same way twice encloses nothing by the rule of odd numbers.
        (SQUARE, SQUARE + SQUARE, (0, 100, 0)),
        # Points and lines.
        (SQUARE, [(5, 5), (5, 5), (5, 5)], (0, 100, 0)),
        (SQUARE, [(0, 0), (10, 10), (0, 0)], (0, 100, 0)),
    ],
)
def test_areas_in_common(first: Points, second: Points, expected: tuple[float, ...]) -> None:
    assert areas(first, second) == pytest.approx(expected, abs=1e-9)
    common, one, other = expected
    assert areas(second, first) == pytest.approx((common, other, one), abs=1e-9)


def test_broken_regions_and_other_images_do_not_match() -> None:
    broken = polygon(SQUARE[:2], "cat")
    value = POLYGONS.read([broken, polygon(SQUARE, "dog", "cat")], control_of("PolygonLabels"), {})
    assert value is not None
    assert (value.labels, value.width, value.height) == (("cat | dog",), 200.0, 100.0)
    assert value.rings[0].tolist() == [list(point) for point in SQUARE]
    assert POLYGONS.read([broken, {**broken, "value": None}], control_of("PolygonLabels"), {}) is None
    found = compared([polygon(SQUARE, "cat", item_index=0)], [polygon(SQUARE, "cat", item_index=1)], [broken])
    assert found.pairs.select("left", "right", "matched", "n_both").rows() == [
        (0, 1, 0.0, 2.0), (0, 2, 0.0, 1.0), (1, 2, 0.0, 1.0),
    ]  # fmt: skip


def test_a_label_without_the_size_of_the_image_meets_those_with_it() -> None:
    unknown = {**polygon(NOTCHED, "cat"), "original_width": None}
    assert compared([unknown], [polygon(NOTCHED, "cat")]).pairs["iou"].to_list() == pytest.approx([1.0])


def test_huge_numbers_match_nothing_and_spoil_nothing() -> None:
    huge = polygon([(1e300, 0), (0, 1e303), (-1e304, -1e300), (0, 1e280), (1e-300, 5)], "cat")
    result = [polygon(NOTCHED, "cat"), huge, polygon([(x + 20, y) for x, y in SQUARE], "cat")]
    found = compared(result, result)
    assert found.pairs["matched"].to_list() == [2.0]
    assert found.pairs["iou"].to_list() == pytest.approx([2.0])


def test_nobody_matches_twice_and_another_class_is_judged_by_place() -> None:
    small: Points = [(0, 0), (10, 0), (10, 9), (0, 9)]
    found = compared([polygon(SQUARE, "cat"), polygon(small, "cat")], [polygon(SQUARE, "cat")], [polygon(small, "dog")])
    assert found.pairs.select("matched", "matched_any").rows() == [(1.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    judged = found.judged.group_by("unit", maintain_order=True).agg("value")["value"].to_list()
    assert judged == [["cat", "cat"], ["cat", "dog"], ["cat", "dog"]]


corner = st.tuples(st.integers(0, 24), st.integers(0, 24))
ring = st.lists(corner, min_size=3, max_size=9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ring, ring), min_size=1, max_size=3))
def test_areas_are_those_of_rasters(pairs: list[tuple[Points, Points]]) -> None:
    """Any closed line, also one that crosses itself: a fine raster tells the same but for the pixels along the sides."""
    fine = 16
    rings = rings_of([np.array(each, dtype=float) for pair in pairs for each in pair])
    first = np.arange(0, 2 * len(pairs), 2)
    found = common_areas(rings, first, first + 1)
    for at, (a, b) in enumerate(pairs):
        # A little off the grid, so that no side runs through the middle of pixels.
        masks = [mask_of_polygons([np.array(each) * fine + 0.123], 25 * fine, 25 * fine) for each in (a, b)]
        wanted = [common_pixels(*masks), masks[0].area, masks[1].area]
        around = sum(math.dist(p, q) for each in (a, b) for p, q in zip(each, each[1:] + each[:1], strict=True))
        assert [float(each[at]) for each in found] == pytest.approx(
            [count / fine**2 for count in wanted], abs=0.5 * around / fine + 1e-9
        )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 50), st.floats(0, 50), st.floats(1, 60), st.floats(1, 60), st.floats(-360, 360)
        ).map(lambda v: rectangle_corners(dict(zip(("x", "y", "width", "height", "rotation"), v, strict=True)), 200, 100)),
        min_size=2, max_size=4,
    )
)  # fmt: skip
def test_turned_rectangles_share_what_clipping_leaves(corners: list[Any]) -> None:
    first, second = np.array(list(itertools.product(range(len(corners)), repeat=2))).T
    rings = rings_of(corners)
    common, one, other = common_areas(rings, first, second)
    wanted = [polygon_area(clip_polygon(corners[a], corners[b])) for a, b in zip(first, second, strict=True)]
    assert common == pytest.approx(np.array(wanted), rel=1e-6, abs=1e-6)
    assert one == pytest.approx(np.array([polygon_area(corners[a]) for a in first]))
    iou = common / (one + other - common)
    at, likely = likely_overlaps(rings, first, second)
    assert set(np.flatnonzero(iou >= 0.5 + 1e-9)) <= set(at) <= set(np.flatnonzero(iou >= 0.5 - 1e-9))
    assert likely == pytest.approx(iou[at])


def test_many_pairs_in_pieces_are_the_same_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    source = np.random.default_rng(5)
    rings = rings_of([source.uniform(0, 20, (size, 2)) for size in source.integers(3, 40, 30)])
    first, second = source.integers(0, 30, (2, 60))
    at_once = common_areas(rings, first, second)
    monkeypatch.setattr("qa.measures.outline_overlap._SIDES", 20)
    monkeypatch.setattr("qa.measures.outline_overlap._PAIRS", 7)
    assert np.array(common_areas(rings, first, second)) == pytest.approx(np.array(at_once))
