"""Texts in their normal form: what is changed and counted, and where a span of the original stands afterwards."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ingesting.examining import _moved_labels
from sync.ingesting.items import Labels, Refusal
from sync.ingesting.texts import all_cleaned, cleaned, decoded, moved, normalised, plain

#: Characters that take part in every change, beside plain ones.
TRICKY = st.text(
    st.sampled_from("ab e\u0301\u0327\u1100\u1161\r\n\0\ufeff\ud83d\ude00\ud800\udc00é👩‍👩‍👧"), max_size=12
)


@pytest.mark.parametrize(
    ("text", "expected", "changes"),
    [
        ("plain", "plain", set()),
        ("\ufeffa", "a", {"bom"}),
        ("a\0b", "ab", {"nul"}),
        ("a\r\nb\rc\n", "a\nb\nc\n", {"line_ends"}),
        ("e\u0301", "é", {"nfc"}),
        ("\ud83d\ude00", "😀", {"surrogates"}),
        ("a\ud83d", "a\ufffd", {"surrogates"}),
        ("\ufeffe\u0301\0\r\n", "é\n", {"bom", "nfc", "nul", "line_ends"}),
    ],
)
def test_a_text_gets_its_normal_form(text: str, expected: str, changes: set[str]) -> None:
    assert normalised(text) == (expected, changes)


@given(TRICKY)
def test_the_normal_form_stays_as_it_is_and_every_service_keeps_it(text: str) -> None:
    once, _ = normalised(text)
    again, changes = normalised(once)
    assert (again, changes - {"bom"}) == (once.removeprefix("\ufeff"), set())
    assert "\0" not in once and "\r" not in once and unicodedata.is_normalized("NFC", once)
    assert json.loads(json.dumps(once, ensure_ascii=False).encode()) == once


@given(TRICKY, st.integers(0, 12))
def test_an_offset_moves_to_where_its_rest_begins(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    whole = normalised(text)[0]
    place = moved(text, offset)
    if place is not None:
        assert whole[:place] == normalised(text[:offset])[0]
        assert 0 <= place <= len(whole)
    assert moved(text, len(text)) == len(whole)


def test_spans_move_with_their_text_and_one_that_is_cut_in_two_is_refused() -> None:
    before = "Rene\u0301\r\nlives in Bonn"

    def span(start: int, end: int) -> dict[str, object]:
        return {"type": "labels", "value": {"start": start, "end": end, "labels": ["x"]}}

    box = {"type": "rectanglelabels", "value": {"x": 1}}
    first, place = before.index("Rene"), before.index("Bonn")
    labels = Labels((span(first, 5), span(place, place + 4), span(0, 4), box), "here")
    after = normalised(before)[0]
    found = _moved_labels(labels, before, after)
    assert [region["value"].get("text") for region in found.result] == ["René", "Bonn", None]
    assert after[found.result[1]["value"]["start"] : found.result[1]["value"]["end"]] == "Bonn"
    assert len(found.refused) == 1 and "0 to 4" in found.refused[0]


def test_bytes_that_do_not_decode_are_told_with_their_place() -> None:
    assert decoded("é".encode()) == "é" and decoded(b"\xe9", "latin-1") == "é"
    with pytest.raises(Refusal, match=r"not utf-8 at byte 13 \(0xff\)") as caught:
        decoded(b"abc\xff", at=10)
    assert caught.value.reason == "encoding"
    with pytest.raises(Refusal, match="begins like utf-16"):
        decoded("x".encode("utf-16"))


def test_values_of_rows_become_json() -> None:
    value = plain({"a": [1, 2.5, float("inf"), None, True, "\0x"], 3: 2**70})
    assert value == {"a": [1, 2.5, None, None, True, "\0x"], "3": str(2**70)}
    assert all_cleaned(value)["a"][5] == "x"
    with pytest.raises(Refusal, match="type bytes"):
        plain({"a": b"x"})
    assert cleaned("\ufeff") == ("", {"bom"})
