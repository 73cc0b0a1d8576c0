"""Which regions people see."""

from __future__ import annotations

import math
from typing import Any

import pytest

from backends import BACKENDS, backend_module
from backends.showing import shown_regions
from backends.thresholds import DEFAULT
from labelloop.errors import UsageError
from labelloop.values import Outcome


def box(score: Any, label: str = "Cat", **value: Any) -> dict[str, Any]:
    corners = {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0} | value
    return {
        "id": f"{label}-{score}", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "score": score,
        "value": {**corners, "rectanglelabels": [label]},
    }  # fmt: skip


def scores(regions: list[dict[str, Any]]) -> list[float]:
    return [region["score"] for region in regions]


def test_each_class_has_its_own_threshold_and_the_best_come_first() -> None:
    outcome = Outcome(regions=(box(0.5), box(0.9, "Dog"), box(0.6), box(0.89, "Dog")))
    assert scores(shown_regions(outcome, {"label": {"Cat": 0.5, "Dog": 0.9}})) == [0.9, 0.6, 0.5]


def test_a_class_without_a_threshold_gets_the_default() -> None:
    outcome = Outcome(regions=(box(DEFAULT), box(DEFAULT - 0.01)))
    assert scores(shown_regions(outcome, {})) == [DEFAULT]


def test_at_most_fifty_the_best_ones() -> None:
    outcome = Outcome(regions=tuple(box(0.3 + index / 1000) for index in range(80)))
    shown = scores(shown_regions(outcome, {}))
    assert len(shown) == 50
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(0.379)


@pytest.mark.parametrize("score", [None, math.nan, math.inf, "0.9", True])
def test_a_region_without_a_real_score_is_not_shown(score: Any) -> None:
    assert shown_regions(Outcome(regions=(box(score),)), {"label": {"Cat": 0.0}}) == []


def test_a_region_with_a_number_that_is_not_finite_is_not_shown() -> None:
    assert shown_regions(Outcome(regions=(box(0.9, x=math.nan), box(0.8))), {})[0]["score"] == 0.8


def test_a_region_needs_the_threshold_of_every_class_it_carries() -> None:
    region = box(0.6)
    region["value"]["rectanglelabels"] = ["Cat", "Dog"]
    assert shown_regions(Outcome(regions=(region,)), {"label": {"Cat": 0.5, "Dog": 0.7}}) == []
    assert shown_regions(Outcome(regions=(region,)), {"label": {"Cat": 0.5, "Dog": 0.6}}) == [region]


def test_a_failed_task_shows_nothing() -> None:
    assert shown_regions(Outcome("unreadable", regions=(box(0.9),)), {}) == []


def test_an_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'yolo'.*sklearn_text, spacy_nlp, yolo"):
        backend_module("yollo")


def test_a_backend_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.find_spec", lambda name: None)
    for name, entry in BACKENDS.items():
        with pytest.raises(UsageError, match=rf"pip install 'labelloop\[{entry.extra}\]'"):
            backend_module(name)
