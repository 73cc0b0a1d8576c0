"""Agreement on boxes: one-to-one matching in columns beside plain loops, turned boxes and ellipses beside formulas."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from labelloop.label_config import parse_label_config
from qa.issues.placed import placed_in
from qa.kinds.boxes import BOXES
from qa.kinds.kind import Compared, Readings
from qa.kinds.registry import kind_of
from qa.measures.boxes import iou_matrix
from qa.measures.matching import THRESHOLDS, best_matching, every_pair, times_matched

TAGS = ("RectangleLabels", "Rectangle", "EllipseLabels", "Ellipse")
SIZE = (200, 100)


def control_of(tag: str) -> Any:
    labels = '<Label value="cat"/><Label value="dog"/>' if tag.endswith("Labels") else ""
    config = parse_label_config(
        f'<View><Image name="image" value="$image"/><{tag} name="c" toName="image">{labels}</{tag}></View>'
    )
    return (*config.controls, *config.answers)[0]


def region(tag: str, value: dict[str, Any], *labels: str, **more: Any) -> dict[str, Any]:
    control = control_of(tag)
    named = {control.value_key: list(labels)} if labels else {}
    return {
        "id": "r", "from_name": "c", "to_name": "image", "type": control.region_type,
        "original_width": SIZE[0], "original_height": SIZE[1], "value": {**value, **named}, **more,
    }  # fmt: skip


def box(x: float, y: float, w: float, h: float, *labels: str, turn: float = 0.0, **more: Any) -> dict[str, Any]:
    """A rectangle in percent."""
    return region("RectangleLabels", {"x": x, "y": y, "width": w, "height": h, "rotation": turn}, *labels, **more)


def ellipse(x: float, y: float, a: float, b: float, *labels: str, turn: float = 0.0) -> dict[str, Any]:
    return region("EllipseLabels", {"x": x, "y": y, "radiusX": a, "radiusY": b, "rotation": turn}, *labels)


def compared(*results: list[dict[str, Any]], tag: str = "RectangleLabels", tasks: list[int] | None = None) -> Compared:
    control = control_of(tag)
    values = [BOXES.read(result, control, {}) for result in results]
    task = np.array(tasks or [7] * len(values))
    return BOXES.compare(Readings(task, np.arange(len(values)), values))


def metrics(rows: pl.DataFrame, ratios: Any = BOXES.ratios) -> dict[str, float | None]:
    return {
        name: None if not (under := rows[ratio.under].sum()) else ratio.factor * rows[ratio.over].sum() / under
        for name, ratio in ratios.items()
    }


# -- hand-computed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_of_boxes_is_of_this_kind(tag: str) -> None:
    assert kind_of(control_of(tag)) is BOXES


def test_what_matches_what_is_told_by_sums() -> None:
    # Equal, half as wide (IoU 0.5), and one that only the first drew.
    found = compared(
        [box(0, 0, 10, 10, "cat"), box(20, 0, 10, 10, "cat"), box(60, 60, 10, 10, "dog")],
        [box(0, 0, 10, 10, "cat"), box(20, 0, 5, 10, "cat")],
    )
    assert found.pairs.to_dicts() == [
        {
            "left": 0, "right": 1, "score": pytest.approx(0.8), "n_both": 5.0, "matched": 2.0,
            "matched_50_95": pytest.approx(1.1), "iou": pytest.approx(1.5), "matched_any": 2.0,
        }
    ]  # fmt: skip
    assert metrics(found.pairs) == pytest.approx(
        {"f1_50": 0.8, "f1_50_95": 0.44, "mean_iou": 0.75, "f1_50_any_class": 0.8}
    )
    assert found.by_class.sort("class").select("class", "n_both", "matched", "iou").rows() == [
        ("cat", 4.0, 2.0, pytest.approx(1.5)),
        ("dog", 1.0, 0.0, 0.0),
    ]
    assert BOXES.headline in BOXES.ratios


def test_two_small_boxes_in_a_large_one_match_it_once() -> None:
    found = compared([box(0, 0, 10, 10, "cat"), box(0, 0, 10, 9, "cat")], [box(0, 0, 10, 10, "cat")])
    assert found.pairs["matched"].to_list() == [1.0]
    assert found.pairs["iou"].to_list() == pytest.approx([1.0])
    assert found.pairs["score"].to_list() == pytest.approx([2 / 3])


def test_boxes_drawn_twice_match_as_often_as_both_drew_them() -> None:
    twice, thrice = [box(0, 0, 10, 10, "cat")] * 2, [box(0, 0, 10, 10, "cat")] * 3
    found = compared(twice, thrice)
    assert found.pairs.select("matched", "n_both", "matched_50_95").rows() == [(2.0, 5.0, pytest.approx(2.0))]


def test_another_class_is_no_match_but_a_place_that_is_judged() -> None:
    found = compared([box(0, 0, 10, 10, "cat")], [box(0, 0, 10, 10, "dog")])
    assert metrics(found.pairs) == {"f1_50": 0.0, "f1_50_95": 0.0, "mean_iou": None, "f1_50_any_class": 1.0}
    assert found.judged.sort("place").rows() == [(0, 0, "cat"), (0, 1, "dog")]
    assert found.by_class.sort("class").select("class", "n_both", "matched").rows() == [
        ("cat", 1.0, 0.0), ("dog", 1.0, 0.0),
    ]  # fmt: skip


def test_of_equal_places_those_of_equal_classes_are_judged_together() -> None:
    both = [box(0, 0, 10, 10, "cat"), box(0, 0, 10, 10, "dog")]
    judged = compared(both, both[::-1]).judged
    by_unit = judged.group_by("unit").agg(pl.col("value").n_unique())
    assert by_unit["value"].to_list() == [1, 1]


def test_nothing_beside_something_is_no_agreement_and_two_of_nothing_are_left_out() -> None:
    found = compared([], [box(0, 0, 10, 10, "cat")], [])
    assert found.pairs.select("left", "right", "score", "n_both").rows() == [(0, 1, 0.0, 1.0), (1, 2, 0.0, 1.0)]
    nothing = compared([], [])
    assert nothing.pairs.height == nothing.by_class.height == nothing.judged.height == 0
    assert nothing.pairs.columns == found.pairs.columns
    assert nothing.judged.schema == {"unit": pl.Int64, "place": pl.Int64, "value": pl.String}


def test_boxes_of_other_images_of_a_task_never_match() -> None:
    first, second = [box(0, 0, 10, 10, "cat", item_index=0)], [box(0, 0, 10, 10, "cat", item_index=1)]
    assert compared(first, second).pairs["matched"].to_list() == [0.0]
    assert compared(second, second).pairs["matched"].to_list() == [1.0]


def test_tasks_do_not_meet_and_three_people_meet_in_three_pairs() -> None:
    one = [box(0, 0, 10, 10, "cat")]
    found = compared(one, one, one, one, one, tasks=[1, 1, 1, 2, 2])
    assert found.pairs.select("left", "right").rows() == [(0, 1), (0, 2), (1, 2), (3, 4)]
    units = (
        found.judged.with_columns(task=pl.col("place") >= 3).group_by("unit").agg(pl.col("task").n_unique(), pl.len())
    )
    assert units["task"].unique().to_list() == [1]
    assert units["len"].unique().to_list() == [2]


@pytest.mark.parametrize(
    "broken",
    [
        {"x": None, "y": 0, "width": 5, "height": 5},
        {"x": 0, "y": 0, "width": float("nan"), "height": 5},
        {"x": 0, "y": 0},
        {},
        None,
        "text",
    ],
)
def test_broken_regions_are_left_out(broken: Any) -> None:
    result = [{**box(0, 0, 1, 1), "value": broken}, box(0, 0, 10, 10, "dog", "cat")]
    value = BOXES.read(result, control_of("RectangleLabels"), {})
    assert value is not None
    assert value.labels == ("cat | dog",)
    assert (value.width, value.height) == SIZE
    assert BOXES.read(result[:1], control_of("RectangleLabels"), {}) is None


def test_huge_numbers_match_nothing_and_spoil_nothing() -> None:
    good, huge = box(10, 10, 30, 30, "cat", turn=20), box(1e300, -1e300, 1e305, 1e305, "cat", turn=30)
    found = compared([good, huge], [good, huge], [good], [good], tasks=[1, 1, 2, 2])
    assert found.pairs["matched"].to_list() == [1.0, 1.0]


def test_regions_of_other_controls_are_left_out() -> None:
    assert BOXES.read([{**box(0, 0, 1, 1, "cat"), "from_name": "other"}], control_of("RectangleLabels"), {}) is None


def test_a_label_without_the_size_of_the_image_meets_those_with_it() -> None:
    unknown = {**box(10, 10, 30, 30, "cat"), "original_width": None, "original_height": 0}
    found = compared([unknown], [box(10, 10, 30, 30, "cat")], [unknown])
    assert found.pairs["iou"].to_list() == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("tag", ["Rectangle", "Ellipse"])
def test_a_tag_without_classes_matches_by_place_and_judges_nothing(tag: str) -> None:
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "radiusX": 10, "radiusY": 10}
    found = compared([region(tag, value)], [region(tag, value)], tag=tag)
    assert found.pairs["score"].to_list() == [1.0]
    assert found.judged.height == found.by_class.height == 0


# -- turned boxes and ellipses ----------------------------------------------------------------------------------------


def test_a_square_turned_by_45_degrees_shares_an_octagon_with_itself() -> None:
    # 40 x 40 px about (100, 50), and the same turned about that middle: its top corner lies 20 * sqrt(2) above.
    square = box(40, 30, 20, 40, "cat")
    turned = box(50, 50 - 20 * math.sqrt(2), 20, 40, "cat", turn=45)
    share = 2 * (math.sqrt(2) - 1)
    assert compared([square], [turned]).pairs["iou"].to_list() == pytest.approx([share / (2 - share)])


def test_a_box_turned_by_180_degrees_is_the_same_from_the_other_corner() -> None:
    assert compared([box(40, 30, 20, 40, "cat")], [box(60, 70, 20, 40, "cat", turn=180)]).pairs["iou"].to_list() == (
        pytest.approx([1.0])
    )


def test_ellipses_in_each_other_share_the_smaller_one() -> None:
    found = compared([ellipse(50, 50, 20, 40, "cat")], [ellipse(50, 50, 15, 35, "cat")], tag="EllipseLabels")
    assert found.pairs["iou"].to_list() == pytest.approx([15 * 35 / (20 * 40)], abs=1e-6)


def test_circles_that_are_apart_share_their_lens() -> None:
    # Radius 20 px, 8 px apart.
    found = compared([ellipse(50, 50, 10, 20, "cat")], [ellipse(54, 50, 10, 20, "cat")], tag="EllipseLabels")
    lens = 2 * 400 * math.acos(8 / 40) - 4 * math.sqrt(4 * 400 - 64)
    assert found.pairs["iou"].to_list() == pytest.approx([lens / (2 * math.pi * 400 - lens)], abs=2e-3)


def test_an_ellipse_turned_by_90_degrees_is_one_with_its_axes_swapped() -> None:
    # In pixels: 40 by 20, turned, is 20 by 40.
    found = compared([ellipse(50, 50, 20, 20, "a", turn=90)], [ellipse(50, 50, 10, 40, "a")], tag="EllipseLabels")
    assert found.pairs["iou"].to_list() == pytest.approx([1.0])


# -- beside plain loops -----------------------------------------------------------------------------------------------

#: On a coarse grid, so that boxes meet, and lie in each other's way.
boxes = st.lists(
    st.builds(
        lambda x, y, w, h, turn, label, item: box(5 * x, 5 * y, 5 * w, 5 * h, label, turn=turn, item_index=item),
        st.integers(0, 2), st.integers(0, 2), st.integers(1, 4), st.integers(1, 4),
        st.sampled_from([0, 0, 0, 0, 10, 90]), st.sampled_from(["cat", "cat", "dog"]), st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=7,
)  # fmt: skip


def plainly(first: Any, second: Any) -> dict[str, float] | None:
    """The sums of two labels by scipy's assignment over the whole table, and the IoU of `qa.measures.boxes`."""
    empty = np.zeros((0, 4, 2))
    a, b = (empty if value is None else value.corners for value in (first, second))
    if len(a) + len(b) == 0:
        return None
    iou = iou_matrix(a, b)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        if first.items[i] != second.items[j]:
            iou[i, j] = 0.0
    same = iou.copy()
    for i, j in itertools.product(range(len(a)), range(len(b))):
        if first.labels[i] != second.labels[j]:
            same[i, j] = 0.0

    def matched(table: Any, threshold: float) -> list[float]:
        worth = np.where(table >= threshold, table + 1e-9, 0.0)
        return [table[i, j] for i, j in zip(*linear_sum_assignment(worth, maximize=True), strict=True) if worth[i, j]]

    return {
        "n_both": len(a) + len(b),
        "matched": len(matched(same, 0.5)),
        "iou": sum(matched(same, 0.5)),
        "matched_50_95": sum(len(matched(same, t)) for t in THRESHOLDS) / len(THRESHOLDS),
    }


def is_doubtful(values: list[Any]) -> bool:
    """Whether an IoU lies so near a threshold that the last digit decides."""
    there = [value for value in values if value is not None]
    return any(
        (np.abs(iou_matrix(a.corners, b.corners)[..., None] - THRESHOLDS) < 1e-9).any()
        for a, b in itertools.combinations(there, 2)
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(boxes, min_size=2, max_size=4))
def test_columns_tell_what_plain_loops_tell(results: list[list[dict[str, Any]]]) -> None:
    control = control_of("RectangleLabels")
    values = [BOXES.read(result, control, {}) for result in results]
    found = BOXES.compare(Readings(np.zeros(len(values), np.int64), np.arange(len(values)), values))
    expected = {
        pair: sums
        for pair in itertools.combinations(range(len(values)), 2)
        if (sums := plainly(values[pair[0]], values[pair[1]])) is not None
    }
    assert found.pairs.select("left", "right").rows() == list(expected)
    if is_doubtful(values):
        return
    for row in found.pairs.to_dicts():
        wanted = expected[row["left"], row["right"]]
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
        assert row["score"] == pytest.approx(2 * wanted["matched"] / wanted["n_both"])
        assert row["matched"] <= row["matched_any"] <= row["n_both"] / 2
    totals = found.by_class.group_by("left", "right").agg(pl.col("n_both", "matched", "matched_50_95", "iou").sum())
    together = found.pairs.join(totals, on=["left", "right"], suffix="_of_classes")
    assert together.height == found.pairs.height
    for name in ("n_both", "matched", "matched_50_95", "iou"):
        assert together[name].to_list() == pytest.approx(together[f"{name}_of_classes"].to_list())
    assert found.judged.height == 2 * found.pairs["matched_any"].sum()


@settings(max_examples=30, deadline=None)
@given(st.lists(boxes, min_size=2, max_size=2))
def test_who_is_named_first_does_not_matter(results: list[list[dict[str, Any]]]) -> None:
    sums = [compared(*order).pairs.drop("left", "right") for order in (results, results[::-1])]
    assert sums[0].shape == sums[1].shape
    for name in sums[0].columns:
        assert sums[0][name].to_list() == pytest.approx(sums[1][name].to_list())


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(50, 99)), max_size=20, unique_by=lambda e: e[:2]
    )
)
def test_no_matching_has_a_larger_sum(edges: list[tuple[int, int, int]]) -> None:
    first, second, percent = np.array(edges, dtype=np.int64).reshape(-1, 3).T
    worth = percent / 100
    table = np.zeros((7, 7))
    table[first, second] = worth
    chosen = best_matching(first, second, worth)
    rows, columns = linear_sum_assignment(table, maximize=True)
    assert worth[chosen].sum() == pytest.approx(table[rows, columns].sum())
    assert len(set(first[chosen])) == len(set(second[chosen])) == chosen.sum()
    sums = [np.where(table >= threshold, table, 0.0) for threshold in THRESHOLDS]
    best = sum(one[linear_sum_assignment(one, maximize=True)].sum() for one in sums)
    assert (times_matched(first, second, worth) * worth).sum() == pytest.approx(best)


def test_a_stricter_threshold_has_a_matching_of_its_own() -> None:
    # At .5 the outer two win (0.55 + 0.55 > 0.9); from .6 on only the one in the middle is left.
    first, second, worth = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.55, 0.55])
    assert best_matching(first, second, worth).tolist() == [False, True, True]
    assert times_matched(first, second, worth).tolist() == [7, 2, 2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6), st.integers(1, 9))
def test_pieces_hold_every_pair_once(shapes: list[tuple[int, int]], most: int) -> None:
    sizes = np.array(shapes).ravel()
    starts = np.cumsum(sizes) - sizes
    left, right = np.arange(0, len(sizes), 2), np.arange(1, len(sizes), 2)
    found = [
        row for piece in every_pair(left, right, starts, sizes, most) for row in zip(*map(list, piece), strict=True)
    ]
    assert found == [
        (n, starts[2 * n] + i, starts[2 * n + 1] + j)
        for n, (a, b) in enumerate(shapes)
        for i in range(a)
        for j in range(b)
    ]


def test_a_rectangle_has_the_class_of_the_labels_beside_it() -> None:
    value = {"x": 10, "y": 10, "width": 20, "height": 20}
    drawn = region("Rectangle", value)
    named = drawn | {"from_name": "l", "type": "labels", "value": {**value, "labels": ["cat"]}}
    other = region("Rectangle", value, id="s")
    control = control_of("Rectangle")
    read = BOXES.read([drawn, named, other], control, {})
    assert read is not None and read.labels == ("cat", "")
    assert placed_in([drawn, named, other], control, BOXES, {}).labels == ("cat", "")
