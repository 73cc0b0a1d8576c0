"""Tokens and sentences of texts in many scripts: nothing but white space is lost, and the tokens a text came with stay."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.formats.tokens import (
    TOKENS,
    given_starts,
    given_tokens_between,
    line_starts,
    sentence_starts,
    starts_of,
    token_map,
    tokens_between,
)

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def tokens(text: str) -> list[str]:
    return tokens_between(text, 0, len(text))


def sentences(text: str) -> list[str]:
    cuts = [0, *sentence_starts(text), len(text)]
    return [text[a:b].strip() for a, b in pairwise(cuts)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("New York-based firm", ["New", "York", "-", "based", "firm"]),
        ("Ada's, we\u2019ll isn't", ["Ada", "'s", ",", "we", "\u2019ll", "isn", "'t"]),
        ("$1,000.50 at 12:30.", ["$", "1,000.50", "at", "12:30", "."]),
        ("a_b v1.2", ["a_b", "v1", ".", "2"]),
        ("\u6211\u7231\u5317\u4eac\u3002Ada", ["\u6211", "\u7231", "\u5317", "\u4eac", "\u3002", "Ada"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 caf\u0065\u0301", ["\u0939\u093f\u0928\u094d\u0926\u0940", "cafe\u0301"]),
        ("\u0633\u0644\u0627\u060c \u05e9\u05dc\u05dd", ["\u0633\u0644\u0627", "\u060c", "\u05e9\u05dc\u05dd"]),
        ("\U0001f600\U0001f44d\U0001f3fd ok", ["\U0001f600", "\U0001f44d\U0001f3fd", "ok"]),
        ("\U0001f468\u200d\U0001f469\U0001f1e9\U0001f1ea", ["\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea"]),
        ("-DOCSTART- -X- O O", ["-", "DOCSTART", "-", "-", "X", "-", "O", "O"]),
        ("a\u200bb \x00 \ufeffx", ["a\u200bb", "\x00", "\ufeffx"]),
        (" \t\n\u2028\x1f\u00a0", []),
    ],
)  # fmt: skip
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Who met J. Smith of the U.S. Army.", ["Dr. Who met J. Smith of the U.S. Army."]),
        ("He paid 3.5 for v1.2 e.g. today.", ["He paid 3.5 for v1.2 e.g. today."]),
        ('"Why?" he said... Then "so." Good', ['"Why?" he said...', 'Then "so."', "Good"]),
        ("Title\r\n\r\n- one\n(Two) ends. (Three)", ["Title", "- one", "(Two) ends.", "(Three)"]),
        ("\u597d\u3002\u4f60\uff1f\u300c\u5bf9\u3002\u300d", ["\u597d\u3002", "\u4f60\uff1f", "\u300c\u5bf9\u3002\u300d"]),
        ("One\u2028two\x85three", ["One", "two", "three"]),
        ("", [""]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(UNICODE)
def test_tokens_keep_everything_but_white_space(text: str) -> None:
    found = tokens(text)
    assert "".join(found) == "".join(text.split())
    assert not any(character.isspace() for token in found for character in token)
    starts = starts_of(text, found)
    assert starts is not None
    assert [text[start : start + len(token)] for start, token in zip(starts, found, strict=True)] == found


@given(UNICODE, st.data())
def test_stretches_together_have_the_characters_of_the_whole(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    parts = tokens_between(text, 0, cut) + tokens_between(text, cut, len(text))
    assert "".join(parts) == "".join(text.split())


@given(UNICODE)
def test_sentences_begin_inside_the_text_and_in_order(text: str) -> None:
    for starts in (sentence_starts(text), line_starts(text)):
        assert starts == sorted(set(starts))
        assert all(0 < start < len(text) for start in starts)


@given(UNICODE, st.data())
def test_the_tokens_a_text_came_with_are_given_back(text: str, data: st.DataObject) -> None:
    places = [at for at, character in enumerate(text) if not character.isspace()]
    cuts = data.draw(st.sets(st.sampled_from(places))) if places else set()
    begins = [at for at in places if at == 0 or text[at - 1].isspace()]
    starts = sorted(cuts | set(begins))
    noted = given_starts({TOKENS: token_map(text, starts)}, text)
    assert noted == starts
    assert starts_of(text, given_tokens_between(starts, text, 0, len(text))) == starts


@pytest.mark.parametrize("noted", [None, [], {"starts": [0]}, {"starts": [3, 1]}, {"starts": ["0"]}, {"starts": [9]}])
def test_a_map_that_is_none_or_of_another_text_is_not_taken(noted: object) -> None:
    crc = token_map("Ada Bo", [0])["crc32"]
    meta = {TOKENS: {"crc32": crc, **noted} if isinstance(noted, dict) and noted != {"starts": [0]} else noted}
    assert given_starts(meta, "Ada Bo") is None
    assert given_starts({TOKENS: token_map("Ada Bo", [0, 4])}, "Ada Co") is None


@pytest.mark.parametrize(
    ("text", "tokens_"), [("Ada Bo", ["Ada"]), ("Ada Bo", ["Bo"]), ("Ada", ["Ada", "Bo"]), ("A", [])]
)
def test_tokens_of_another_text_are_known(text: str, tokens_: list[str]) -> None:
    assert starts_of(text, tokens_) is None
