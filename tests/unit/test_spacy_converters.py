"""Spans of plain text, HTML and dialogues, and choices, to Label Studio regions and back; metrics and uncertainty."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.spacy_nlp.converters.choices import choices_region
from backends.spacy_nlp.converters.hypertext_labels import HtmlText, nesting
from backends.spacy_nlp.converters.labels import Document, PlainText, Span, region_spans, span_regions
from backends.spacy_nlp.converters.paragraph_labels import Dialogue
from backends.spacy_nlp.dictionary import dictionary_spans, surface_forms
from backends.spacy_nlp.documents import MAX_CHARACTERS, read_document
from backends.spacy_nlp.uncertainty import text_uncertainty
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from labelloop.values import Outcome

XML = (
    '<View><{tag} name="label" toName="text"><Label value="PERSON"/><Label value="ORG"/></{tag}>'
    '<{object} name="text" value="$text"/></View>'
)
KINDS = {
    "labels": ("Labels", "Text"),
    "hypertextlabels": ("HyperTextLabels", "HyperText"),
    "paragraphlabels": ("ParagraphLabels", "Paragraphs"),
}
SIGNS = [
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
    "&",
    "<",
]
texts = st.lists(st.sampled_from(SIGNS), min_size=1, max_size=30).map("".join)


@st.composite
def spans_of(draw: st.DrawFn, text: str) -> list[Span]:
    bounds = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    chosen = draw(st.lists(bounds, max_size=5))
    label = st.sampled_from(["PERSON", "ORG"])
    return [Span(s, e, draw(label)) for s, e in chosen if text[s:e] and text[s:e].strip() == text[s:e]]


def check_round_trip(document: Document, piece: int, spans: list[Span], kind: str) -> list[dict[str, Any]]:
    tag, object_tag = KINDS[kind]
    config = parse_label_config(XML.format(tag=tag, object=object_tag))
    regions = list(span_regions(document, piece, spans, "label", "text", kind))
    for region, span in zip(regions, spans, strict=True):
        assert region["value"]["text"] == document.texts[piece][span.start : span.end]
        assert config.problem_with(region) is None
    found, unusable = region_spans(document, regions, "label", kind)
    assert unusable == 0
    assert found[piece] == sorted(set(spans))
    assert not any(found[:piece] + found[piece + 1 :])
    return regions


@given(st.data())
def test_spans_of_a_text_survive_the_round_trip_and_offsets_are_code_points(data: st.DataObject) -> None:
    text = data.draw(texts)
    spans = data.draw(spans_of(text))
    for region in check_round_trip(PlainText(text), 0, spans, "labels"):
        value = region["value"]
        assert text[value["start"] : value["end"]] == value["text"]


@given(st.data())
def test_spans_of_a_turn_survive_the_round_trip_and_offsets_are_utf_16_units(data: st.DataObject) -> None:
    turns = data.draw(st.lists(texts, min_size=1, max_size=4))
    piece = data.draw(st.integers(0, len(turns) - 1))
    dialogue = Dialogue.of([{"author": "A", "text": turn} for turn in turns])
    assert dialogue is not None
    spans = data.draw(spans_of(turns[piece]))
    for region in check_round_trip(dialogue, piece, spans, "paragraphlabels"):
        value = region["value"]
        units = turns[piece].encode("utf-16-le")
        said = units[2 * value["startOffset"] : 2 * value["endOffset"]].decode("utf-16-le")
        assert (value["start"], value["end"], said) == (str(piece), str(piece), value["text"])


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


@given(st.data())
def test_spans_of_html_survive_the_round_trip_over_inline_tags(data: st.DataObject) -> None:
    parts = data.draw(st.lists(texts, min_size=1, max_size=5))
    tags = data.draw(st.lists(st.sampled_from(["b", "i", "span", ""]), min_size=len(parts), max_size=len(parts)))
    inner = "".join(
        f"<{tag}>{escaped(part)}</{tag}>" if tag else escaped(part) for tag, part in zip(tags, parts, strict=True)
    )
    document = HtmlText(f"<h1>A title</h1><p>{inner}</p><div>the end</div>")
    number = {text: at for at, text in enumerate(document.texts)}
    wanted = "".join(parts).replace("\r\n", "\n")
    if wanted.strip():
        assert wanted in number
        check_round_trip(document, number[wanted], data.draw(spans_of(wanted)), "hypertextlabels")
    assert document.texts[0] == "A title" and document.texts[-1] == "the end"


def test_html_regions_are_those_of_a_browser() -> None:
    html = (
        "<div><p><b>Jules</b>: No no.<br>Mr. <i>Wolfe</i>'s &amp; 🙂 Zoë</p></div><style>p { color: red }</style>"
        "<table><tr><td>x<!-- y -->Ann</table><script>Bob</script>tail"
    )
    document = HtmlText(html)
    assert document.texts == ("Jules: No no.", "Mr. Wolfe's & 🙂 Zoë", "xAnn", "tail")
    assert document.place(0, 0, 10) == {
        "start": "/div[1]/p[1]/b[1]/text()[1]", "startOffset": 0,
        "end": "/div[1]/p[1]/text()[1]", "endOffset": 5,
        "globalOffsets": {"start": 0, "end": 10}, "text": "Jules: No ",
    }  # fmt: skip
    wolfe = document.place(1, 4, 9)
    assert (wolfe["start"], wolfe["startOffset"], wolfe["endOffset"]) == ("/div[1]/p[1]/i[1]/text()[1]", 0, 5)
    assert wolfe["globalOffsets"] == {"start": 18, "end": 23}  # the <br> counts as one
    zoe = document.place(1, 16, 19)
    assert (zoe["text"], zoe["start"], zoe["startOffset"]) == ("Zoë", "/div[1]/p[1]/text()[3]", 7)
    assert document.place(2, 1, 4)["start"] == "/table[1]/tbody[1]/tr[1]/td[1]/text()[2]"


def test_an_html_region_is_found_by_its_path_else_by_its_offsets_and_may_begin_at_an_element() -> None:
    document = HtmlText("<div><p>Ann <b>Lee</b></p><p>Bob</p></div>")
    by_element = {"start": "/div[1]/p[2]", "startOffset": 0, "end": "/div[1]/p[2]/text()[1]", "endOffset": 3}
    assert document.bounds(by_element) == [(1, 0, 3)]
    by_offsets = {"start": "/x[1]", "end": "/x[1]", "globalOffsets": {"start": 4, "end": 9}}
    assert document.bounds(by_offsets) == [(0, 4, 7), (1, 0, 2)]
    assert document.bounds({"start": "/x[1]", "end": "/x[1]", "startOffset": 0, "endOffset": 1}) == []


def test_deep_html_is_read_as_deep_as_a_browser_reads_it() -> None:
    html = "<br><p>" * 1_000 + "<b>" * 500 + "Ann" + "</b>" * 500
    assert nesting(html) == 500
    document = read_document({"x": html}, "x", "HyperText")
    assert not isinstance(document, Outcome) and document.texts == ("Ann",)
    value = document.place(0, 0, 3)
    assert value["start"] == "/p[1000]" + "/b[1]" * 500 + "/text()[1]"
    assert document.bounds(value) == [(0, 0, 3)]
    deeper = read_document({"x": "x" + "<div>" * 100_000}, "x", "HyperText")
    assert isinstance(deeper, Outcome) and deeper.status == "too_large"


def test_html_that_is_part_of_a_page_keeps_its_leading_white_space() -> None:
    assert HtmlText(" <b>Ann</b>", inline=True).texts == (" Ann",)
    assert HtmlText(" <b>Ann</b>").texts == ("Ann",)
    assert HtmlText("", inline=True).texts == HtmlText("").texts == ()


def test_a_region_over_several_turns_gives_a_span_in_each() -> None:
    dialogue = Dialogue.of([{"text": "Hi 🙂 Ann"}, {"author": "B"}, {"text": "Bob here"}])
    assert dialogue is not None
    value = {"start": "0", "end": "2", "startOffset": 6, "endOffset": 3, "paragraphlabels": ["PERSON"]}
    region = {"from_name": "label", "type": "paragraphlabels", "value": value}
    found, unusable = region_spans(dialogue, [region], "label", "paragraphlabels")
    assert (found, unusable) == ([[Span(5, 8, "PERSON")], [], [Span(0, 3, "PERSON")]], 0)
    for wrong in ({"end": "3"}, {"endOffset": 9}, {"startOffset": -1}, {"start": None}):
        assert dialogue.bounds({**value, **wrong}) == []


def test_blank_ends_are_cut_and_what_lies_outside_is_counted() -> None:
    text = "hi  Bob \r\n"
    regions = [
        {"from_name": "label", "type": "labels", "value": {"start": 2, "end": 10, "labels": ["PERSON"]}},
        {"from_name": "label", "type": "labels", "value": {"start": 2, "end": 4, "labels": ["PERSON"]}},
        {"from_name": "label", "type": "labels", "value": {"start": 4, "end": 99, "labels": ["PERSON"]}},
        {"from_name": "label", "type": "labels", "value": {"start": "x", "end": 5, "labels": ["PERSON"]}},
        {"from_name": "other", "type": "labels", "value": {"start": 4, "end": 7, "labels": ["PERSON"]}},
    ]
    assert region_spans(PlainText(text), regions, "label") == ([[Span(4, 7, "PERSON")]], 3)


def test_a_span_outside_the_text_is_refused() -> None:
    with pytest.raises(DataError, match="does not lie in a text of 3"):
        span_regions(PlainText("abc"), 0, [Span(1, 4, "PERSON")], "label", "text")


@pytest.mark.parametrize(
    ("value", "object_tag", "status"),
    [
        ("text", "Text", None), ("", "Text", "text_missing"), (" \n", "Text", "text_missing"), (7, "Text", "text_missing"),
        ("x" * (MAX_CHARACTERS + 1), "Text", "too_large"), ("<p>a</p>", "HyperText", None),
        ("<p> </p>", "HyperText", "text_missing"), ("x" * (MAX_CHARACTERS + 1), "HyperText", "too_large"),
        ("<i></i>" * 20_000 + "a", "HyperText", None), ("<i></i>" * 150_000 + "a", "HyperText", "too_large"),
        ({"a": 1}, "HyperText", "text_missing"), ([{"text": "a"}], "Paragraphs", None),
        ("a", "Paragraphs", "text_missing"), ([{"said": "a"}], "Paragraphs", "text_missing"),
        ([{"text": "x" * MAX_CHARACTERS}, {"text": "y"}], "Paragraphs", "too_large"), ([], "Paragraphs", "text_missing"),
    ],
)  # fmt: skip
def test_what_is_no_text_has_a_reason(value: object, object_tag: str, status: str | None) -> None:
    found = read_document({"text": value}, "text", object_tag)
    assert (found.status if isinstance(found, Outcome) else None) == status


def test_the_text_key_of_a_dialogue_is_the_config_s() -> None:
    found = read_document({"t": [{"said": "Hi Ann", "text": "no"}]}, "t", "Paragraphs", {"textKey": "said"})
    assert not isinstance(found, Outcome) and found.texts == ("Hi Ann",)


def test_choices_are_the_likeliest_or_all_that_are_likely() -> None:
    chances = {"a": 0.6, "b": 0.7, "c": 0.1}
    one = choices_region(chances, "topic", "text", several=False)
    assert one is not None and (one["value"], one["score"]) == ({"choices": ["b"]}, 0.7)
    some = choices_region(chances, "topic", "text", several=True)
    assert some is not None and (some["value"], some["score"]) == ({"choices": ["a", "b"]}, 0.6)
    assert choices_region({"a": 0.4}, "topic", "text", several=True) is None
    assert choices_region({}, "topic", "text", several=False) is None


def test_the_dictionary_finds_whole_words_longest_first() -> None:
    forms = surface_forms([("Ann Lee met Ann", [Span(0, 7, "PERSON"), Span(12, 15, "ORG")])])
    assert dictionary_spans("Annie, Ann Lee & Ann", forms) == [Span(7, 14, "PERSON"), Span(17, 20, "ORG")]
    assert dictionary_spans("Ann", {}) == []


@given(st.lists(st.floats(0, 1), max_size=10))
def test_uncertainty_stays_in_bounds_and_grows_with_a_doubt(doubts: list[float]) -> None:
    before = text_uncertainty(doubts)
    assert 0.0 <= before <= 1.0 + 1e-9
    assert text_uncertainty([*doubts, 1.0]) >= before - 1e-9
