"""DocBin files are read back with regions, splits and origin; files of others too; what is broken is named."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import DocBin

from labelloop.errors import DataError
from labelloop.label_config import parse_label_config

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from text_exports import ENTITIES, choice, exported, marked_at, read, span, spans_in, task

pytestmark = pytest.mark.integration

CONFIG = parse_label_config(ENTITIES)


def foreign(path: Path, *docs: Any, **more: Any) -> Path:
    DocBin(docs=docs, **more).to_disk(path)
    return path


def test_regions_come_back_as_they_were(tmp_path: Path) -> None:
    text = "Ada of Oxfam met Bo"
    regions = [span(text, "Oxfam", "ORG"), span(text, "Ada", ["PER", "First Name"]), span(text, "Ada of Oxfam", "LOC")]
    tasks = [task(1, text, *regions, lang="en"), task(2, "None"), task(3, "")]
    out, report = exported(tmp_path, "spacy", tasks, share=0.5)
    labelled = read(out, "spacy", config=CONFIG)
    items = {item.data["text"]: item for item in labelled}
    assert labelled.count == len(items) == report.items == 3
    assert items[text].result == [{**region, "origin": "manual"} for region in regions]
    assert items[text].data == {"text": text, "lang": "en"}
    assert (items[text].annotator, items[text].at) == ("1", "2026-01-01T00:00:00+00:00")
    assert {item.split for item in items.values()} == {{"val": "val", "train": "train"}[name] for name in report.splits}
    assert all(item.group for item in items.values())
    assert labelled.rejected == []


def test_without_a_config_one_is_made_of_the_classes(tmp_path: Path) -> None:
    text = "Ada of Oxfam"
    out, _ = exported(tmp_path, "spacy", [task(1, text, span(text, "Oxfam", "ORG"))])
    labelled = read(out, "spacy")
    (control,) = labelled.config.controls
    assert (control.tag, control.classes) == ("Labels", ("PER", "LOC", "First Name", "ORG"))
    assert spans_in(labelled) == [[(7, 12, "ORG")]]


@pytest.mark.parametrize(("attribute", "chosen"), [("single", ["money"]), ("multiple", ["money", "sport"])])
def test_categories_come_back_as_choices(attribute: str, chosen: list[str], tmp_path: Path) -> None:
    config = ENTITIES.replace('name="topic"', f'name="topic" choice="{attribute}"')
    tasks = [task(1, "Banks", choice(*chosen)), task(2, "Nothing")]
    out, _ = exported(tmp_path, "spacy", tasks, config, variant="textcat")
    labelled = read(out, "spacy")
    (control,) = labelled.config.controls
    assert (control.tag, control.classes, control.attributes["choice"]) == ("Choices", ("sport", "money"), attribute)
    found = {item.data["text"]: [set(region["value"]["choices"]) for region in item.result] for item in labelled}
    assert found == {"Banks": [set(chosen)], "Nothing": []}
    assert all(labelled.config.problem_with(region) is None for item in labelled for region in item.result)
    under = read(out, "spacy", config=parse_label_config(ENTITIES))
    assert [len(region["value"]["choices"]) for item in under for region in item.result] == [1]
    assert [unread.reason for unread in under.rejected] == ["second_choice"] * (len(chosen) - 1)


def test_files_of_others(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    first = nlp("Ada met Bo in Rome")
    first.ents = [first.char_span(0, 3, "PERSON"), first.char_span(14, 18, "GPE")]
    first.spans["sc"] = [first.char_span(0, 10, "MEETING")]
    first.spans["other"] = [first.char_span(0, 3, "PERSON"), first.char_span(8, 10, "NAME")]
    first.cats = {"news": 0.9, "sport": 0.2, "people": 0.5}
    first.user_data["labelloop"] = {"regions": [["x"]]}
    second = spacy.tokens.Doc(nlp.vocab, words=["No", "spaces", "known"])
    foreign(tmp_path / "dev.spacy", first, second, store_user_data=True)
    labelled = read(tmp_path / "dev.spacy", "spacy")
    assert spans_in(labelled) == [
        [(0, 3, "PERSON"), (0, 10, "MEETING"), (8, 10, "NAME"), (14, 18, "GPE")], [],
    ]  # fmt: skip
    one, two = list(labelled)
    assert (two.data, one.split) == ({"text": "No spaces known "}, "val")
    assert [set(region["value"]["choices"]) for region in one.result if region["type"] == "choices"] == [
        {"news", "people"}
    ]
    assert spans_in(read(tmp_path, "spacy", task="ner")) == [[(0, 3, "PERSON"), (14, 18, "GPE")], []]
    assert [c.tag for c in read(tmp_path, "spacy", task="textcat").config.controls] == ["Choices"]
    assert spans_in(read(tmp_path, "spacy", task="spancat"))[0] == [
        (0, 3, "PERSON"),
        (0, 10, "MEETING"),
        (8, 10, "NAME"),
    ]


def test_classes_that_a_config_has_not_are_named(tmp_path: Path) -> None:
    doc = spacy.blank("en")("Ada in Rome")
    doc.ents = [doc.char_span(0, 3, "PER"), doc.char_span(7, 11, "GPE")]
    doc.cats = {"news": 1.0}
    labelled = read(foreign(tmp_path / "x.spacy", doc), "spacy", config=CONFIG)
    assert spans_in(labelled) == [[(0, 3, "PER")]]
    assert [unread.detail for unread in labelled.rejected] == [
        "x.spacy, document 1: 'Rome' is 'GPE', which the label config has not",
        "x.spacy, document 1: 'its category' is 'news', which the label config has not",
    ]


def test_a_broken_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    whole = foreign(tmp_path / "a.spacy", spacy.blank("en")("Ada")).read_bytes()
    (tmp_path / "b.spacy").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.spacy").write_bytes(b"no DocBin")
    labelled = read(tmp_path, "spacy")
    assert [item.data["text"] for item in labelled] == ["Ada"]
    assert [(unread.source, unread.reason) for unread in labelled.rejected] == [
        ("b.spacy", "unreadable"),
        ("c.spacy", "unreadable"),
    ]
    with pytest.raises(DataError, match="does not read as a DocBin"):
        read(tmp_path / "c.spacy", "spacy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"ends in \.spacy"):
        read(tmp_path / "empty", "spacy")


TEXT = st.text(st.sampled_from("ab Z.,'-\t\n\r\u00a0\u2028\u200b\u0301\u05d0\u0633\u6771\u3002\U0001f600\U0001f44d\U0001f3fd\u200d\x00"), max_size=40)  # fmt: skip  # noqa: E501


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(TEXT, st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40)), max_size=4)), min_size=1, max_size=3
    )
)
def test_spans_of_any_text_come_back_or_are_named(found: list[tuple[str, list[tuple[int, int]]]]) -> None:
    marked = [(text, [(a, min(b, len(text))) for a, b in spans if a < min(b, len(text))]) for text, spans in found]
    tasks = [
        task(number, text, *[marked_at(text, a, b, id=f"s{i}") for i, (a, b) in enumerate(spans)])
        for number, (text, spans) in enumerate(marked, start=1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        out, report = exported(Path(folder), "spacy", tasks, language="xx")
        labelled = read(out, "spacy", config=CONFIG)
        items = list(labelled)
    assert [item.data["text"] for item in items] == [text for text, _ in marked]
    back = 0
    for (text, spans), item in zip(marked, items, strict=True):
        for region in item.result:
            start, end = spans[int(region["id"][1:])]
            inside = text[start:end]
            left = start + len(inside) - len(inside.lstrip())
            assert (region["value"]["start"], region["value"]["end"]) == (left, left + len(inside.strip()))
            back += 1
    assert back == report.objects
    assert back + report.n_skipped == sum(len(spans) for _, spans in marked)
