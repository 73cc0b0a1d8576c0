"""Span agreement: strict F1, and labels per token and per character."""

from __future__ import annotations

import pytest

from qa.measures import character_values, span_counts, span_f1, token_values, undefined

TEXT = "Ada Lovelace went to Paris."


def test_strict_f1_needs_both_ends_and_the_label() -> None:
    first = [(0, 12, "PER"), (21, 26, "LOC")]
    assert span_f1(first, first).value == 1.0
    assert span_f1(first, [(0, 12, "PER"), (21, 27, "LOC")]).value == pytest.approx(0.5)
    assert span_f1(first, [(0, 12, "LOC")]).value == 0.0


def test_nobody_marked_anything_is_undefined() -> None:
    assert span_f1([], []) == undefined("neither has a span", 1, 1)


def test_a_doubled_span_counts_twice() -> None:
    assert span_counts([(0, 3, "A"), (0, 3, "A")], [(0, 3, "A")]) == (1, 2, 1)


def test_tokens_take_the_labels_that_touch_them() -> None:
    found = token_values(TEXT, [(0, 12, "PER"), (4, 12, "NAME"), (21, 26, "LOC")])
    assert found == ["PER", "NAME\x1fPER", "", "", "LOC", ""]


def test_characters_beyond_the_text_are_not_labelled() -> None:
    assert character_values(3, [(1, 9, "A"), (-2, 1, "B")]) == ["B", "A", "A"]
