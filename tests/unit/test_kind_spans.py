"""Spans of texts, dialogues, hypertexts and sounds: how they are read, and how two people's compare."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelloop.label_config import Control, parse_label_config
from qa.kinds.kind import Compared, Readings
from qa.kinds.shapes import Spans
from qa.kinds.spans import SPANS
from qa.measures.span_matching import relaxed_matches, span_iou, span_iou_matrix

CONFIG = parse_label_config(
    '<View><Text name="text" value="$text"/><Labels name="label" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>'
    '<HyperText name="page" value="$page"/><HyperTextLabels name="html" toName="page"><Label value="PER"/></HyperTextLabels>'
    '<Paragraphs name="talk" value="$talk" textKey="said"/><ParagraphLabels name="turn" toName="talk"><Label value="PER"/>'
    '</ParagraphLabels><Audio name="sound" value="$sound"/><Labels name="noise" toName="sound"><Label value="dog"/></Labels>'
    "</View>"
)
TEXT = "Ada 😀 met Bo"


def region(control: Control, value: dict[str, Any], *labels: str) -> dict[str, Any]:
    return {
        "id": "r", "from_name": control.name, "to_name": control.to_name, "type": control.region_type,
        "value": {**value, control.value_key: list(labels)},
    }  # fmt: skip


def read(
    name: str, *values: dict[str, Any], data: dict[str, Any] | None = None, labels: tuple[str, ...] = ("PER",)
) -> Any:
    control = CONFIG.control(name)
    return SPANS.read([region(control, value, *labels) for value in values], control, data or {})


def spans(*found: tuple[int, int, str], text: str | None = TEXT) -> Spans | None:
    if not found:
        return None
    starts, ends, labels = zip(*sorted(found), strict=True)
    empty = ("",) * len(found)
    return Spans(starts, ends, labels, empty, empty, text)


def compare(*people: Spans | None) -> Compared:
    return SPANS.compare(Readings(np.ones(len(people), np.int64), np.arange(len(people)), people))


def total(compared: Compared, metric: str) -> float:
    ratio = SPANS.ratios[metric]
    return float(ratio.factor * compared.pairs[ratio.over].sum() / compared.pairs[ratio.under].sum())


def test_spans_of_a_text_are_read_with_their_classes() -> None:
    found = read("label", {"start": 4, "end": 5}, {"start": 0, "end": 3}, data={"text": TEXT}, labels=("PER", "ORG"))
    assert (found.starts, found.ends) == ((0, 0, 4, 4), (3, 3, 5, 5))
    assert found.labels == ("ORG", "PER", "ORG", "PER") and found.text == TEXT and set(found.places) == {""}


@pytest.mark.parametrize(
    "value", [{}, {"start": "0", "end": 3}, {"start": 5, "end": 3}, {"start": True, "end": 3}, {"start": 1}]
)
def test_what_has_no_readable_ends_is_left_out(value: dict[str, Any]) -> None:
    assert read("label", value) is None
    assert read("label", value, {"start": 0, "end": 3}).starts == (0,)


def test_hypertext_counts_through_the_page_where_the_label_tells_that() -> None:
    node = {"start": "/div[1]/p[1]/text()[1]", "end": "/div[1]/p[1]/text()[1]", "startOffset": 2, "endOffset": 5}
    known = read("html", {**node, "globalOffsets": {"start": 12, "end": 15}})
    assert (known.starts, known.ends, known.places) == ((12,), (15,), ("",))
    inside = read("html", node)
    assert (inside.starts, inside.places) == ((2,), ("/div[1]/p[1]/text()[1]",))
    other = read("html", {**node, "start": "/div[1]/p[2]/text()[1]", "end": "/div[1]/p[2]/text()[1]"})
    assert total(compare(inside, inside), "f1_strict") == 1.0
    assert total(compare(inside, other), "f1_relaxed") == 0.0
    across = read("html", {**node, "end": "/div[1]/p[2]/text()[1]", "endOffset": 1})
    assert total(compare(across, across), "f1_strict") == 1.0


def test_dialogues_count_through_their_paragraphs() -> None:
    talk = {"talk": [{"said": "Hi Ada"}, {"said": "Hi"}, {"said": "Bo"}]}
    value = {"start": "0", "end": "1", "startOffset": 3, "endOffset": 2}
    found = read("turn", value, data=talk)
    assert (found.starts, found.ends, found.text) == ((3,), (9,), "Hi Ada\nHi\nBo")
    unknown = read("turn", value)
    assert (unknown.starts, unknown.ends, unknown.places) == ((3,), (2,), ("0 to 1",))
    assert read("turn", {"start": "x", "end": "1", "startOffset": 0, "endOffset": 2}) is None


def test_sounds_have_seconds_and_channels_and_no_tokens() -> None:
    left = read("noise", {"start": 0.5, "end": 1.5, "channel": 0}, labels=("dog",))
    right = read("noise", {"start": 0.5, "end": 1.5, "channel": 1}, labels=("dog",))
    assert total(compare(left, left), "f1_strict") == 1.0 and total(compare(left, right), "f1_strict") == 0.0
    assert compare(left, left).judged.is_empty()


def test_strict_relaxed_and_without_classes() -> None:
    found = compare(spans((0, 3, "PER"), (10, 12, "ORG")), spans((0, 3, "ORG"), (9, 12, "ORG")))
    assert found.pairs["score"].to_list() == [0.0]
    assert total(found, "f1_strict_any_class") == 0.5 and total(found, "f1_relaxed") == 0.5
    assert total(found, "mean_iou") == pytest.approx(2 / 3)
    by_class = {row["class"]: row for row in found.by_class.to_dicts()}
    assert (by_class["ORG"]["n_both"], by_class["ORG"]["relaxed"], by_class["PER"]["n_both"]) == (3, 1, 1)


def test_two_empty_labels_are_no_pair_and_one_is_a_disagreement() -> None:
    assert compare(None, None).pairs.is_empty()
    assert compare(spans((0, 3, "PER")), None).pairs["score"].to_list() == [0.0]


def test_tokens_carry_the_classes_over_them() -> None:
    judged = compare(spans((0, 3, "PER"), (0, 9, "ORG")), None).judged
    values = judged.group_by("place", maintain_order=True).agg(pl.col("value"))["value"].to_list()
    # Ada, the emoji, met, Bo: the second span ends in the middle of "met".
    assert values == [["ORG | PER", "ORG", "ORG", ""], ["", "", "", ""]]
    assert judged["unit"].n_unique() == 4


places = st.tuples(st.sampled_from(["", "p"]), st.integers(0, 6), st.integers(0, 6)).map(
    lambda each: (each[0], float(min(each[1:])), float(max(each[1:])))
)


@given(st.lists(places, max_size=4), st.lists(places, max_size=4))
def test_relaxed_matches_are_the_best_one_to_one(first: list[Any], second: list[Any]) -> None:
    matched = relaxed_matches(first, second)
    assert max(Counter(i for i, _, _ in matched).values(), default=1) == 1
    assert max(Counter(j for _, j, _ in matched).values(), default=1) == 1
    assert all(iou == span_iou(first[i], second[j]) > 0 for i, j, iou in matched)
    few, many = sorted((first, second), key=len)
    best = max(sum(span_iou(a, b) for a, b in zip(few, order, strict=False)) for order in permutations(many, len(few)))
    assert sum(iou for _, _, iou in matched) == pytest.approx(best)
    assert span_iou_matrix(first, second).tolist() == [[span_iou(a, b) for b in second] for a in first]
