"""CoNLL-2003 files: valid columns, spans to the character, what has no place is named, the same from every machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from labelloop.errors import DataError, UsageError
from sync.formats.conll import tags_of
from sync.formats.parts import PartRunner

sys.path.insert(0, str(Path(__file__).parent))
from text_exports import ENTITIES, choice, exported, marked_at, reasons, sentences_of, span, task

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/export.schema.json").read_text())
#: Spaces, tabs and breaks of all kinds, what has no width, controls, what looks like our own lines, scripts, emoji.
HARD = [
    "a\tb\u200bc\x00d\u2028e\r\nf\x85g\u00a0h\x1fi",
    "-DOCSTART- -X- O O\n\n-DOCSTART- -X- O O\nfoo -X- O B-PER",
    "\ufeff# comment? \u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645.",
    "\u6211\u7231\u5317\u4eac\u5929\u5b89\u95e8\u3002\u4f60\u5462\uff1f",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 cafe\u0301 na\u00efve \U0001f1e9\U0001f1ea",
]


def conll_of(folder: Path, tasks: list[dict[str, Any]], config: str = ENTITIES, **more: Any) -> Any:
    """(documents, report) of an export."""
    out, report = exported(folder, "conll", tasks, config, **more)
    jsonschema.validate(report.to_json(), SCHEMA)
    return sentences_of(out / "train.conll"), report


def marked(document: list[list[tuple[str, str]]]) -> list[list[str]]:
    """The tokens of each span of a document."""
    found: list[list[str]] = []
    for token, tag in (row for sentence in document for row in sentence):
        if tag.startswith("B-"):
            found.append([tag[2:], token])
        elif tag != "O":
            found[-1].append(token)
    return found


def test_spans_cut_tokens_and_nothing_else_is_marked(tmp_path: Path) -> None:
    text = "Ada went to New York-based \u6771\u4eac\u793e\u5185. She left."
    regions = [span(text, "Ada", "First Name"), span(text, "New York", "LOC"), span(text, "\u793e", "ORG")]
    (document,), report = conll_of(tmp_path, [task(1, text, *regions)])
    assert marked(document) == [["First_Name", "Ada"], ["LOC", "New", "York"], ["ORG", "\u793e"]]
    assert [[token for token, _ in sentence] for sentence in document][1] == ["She", "left", "."]
    assert (report.items, report.objects, reasons(report)) == (1, 3, [])


def test_no_sentence_ends_within_a_span(tmp_path: Path) -> None:
    text = "He read Stop. Go now.\nOr not. End"
    regions = [span(text, "Stop. Go"), span(text, "now.\nOr", "LOC")]
    (document,), _ = conll_of(tmp_path, [task(1, text, *regions)])
    assert [[token for token, _ in sentence] for sentence in document] == [
        ["He", "read", "Stop", ".", "Go", "now", ".", "Or", "not", "."], ["End"],
    ]  # fmt: skip


def test_of_overlapping_spans_the_longest_stays_and_the_others_are_named(tmp_path: Path) -> None:
    text = "University of Oxford Press wins"
    regions = [
        span(text, "Oxford", "LOC"), span(text, "University of Oxford", "ORG"), span(text, "Oxford Press", "PER"),
        span(text, "wins", ["LOC", "PER"]),
    ]  # fmt: skip
    (document,), report = conll_of(tmp_path, [task(1, text, *regions)])
    assert marked(document) == [["ORG", "University", "of", "Oxford"], ["LOC", "wins"]]
    assert reasons(report) == [
        "region s14-26: 'PER' overlaps 'ORG'; CoNLL has one class for a token",
        "region s14-20: 'LOC' overlaps 'ORG'; CoNLL has one class for a token",
        "region s27-31: second class 'PER' of its span; CoNLL has one class for a token",
    ]
    assert json.loads(Path(report.manifest).read_text())["span_notes"] == {"overlapping": 3}


def test_what_has_no_place_is_named_and_never_a_crash(tmp_path: Path) -> None:
    text = "Ada met Bo"
    wrong = span(text, "Ada") | {"id": "w", "value": {"start": 0, "end": 3, "text": "Bob", "labels": ["PER"]}}
    regions: list[dict[str, Any]] = [
        choice("sport"), wrong, span(text, " ", id="blank"), span(text, "Bo", "GHOST", id="ghost"),
        span(text, "Bo", [], id="none"), span(text, "Bo", id="odd") | {"value": None},
        {"id": "relation", "type": "relation", "from_id": "a"},
        span(text, "met", id="nan") | {"value": {"start": float(4), "end": None, "labels": "PER"}},
    ]  # fmt: skip
    (document,), report = conll_of(tmp_path, [task(1, text, *regions)])
    assert marked(document) == []
    assert [reason.split(":")[0] for reason in reasons(report)] == [
        "region c-topic", "region relation", "region w", "region blank", "region ghost", "region none", "region odd",
        "region nan",
    ]  # fmt: skip


def test_ends_of_white_space_are_cut_off_and_counted(tmp_path: Path) -> None:
    text = "see \n Ada\t."
    (document,), report = conll_of(tmp_path, [task(1, text, marked_at(text, 3, 10))])
    assert marked(document) == [["PER", "Ada"]]
    assert json.loads(Path(report.manifest).read_text())["span_notes"] == {"trimmed": 1}


def test_older_offsets_are_found_and_counted(tmp_path: Path) -> None:
    text = "\U0001f600\U0001f600 Ada"
    older = span(text, "Ada") | {"value": {"start": 5, "end": 8, "text": "Ada", "labels": ["PER"]}}
    (document,), report = conll_of(tmp_path, [task(1, text, older)])
    assert marked(document) == [["PER", "Ada"]]
    assert json.loads(Path(report.manifest).read_text())["offset_notes"] == {"utf16": 1}


@pytest.mark.parametrize("text", HARD)
def test_hard_characters_break_no_line(text: str, tmp_path: Path) -> None:
    places = [at for at, character in enumerate(text) if not character.isspace()]
    regions = [marked_at(text, at, at + 1, ("PER", "LOC")[at % 2]) for at in places[::3]]
    (document,), report = conll_of(tmp_path, [task(1, text, *regions)])
    assert "".join(token for sentence in document for token, _ in sentence) == "".join(text.split())
    assert ["".join(found[1:]) for found in marked(document)] == [text[at] for at in places[::3]]
    assert report.objects == len(regions)


def test_negatives_and_empty_texts_are_documents(tmp_path: Path) -> None:
    documents, report = conll_of(tmp_path, [task(1, ""), task(2, " \n "), task(3, "None"), task(4, None), task(5, 7)])
    assert documents == [[], [], [[("None", "O")]]]
    assert (report.items, report.objects) == (3, 0)
    assert reasons(report) == [
        f"text_missing: expected a text under 'text', got {name}" for name in ("NoneType", "int")
    ]


def test_each_split_has_its_files_and_provenance_counts_spans_in_them(tmp_path: Path) -> None:
    texts = [f"Ada {number} met Bo." for number in range(60)]
    tasks = [task(n, text, span(text, "Bo"), span(text, "Ada", "LOC")) for n, text in enumerate(texts, start=1)]
    out, report = exported(tmp_path, "conll", tasks, share=0.6)
    found = {name: sentences_of(out / f"{name}.conll") for name in ("train", "val")}
    assert {name: len(documents) for name, documents in found.items()} == report.splits
    rows = pl.read_parquet(out / "provenance.parquet")
    for name, documents in found.items():
        own = rows.filter(pl.col("file") == f"{name}.conll").sort("object")
        assert own["object"].to_list() == list(range(1, len(own) + 1))
        assert own["label"].to_list() == [label for document in documents for label, _ in marked(document)]
    sides = [json.loads(line) for line in (out / "val.texts.jsonl").read_text().splitlines()]
    assert [side["data"]["text"] for side in sides] == [texts[side["task"] - 1] for side in sides]
    assert len(sides) == report.splits["val"]


def test_the_number_of_processes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartRunner, "SMALL", 0)
    tasks = [task(n, f"Ada {n} met Bo.", span(f"Ada {n} met Bo.", "Bo")) for n in range(1, 2101)]
    one, report = exported(tmp_path, "conll", tasks, out="one", share=0.7)
    two, _ = exported(tmp_path, "conll", tasks, out="two", share=0.7, workers=2)
    assert report.items == report.objects == 2100
    for name in sorted(path.name for path in one.iterdir()):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_one_control_can_be_chosen(tmp_path: Path) -> None:
    text = "Ada of Oxfam"
    tasks = [task(1, text, span(text, "Ada"), span(text, "Oxfam", "ORG"))]
    both, _ = conll_of(tmp_path, tasks)
    one, report = conll_of(tmp_path, tasks, control="more")
    assert (marked(both[0]), marked(one[0])) == ([["PER", "Ada"], ["ORG", "Oxfam"]], [["ORG", "Oxfam"]])
    assert reasons(report) == ["region s0-3: CoNLL has no place for labels of 'label'"]
    with pytest.raises(UsageError, match="option control"):
        exported(tmp_path, "conll", tasks, control="topic")
    with pytest.raises(UsageError, match="knows the options"):
        exported(tmp_path, "conll", tasks, language="en")


def test_each_text_of_a_task_is_a_document(tmp_path: Path) -> None:
    config = (
        '<View><Text name="title" value="$title"/><Text name="text" value="$text"/>'
        '<Labels name="in_title" toName="title"><Label value="PER"/></Labels>'
        '<Labels name="label" toName="text"><Label value="PER"/></Labels></View>'
    )
    first = marked_at("Ada", 0, 3) | {"from_name": "in_title", "to_name": "title"}
    documents, report = conll_of(tmp_path, [task(1, "met Bo", span("met Bo", "Bo"), first, title="Ada")], config)
    assert [marked(document) for document in documents] == [[["PER", "Ada"]], [["PER", "Bo"]]]
    assert (report.items, report.objects) == (2, 2)


@pytest.mark.parametrize(
    "text_tag",
    [
        '<HyperText name="text" value="$text"/>', '<Text name="text" value="$text" valueType="url"/>',
        '<Text name="text" value="$text" encoding="base64"/>', '<Paragraphs name="text" value="$text"/>',
    ],
)  # fmt: skip
def test_texts_that_are_not_in_the_data_are_refused(text_tag: str, tmp_path: Path) -> None:
    config = ENTITIES.replace('<Text name="text" value="$text"/>', text_tag)
    with pytest.raises(DataError, match="needs <Labels> on a <Text>"):
        exported(tmp_path, "conll", [task(1, "Ada")], config)


def test_tags_have_no_white_space_and_are_never_shared() -> None:
    classes = ["First Name", "First_Name", "First  Name", "a\u00a0b", "LOC"]
    tags = tags_of(classes)
    assert tags["First_Name"] == "First_Name"
    assert tags["LOC"] == "LOC"
    assert len(set(tags.values())) == len(classes)
    assert not any(character.isspace() for tag in tags.values() for character in tag)
