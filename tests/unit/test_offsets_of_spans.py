"""Where spans lie: code points, UTF-16 units of older data, united line breaks; never a guess, and all of it counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.formats.offsets import locate_spans, span_offsets, trimmed

GRIN = "\U0001f600"
TEXTS = st.text(st.sampled_from("ab \n\r\t\u00e9\u0301\u6771\u05d0\u200b\U0001f600\U0001f468\u200d"), max_size=40)


def units(text: str, position: int) -> int:
    """The UTF-16 offset of a code point, as JavaScript's strings count."""
    return len(text[:position].encode("utf-16-le")) // 2


def value(start: int, end: int, said: str | None) -> dict[str, Any]:
    return {"start": start, "end": end} | ({} if said is None else {"text": said})


def located(text: str, *values: dict[str, Any]) -> tuple[list[Any], dict[str, int]]:
    notes: Counter[str] = Counter()
    return locate_spans(text, values, notes), dict(notes)


def test_code_points_are_taken_as_they_are() -> None:
    text = f"{GRIN} Ada"
    assert located(text, value(2, 5, "Ada")) == ([(2, 5)], {})
    assert span_offsets(text, value(2, 5, "Ada")) == (2, 5)


def test_utf16_units_are_found_by_the_text_that_was_marked() -> None:
    text = f"{GRIN} Ada met {GRIN}{GRIN} Bo"
    older = [value(units(text, s), units(text, e), text[s:e]) for s, e in ((2, 5), (10, 12), (13, 15))]
    assert located(text, *older) == ([(2, 5), (10, 12), (13, 15)], {"utf16": 3})
    assert span_offsets(text, older[0]) == (2, 5)


def test_one_span_that_fits_as_utf16_alone_decides_for_those_that_fit_both_ways() -> None:
    text = f"{GRIN} aaaa Bo"
    both, only = value(4, 5, "a"), value(8, 10, "Bo")
    assert located(text, both) == ([(4, 5)], {})
    assert located(text, both, only) == ([(3, 4), (7, 9)], {"utf16": 2})


def test_a_newer_span_among_older_ones_is_read_as_it_fits() -> None:
    text = f"{GRIN} Ada Bo Cy"
    found, notes = located(text, value(3, 6, "Ada"), value(7, 9, "Bo"), value(9, 11, "Cy"))
    assert (found, notes) == ([(2, 5), (6, 8), (9, 11)], {"utf16": 2})


def test_spans_without_their_text_follow_the_others_or_are_said_to_be_unchecked() -> None:
    text = f"{GRIN} Ada Bo"
    assert located(text, value(3, 6, "Ada"), value(7, 9, None)) == ([(2, 5), (6, 8)], {"utf16": 2})
    assert located(text, value(2, 5, None)) == ([(2, 5)], {"unchecked": 1})
    assert located("plain Ada", value(6, 9, None)) == ([(6, 9)], {})
    assert located("plain Ada", value(6, 9, "")) == ([(6, 9)], {})


def test_line_breaks_that_were_united_are_found() -> None:
    text = "One\r\nAda\r\nBo"
    assert located(text, value(4, 7, "Ada"), value(8, 10, "Bo")) == ([(5, 8), (10, 12)], {"crlf": 2})
    assert located(text, value(0, 7, "One\\nAda"))[0] == [(0, 8)]
    raw = [value(5, 8, "Ada"), value(0, 8, "One\\n\\nAda")]
    assert located(text, *raw) == ([(5, 8), (0, 8)], {})


def test_utf16_units_in_united_line_breaks_are_found() -> None:
    text = f"{GRIN}\r\n{GRIN}{GRIN}\r\n{GRIN} Ada"
    united = text.replace("\r\n", "\n")
    start = units(united, united.index("Ada"))
    assert located(text, value(start, start + 3, "Ada")) == ([(9, 12)], {"crlf_utf16": 1})


@pytest.mark.parametrize("said", ["a\\nb", "a\nb", "a b", "a\\n\\nb"])
def test_white_space_within_a_span_may_differ(said: str) -> None:
    assert span_offsets("a\nb", value(0, 3, said)) == (0, 3)


@pytest.mark.parametrize(
    ("given_value", "reason"),
    [
        (value(0, 3, "Bob"), "offset_mismatch"),
        (value(0, 99, None), "offset_outside"),
        (value(-2, 3, None), "offset_outside"),
        (value(5, 2, None), "offset_outside"),
        (value(2, 2, "x"), "offset_empty"),
        ({"start": "0", "end": 3}, "offset_missing"),
        ({"start": True, "end": 3}, "offset_missing"),
        ({"start": 0.0, "end": 3.0}, "offset_missing"),
        ({"start": None}, "offset_missing"),
        ({}, "offset_missing"),
    ],
)
def test_a_span_that_does_not_fit_is_refused_with_a_reason_and_counted(given_value: Any, reason: str) -> None:
    (found,), notes = located("Ada met Bo", given_value)
    assert isinstance(found, str)
    assert found.startswith(f"{reason}: ")
    assert notes == {"refused": 1}


def test_half_of_a_surrogate_pair_is_no_place() -> None:
    assert located(f"{GRIN} Ada", value(1, 6, f"{GRIN} Ada"))[1] == {"refused": 1}


@given(TEXTS, st.data())
def test_utf16_offsets_of_any_text_come_back(text: str, data: st.DataObject) -> None:
    spans = []
    for _ in range(3 if text else 0):
        start = data.draw(st.integers(0, len(text) - 1))
        spans.append((start, data.draw(st.integers(start + 1, len(text)))))
    values = [value(units(text, s), units(text, e), text[s:e]) for s, e in spans]
    found, notes = located(text, *values)
    assert "refused" not in notes
    for place, (start, end) in zip(found, spans, strict=True):
        assert text[place[0] : place[1]].split() == text[start:end].split()
    if not notes:
        assert found == [(v["start"], v["end"]) for v in values]


@given(TEXTS, st.data())
def test_code_points_with_their_text_are_never_moved(text: str, data: st.DataObject) -> None:
    if text:
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        assert located(text, value(start, end, text[start:end])) == ([(start, end)], {})


@given(TEXTS, st.data())
def test_trimming_takes_white_space_alone(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    inner = trimmed(text, start, end)
    assert text[inner[0] : inner[1]] == text[start:end].strip()
    assert start <= inner[0] <= inner[1] <= end
