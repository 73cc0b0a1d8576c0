"""Spans and choices to Label Studio regions and back; thresholds, metrics and calibration of the text backends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.sklearn_text.calibration import fit_temperature, tempered
from backends.sklearn_text.converters.choices import choice_to_region, chosen_class
from backends.sklearn_text.metrics import macro_f1, majority_class
from backends.spacy_nlp.converters.labels import Span, regions_to_spans, spans_to_regions
from backends.spacy_nlp.metrics import dictionary_spans, entity_f1, match_spans, surface_forms
from backends.spacy_nlp.uncertainty import text_uncertainty
from backends.thresholds import DEFAULT, precision_threshold, show_thresholds
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config

NER_XML = """<View><Labels name="label" toName="text"><Label value="PERSON"/><Label value="ORG"/></Labels>
<Text name="text" value="$text"/></View>"""
CHOICE_XML = """<View><Text name="text" value="$text"/><Choices name="topic" toName="text">
<Choice value="billing"/><Choice value="delivery"/></Choices></View>"""

pieces = st.sampled_from(
    [
        "a",
        "Zoë",
        " ",
        "\r\n",
        "\n",
        "🙂",
        "👩‍🔬",
        "é",
        "e\u0301",
        "漢字",
        "\u200f",
        "\U0001f1eb\U0001f1f7",
        ".",
    ]
)


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = "".join(draw(st.lists(pieces, min_size=1, max_size=30)))
    bounds = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    chosen = draw(st.lists(bounds.filter(lambda b: text[b[0] : b[1]].strip() == text[b[0] : b[1]] != ""), max_size=6))
    label = st.sampled_from(["PERSON", "ORG"])
    return text, [Span(start, end, draw(label)) for start, end in chosen]


@given(texts_with_spans())
def test_spans_survive_the_round_trip_and_offsets_are_code_points(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    config = parse_label_config(NER_XML)
    regions = spans_to_regions(text, spans, "label", "text")
    for region in regions:
        value = region["value"]
        assert text[value["start"] : value["end"]] == value["text"]
        assert config.problem_with(region) is None
    assert regions_to_spans(text, regions, "label") == (sorted(set(spans)), 0)


def test_blank_ends_are_cut_and_what_lies_outside_is_counted() -> None:
    text = "hi  Bob \r\n"
    regions = [
        {"from_name": "label", "type": "labels", "value": {"start": 2, "end": 10, "labels": ["PERSON"]}},
        {"from_name": "label", "type": "labels", "value": {"start": 2, "end": 4, "labels": ["PERSON"]}},
        {"from_name": "label", "type": "labels", "value": {"start": 4, "end": 99, "labels": ["PERSON"]}},
        {"from_name": "label", "type": "labels", "value": {"start": "x", "end": 5, "labels": ["PERSON"]}},
        {"from_name": "other", "type": "labels", "value": {"start": 4, "end": 7, "labels": ["PERSON"]}},
    ]
    assert regions_to_spans(text, regions, "label") == ([Span(4, 7, "PERSON")], 3)


def test_a_span_outside_the_text_is_refused() -> None:
    with pytest.raises(DataError, match="does not lie in a text of 3"):
        spans_to_regions("abc", [Span(1, 4, "PERSON")], "label", "text")


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


def test_entity_f1_counts_only_exact_spans() -> None:
    truth = [Span(0, 3, "PERSON"), Span(5, 8, "ORG")]
    item = match_spans([Span(0, 3, "PERSON", 0.9), Span(5, 9, "ORG", 0.9)], truth)
    assert item == {"tp": {"PERSON": 1}, "fp": {"ORG": 1}, "fn": {"ORG": 1}}
    assert entity_f1([item]) == 0.5
    assert entity_f1([item], "PERSON") == 1.0
    assert entity_f1([match_spans([], [])]) == 0.0


def test_the_dictionary_finds_whole_words_longest_first() -> None:
    forms = surface_forms([("Ann Lee met Ann", [Span(0, 7, "PERSON"), Span(12, 15, "ORG")])])
    assert dictionary_spans("Annie, Ann Lee & Ann", forms) == [Span(7, 14, "PERSON"), Span(17, 20, "ORG")]
    assert dictionary_spans("Ann", {}) == []


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
    temperature = fit_temperature(rows, truth)
    assert temperature < 0.5
    assert tempered(rows, temperature)[0, 0] > 0.8
    assert np.allclose(tempered(rows, temperature).sum(axis=1), 1.0)


@given(st.lists(st.floats(0, 1), max_size=10))
def test_uncertainty_stays_in_bounds_and_grows_with_a_doubt(doubts: list[float]) -> None:
    before = text_uncertainty(doubts)
    assert 0.0 <= before <= 1.0 + 1e-9
    assert text_uncertainty([*doubts, 1.0]) >= before - 1e-9
