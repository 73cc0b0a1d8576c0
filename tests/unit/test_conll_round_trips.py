"""Labelled texts of any script go into CoNLL columns and come back to the code point; what is lost is what was declared."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from text_exports import exported, marked_at, read, sentences_of, spans_in, task

#: Letters and marks of many scripts, emoji with joiners, white space and line breaks of all kinds, controls.
ALPHABET = (
    "abZ09_.,!?'\"-#()/\\ \t\n\r\v\x1c\x85\u00a0\u2028\u2003\u200b\u200d\u202e\ufeff\x00\x07\u0301\u093f\u0939\u094d\u05d0\u0633"
    "\u060c\u6771\u3002\u300c\uff01\uac00\u0e01\u0e34\U0001f600\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea\U00020000\u2019\u20ac"
)
TEXT = st.one_of(
    st.text(st.sampled_from(ALPHABET), max_size=50), st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
)


@st.composite
def labelled_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, str]]]:
    """A text with spans that may nest, overlap, cut words, and have white space at their ends."""
    text = draw(TEXT)
    spans = []
    for _ in range(draw(st.integers(0, 4)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        spans.append(
            (start, draw(st.integers(start + 1, len(text))), draw(st.sampled_from(["PER", "First Name", "ORG"])))
        )
    return text, spans


def kept(text: str, spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """What the declared losses leave: trimmed, of overlapping ones the longest, then the first in the text."""
    trimmed = [
        (start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip()), label)
        for start, end, label in spans
        if (inside := text[start:end]).strip()
    ]
    found: list[tuple[int, int, str]] = []
    for span in sorted(sorted(trimmed, key=lambda each: each[0]), key=lambda each: each[0] - each[1]):
        if all(span[1] <= each[0] or each[1] <= span[0] for each in found):
            found.append(span)
    return sorted(found)


@settings(max_examples=120, deadline=None)
@given(st.lists(labelled_texts(), min_size=1, max_size=4))
def test_spans_of_any_text_come_back(found: list[tuple[str, list[tuple[int, int, str]]]]) -> None:
    tasks: list[dict[str, Any]] = [
        task(
            number,
            text,
            *[marked_at(text, start, end, label, id=f"s{i}") for i, (start, end, label) in enumerate(spans)],
        )
        for number, (text, spans) in enumerate(found, start=1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        out, report = exported(Path(folder), "conll", tasks)
        documents = sentences_of(out / "train.conll")
        labelled = read(out, "conll")
        items = list(labelled)
        back = spans_in(labelled)
    assert [item.data for item in items] == [{"text": text} for text, _ in found]
    assert back == [kept(text, spans) for text, spans in found]
    assert report.n_skipped + report.objects == sum(len(spans) for _, spans in found)
    assert not labelled.rejected
    assert len(documents) == len(found)
    assert all(labelled.config.problem_with(region) is None for item in items for region in item.result)


@settings(max_examples=60, deadline=None)
@given(st.lists(labelled_texts(), min_size=1, max_size=3))
def test_a_second_trip_changes_nothing(found: list[tuple[str, list[tuple[int, int, str]]]]) -> None:
    tasks = [
        task(number, text, *[marked_at(text, *span, id=f"s{i}") for i, span in enumerate(spans)])
        for number, (text, spans) in enumerate(found, start=1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        first, _ = exported(Path(folder), "conll", tasks, out="first")
        labelled = read(first, "conll")
        again = [
            task(number, item.data["text"], *item.result) | {"meta": dict(item.meta)}
            for number, item in enumerate(labelled, start=1)
        ]
        second, report = exported(Path(folder), "conll", again, labelled.config.xml, out="second")
        assert spans_in(read(second, "conll")) == spans_in(read(first, "conll"))
        tokens = [
            [[row for sentence in document for row in sentence] for document in sentences_of(out / "train.conll")]
            for out in (first, second)
        ]
    assert tokens[0] == tokens[1]
    assert report.n_skipped == 0
