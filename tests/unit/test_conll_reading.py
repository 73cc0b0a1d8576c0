"""Columns of every habit are read: schemes of tags, borders, comments, line ends; what is broken is named, the rest read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from sync.formats.conll_columns import chunks_of

sys.path.insert(0, str(Path(__file__).parent))
from text_exports import ENTITIES, exported, read, sentences_of, span, spans_in, task

TEXT = "Ada Lovelace met Bo in New York"
SPANS = [(0, 12, "PER"), (17, 19, "PER"), (23, 31, "LOC")]


def columns(*tags: str, between: str = " ", before: str = "", end: str = "\n") -> str:
    return "".join(
        between.join([token, *before.split(), tag]) + end for token, tag in zip(TEXT.split(), tags, strict=True)
    )


@pytest.mark.parametrize(
    "tags",
    [
        ("B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "I-LOC"), ("I-PER", "I-PER", "O", "I-PER", "O", "I-LOC", "I-LOC"),
        ("B-PER", "E-PER", "O", "S-PER", "O", "B-LOC", "E-LOC"), ("B-PER", "L-PER", "O", "U-PER", "O", "B-LOC", "L-LOC"),
        ("B-PER", "E-PER", "O", "S-PER", "O", "B-LOC", "M-LOC"), ("PER", "PER", "O", "PER", "O", "LOC", "LOC"),
        ("B-PER", "I-PER", "-", "B-PER", "_", "B-LOC", "I-LOC"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("between", "before", "end"), [(" ", "", "\n"), ("\t", "", "\r\n"), ("   ", "NN O", "\n")])
def test_every_scheme_and_layout_says_the_same(
    tags: tuple[str, ...], between: str, before: str, end: str, tmp_path: Path
) -> None:
    (tmp_path / "x.conll").write_bytes(columns(*tags, between=between, before=before, end=end).encode())
    labelled = read(tmp_path / "x.conll", "conll")
    (item,) = labelled
    assert item.data == {"text": TEXT}
    assert spans_in(labelled) == [SPANS]
    assert labelled.config.controls[0].classes == ("PER", "LOC")
    assert all(labelled.config.problem_with(region) is None for region in item.result)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-A I-A B-A I-A", [(0, 2), (2, 4)]), ("B-A B-A I-B I-A", [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ("S-A I-A O I-A", [(0, 1), (1, 2), (3, 4)]), ("B-A E-A I-A U-A", [(0, 2), (2, 3), (3, 4)]), ("O O", []),
    ],
)  # fmt: skip
def test_where_chunks_begin_and_end(tags: str, expected: list[tuple[int, int]]) -> None:
    assert [(chunk.first, chunk.after) for chunk in chunks_of(tags.split(), bare=False)] == expected


def test_documents_have_borders_and_sentences_are_lines(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- O O\n\nAda B-PER\n\nmet O\nBo B-PER\n\n\n-DOCSTART- -X- O O\n\nRome B-LOC\n"
    (tmp_path / "dev.conll").write_text(content)
    labelled = read(tmp_path / "dev.conll", "conll")
    items = list(labelled)
    assert [item.data["text"] for item in items] == ["Ada\nmet Bo", "Rome"]
    assert spans_in(labelled) == [[(0, 3, "PER"), (8, 10, "PER")], [(0, 4, "LOC")]]
    assert [(item.source, item.split) for item in items] == [("dev.conll, line 1", "val"), ("dev.conll, line 9", "val")]
    assert labelled.count == 2


def test_a_file_with_one_border_alone_has_sentences(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("-DOCSTART- O\n\nAda B-PER\n\nRome B-LOC\n")
    labelled = read(tmp_path / "x.conll", "conll")
    assert [item.data["text"] for item in labelled] == ["Ada", "Rome"]
    assert labelled.count == 2


def test_comments_hashtags_and_lines_of_blanks(tmp_path: Path) -> None:
    content = "# id = 7\n#Ada\tB-PER\n#\tO\nmet\tO\n\t\n# a comment\nBo\tB-PER\n \u00a0\n\u00a0\tO\nCy\tB-PER\t\n"
    (tmp_path / "x.bio").write_text(content)
    labelled = read(tmp_path / "x.bio", "conll")
    assert [item.data["text"] for item in labelled] == ["#Ada # met", "Bo", "Cy"]
    assert spans_in(labelled) == [[(0, 4, "PER")], [(0, 2, "PER")], [(0, 2, "PER")]]
    assert labelled.rejected == []


def test_what_is_broken_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = [b"Ada B-PER", b"alone", b"", b"Bo B-PER", b"", b"Cy NNP", b"", b"D\xe9 B-PER", b"", b"Ed I-PER", b""]
    (tmp_path / "x.conll").write_bytes(b"\n".join(rows))
    labelled = read(tmp_path / "x.conll", "conll")
    assert [item.data["text"] for item in labelled] == ["Bo", "Ed"]
    assert [(unread.reason, unread.source) for unread in labelled.rejected] == [
        ("bad_row", "x.conll, line 1"), ("bad_row", "x.conll, line 6"), ("bad_row", "x.conll, line 8"),
    ]  # fmt: skip
    details = [unread.detail for unread in labelled.rejected]
    assert "line 2: expected a token and its tag, got 'alone'" in details[0]
    assert "got 'NNP'" in details[1]
    assert "UTF-8" in details[2]


def test_an_empty_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("-DOCSTART- O\n\n-DOCSTART- O\n\nAda B-PER\n")
    labelled = read(tmp_path / "x.conll", "conll")
    assert [item.data["text"] for item in labelled] == ["Ada"]
    assert [unread.reason for unread in labelled.rejected] == ["empty"]


@pytest.mark.parametrize("content", ["", "\n\n", "just a text\nof lines\n" * 300, "-DOCSTART- -X- O O\n\n"])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    lines = [f"{line} {number}" for number, line in enumerate(content.split("\n"))] if "text" in content else [content]
    (tmp_path / "x.conll").write_text("\n".join(lines))
    with pytest.raises(DataError, match="no line with a token and its tag"):
        read(tmp_path / "x.conll", "conll")
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match="no file of columns"):
        read(tmp_path / "sub", "conll")


def test_a_folder_has_splits_by_name(tmp_path: Path) -> None:
    names = (
        "eng.testa.conll",
        "eng.testb.conll",
        "my_train.conll",
        "wnut17train.conll",
        "contest.conll",
        "latest.conll",
    )
    for name in names:
        (tmp_path / name).write_text("Ada B-PER\n")
    (tmp_path / "README.txt").write_text("not columns")
    found = {item.source.partition(",")[0]: item.split for item in read(tmp_path, "conll")}
    assert found == dict(zip(names, ("val", "test", "train", "train", None, None), strict=True))


def test_regions_go_under_the_controls_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("Ada B-PER\nOxfam B-ORG\nMars B-PLANET\n")
    config = parse_label_config(ENTITIES)
    labelled = read(tmp_path / "x.conll", "conll", config=config)
    (item,) = labelled
    assert [region["from_name"] for region in item.result] == ["label", "more"]
    assert all(config.problem_with(region) is None for region in item.result)
    assert [(unread.reason, unread.detail) for unread in labelled.rejected] == [
        ("class_not_in_config", "x.conll, line 1: 'Mars' is 'PLANET', which the label config has not")
    ]
    images = parse_label_config('<View><Image name="i" value="$i"/></View>')
    with pytest.raises(DataError, match="no <Labels>"):
        read(tmp_path / "x.conll", "conll", config=images)


def test_files_that_were_edited_keep_their_new_labels(tmp_path: Path) -> None:
    texts = ["Ada  met\tBo.", "Cy  went."]
    out, _ = exported(tmp_path, "conll", [task(n, text, who="x") for n, text in enumerate(texts, start=1)])
    edited = (
        (out / "train.conll")
        .read_text()
        .replace("Bo -X- O O", "Bo -X- O B-PER")
        .replace("Cy -X- O O", "Di -X- O B-PER")
    )
    (out / "train.conll").write_text(edited)
    labelled = read(out, "conll")
    first, second = list(labelled)
    assert first.data == {"text": texts[0], "who": "x"}
    assert second.data == {"text": "Di went ."}
    assert spans_in(labelled) == [[(9, 11, "PER")], [(0, 2, "PER")]]
    assert {unread.reason for unread in labelled.rejected} == {"other_tokens"}


def test_what_came_with_tokens_leaves_with_them(tmp_path: Path) -> None:
    content = "-DOCSTART- O\n\nDo B-PER\nn't I-PER\nstop. O\nNow O\n\nU.S.-based B-LOC\n\n-DOCSTART- O\n\n:-) O\n"
    (tmp_path / "in.conll").write_text(content)
    labelled = read(tmp_path / "in.conll", "conll")
    tasks = [
        task(number, item.data["text"], *item.result) | {"meta": dict(item.meta)}
        for number, item in enumerate(labelled, start=1)
    ]
    out, _ = exported(tmp_path, "conll", tasks, labelled.config.xml)
    found = [
        [[" ".join(row) for row in sentence] for sentence in document] for document in sentences_of(out / "train.conll")
    ]
    assert found == [[["Do B-PER", "n't I-PER", "stop. O", "Now O"], ["U.S.-based B-LOC"]], [[":-) O"]]]


def test_classes_come_back_by_name_and_in_their_order(tmp_path: Path) -> None:
    text = "Ada of Oxfam"
    out, _ = exported(tmp_path, "conll", [task(1, text, span(text, "Oxfam", "ORG"), span(text, "Ada", "First Name"))])
    labelled = read(out, "conll")
    assert labelled.config.controls[0].classes == ("PER", "LOC", "First Name", "ORG")
    assert spans_in(labelled) == [[(0, 3, "First Name"), (7, 12, "ORG")]]
    (item,) = labelled
    assert (item.split, item.annotator, item.at) == ("train", "1", "2026-01-01T00:00:00+00:00")
    side = json.loads((out / "train.texts.jsonl").read_text())
    assert item.group == side["group"]
