"""Choices to Label Studio regions and back; thresholds, metrics and calibration of the text classifier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.calibration import fit_class_temperature, tempered
from backends.control_metrics import majority_class
from backends.sklearn_text.converters.choices import choice_to_region, chosen_class
from backends.sklearn_text.metrics import macro_f1
from backends.thresholds import DEFAULT, precision_threshold, show_thresholds
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config

CHOICE_XML = """<View><Text name="text" value="$text"/><Choices name="topic" toName="text">
<Choice value="billing"/><Choice value="delivery"/></Choices></View>"""


@given(st.sampled_from(["billing", "delivery"]), st.floats(0, 1))
def test_a_choice_survives_the_round_trip(label: str, score: float) -> None:
    config = parse_label_config(CHOICE_XML)
    region = choice_to_region(label, score, config.control("topic").classes, "topic", "text")
    assert config.problem_with(region) is None
    assert region["score"] == score
    assert chosen_class([region], ("billing", "delivery"), "topic") == label
    assert chosen_class([region], ("other",), "topic") is None
    with pytest.raises(DataError, match="not in the label config"):
        choice_to_region(label, score, ("other",), "topic", "text")


def test_macro_f1_is_over_the_true_classes_only() -> None:
    items = [
        {"truth": "a", "predicted": "a"},
        {"truth": "a", "predicted": "c"},
        {"truth": "b", "predicted": None},
    ]
    assert macro_f1(items) == pytest.approx((2 / 3 + 0) / 2)
    assert macro_f1([]) == 0.0
    assert majority_class(["b", "a", "b"]) == "b"
    assert majority_class(["b", "a"]) == "a"
    assert majority_class([]) is None


def test_the_threshold_is_the_lowest_with_enough_precision() -> None:
    pairs = [(0.9, True)] * 7 + [(0.5, False)] * 3 + [(0.4, False)]
    assert precision_threshold(pairs) == 0.5
    assert precision_threshold([(0.9, False)] * 30) == 1.0
    few = show_thresholds({"a": [(0.9, True)] * 19}, ["a", "b"])
    assert few == {"a": DEFAULT, "b": DEFAULT}
    many = show_thresholds({"a": [(0.9, True)] * 20, "b": [(0.2, False)] * 3}, ["a", "b"])
    assert many == {"a": 0.9, "b": 0.2}


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.6, 0.9]), st.booleans()), max_size=60))
def test_what_is_above_the_threshold_has_the_precision(pairs: list[tuple[float, bool]]) -> None:
    threshold = precision_threshold(pairs)
    shown = [right for score, right in pairs if score >= threshold]
    assert threshold == 1.0 or (len(shown) >= 5 and sum(shown) / len(shown) >= 0.7)


def test_a_temperature_below_one_sharpens_an_unsure_classifier() -> None:
    rows = np.array([[0.6, 0.4], [0.4, 0.6]] * 50)
    truth = np.array([0, 1] * 50)
    temperature = fit_class_temperature(rows, truth)
    assert temperature < 0.5
    assert tempered(rows, temperature)[0, 0] > 0.8
    assert np.allclose(tempered(rows, temperature).sum(axis=1), 1.0)
