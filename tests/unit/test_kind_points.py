"""Agreement on key points: one-to-one matching by nearness, beside plain loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from labelloop.label_config import parse_label_config
from qa.kinds.kind import Compared, Readings
from qa.kinds.points import POINTS
from qa.kinds.registry import kind_of
from qa.measures.key_points import SIGMA

#: A diagonal of 500 px: one sigma is 25 px.
WIDTH, HEIGHT = 400, 300


def control_of(tag: str) -> Any:
    labels = '<Label value="nose"/><Label value="tail"/>' if tag.endswith("Labels") else ""
    config = parse_label_config(
        f'<View><Image name="image" value="$image"/><{tag} name="c" toName="image">{labels}</{tag}></View>'
    )
    return (*config.controls, *config.answers)[0]


def point(x: float, y: float, *labels: str, **more: Any) -> dict[str, Any]:
    """`x` and `y` in pixels."""
    value = {"x": x * 100 / WIDTH, "y": y * 100 / HEIGHT, "width": 0.5, "keypointlabels": list(labels)}
    return {
        "id": "r", "from_name": "c", "to_name": "image", "type": "keypointlabels",
        "original_width": WIDTH, "original_height": HEIGHT, "value": value, **more,
    }  # fmt: skip


def compared(*results: list[dict[str, Any]]) -> Compared:
    values = [POINTS.read(result, control_of("KeyPointLabels"), {}) for result in results]
    return POINTS.compare(Readings(np.zeros(len(values), np.int64), np.arange(len(values)), values))


@pytest.mark.parametrize("tag", ["KeyPointLabels", "KeyPoint"])
def test_every_tag_of_points_is_of_this_kind(tag: str) -> None:
    assert kind_of(control_of(tag)) is POINTS


def test_a_sigma_apart_is_a_likeness_of_061() -> None:
    found = compared([point(100, 100, "nose"), point(300, 200, "tail")], [point(115, 120, "nose")])
    assert found.pairs.to_dicts() == [
        {
            "left": 0, "right": 1, "score": pytest.approx(2 / 3), "n_both": 3.0, "matched": 1.0,
            "matched_50_95": pytest.approx(0.3), "oks": pytest.approx(math.exp(-0.5)), "matched_any": 1.0,
        }
    ]  # fmt: skip
    assert set(POINTS.ratios) == {"f1_50", "f1_50_95", "mean_oks", "f1_50_any_class"}
    assert found.by_class.sort("class").select("class", "n_both", "matched").rows() == [
        ("nose", 2.0, 1.0), ("tail", 1.0, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize(("apart", "matched"), [(29, 1.0), (30, 0.0)])
def test_points_match_up_to_118_sigma(apart: float, matched: float) -> None:
    assert compared([point(100, 100, "nose")], [point(100 + apart, 100, "nose")]).pairs["matched"].to_list() == [
        matched
    ]


def test_points_match_one_to_one_within_their_class_and_image() -> None:
    nose = point(100, 100, "nose")
    found = compared([nose, nose], [nose], [point(100, 100, "tail")], [{**nose, "item_index": 1}], [])
    rows = {row["right"]: (row["matched"], row["matched_any"]) for row in found.pairs.to_dicts() if row["left"] == 0}
    assert rows == {1: (1.0, 1.0), 2: (0.0, 1.0), 3: (0.0, 0.0), 4: (0.0, 0.0)}
    values = found.judged.group_by("unit").agg(found.judged["value"].name)["value"].to_list()
    assert sorted(map(sorted, values)) == [["nose", "nose"], ["nose", "tail"], ["nose", "tail"]]


def test_broken_points_are_left_out() -> None:
    control = control_of("KeyPointLabels")
    broken = [
        {**point(1, 1, "nose"), "value": value} for value in (None, {}, {"x": "a", "y": 1}, {"x": math.inf, "y": 1})
    ]
    value = POINTS.read([*broken, point(40, 30, "tail")], control, {})
    assert value is not None
    assert value.places.tolist() == [pytest.approx([40, 30])]
    assert POINTS.read(broken, control, {}) is None


def test_a_label_without_the_size_of_the_image_meets_those_with_it() -> None:
    unknown = {**point(100, 100, "nose"), "original_width": None}
    assert compared([unknown], [point(115, 120, "nose")]).pairs["oks"].to_list() == pytest.approx([math.exp(-0.5)])


places = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 4), st.sampled_from(["nose", "nose", "tail"])), max_size=6
)


@settings(max_examples=80, deadline=None)
@given(st.lists(places, min_size=2, max_size=3))
def test_points_match_as_plain_loops_match_them(people: list[list[tuple[int, int, str]]]) -> None:
    found = compared(*([point(12 * x, 12 * y, label) for x, y, label in each] for each in people))
    rows = {(row["left"], row["right"]): row for row in found.pairs.to_dicts()}
    for i, j in itertools.combinations(range(len(people)), 2):
        a, b = people[i], people[j]
        if not a and not b:
            assert (i, j) not in rows
            continue
        table = np.zeros((len(a), len(b)))
        for n, (x, y, label) in enumerate(a):
            for m, (u, v, other) in enumerate(b):
                likeness = math.exp(-144 * ((x - u) ** 2 + (y - v) ** 2) / (2 * (SIGMA * 500) ** 2))
                table[n, m] = likeness + 1e-9 if label == other and likeness >= 0.5 else 0.0
        best = table[linear_sum_assignment(table, maximize=True)]
        row = rows[i, j]
        assert row["oks"] == pytest.approx(best.sum(), abs=1e-6)
        assert row["matched"] == (best > 0).sum()
        assert row["score"] == pytest.approx(2 * row["matched"] / (len(a) + len(b)))
