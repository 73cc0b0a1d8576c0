"""The wide table of a classification: one row per task, and back."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.errors import DataError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import BOXES, CLASSES, TEXTS, box, choice, config, control, exported, read, region, span, task, words


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_one_row_per_task_with_a_column_per_choice(tmp_path: Path) -> None:
    shown = {"prediction": {"model_version": "m-r1", "result": [1]}}
    tasks = [
        task(1, {"text": "a"}, [choice("topic", "=ant"), choice("mood", "zebra", "a,b")]),
        task(2, {"text": "b"}, [choice("topic", "zebra", origin="prediction", score=0.9)], annotation=shown),
        task(3, {"text": "c"}, []),
        task(4, {"text": "d"}, None),
    ]
    out, report = exported(tmp_path, "csv", tasks, TEXTS, task="textcat")
    assert (report.items, report.objects, report.task) == (3, 4, "textcat")
    rows = rows_of(out)
    assert [row["label.topic"] for row in rows] == ["'=ant", "zebra", ""]
    assert [json.loads(row["label.mood"] or "[]") for row in rows] == [["zebra", "a,b"], [], []]
    assert [(row["source.topic"], row["confidence.topic"]) for row in rows] == [
        ("person", ""), ("model", "0.9"), ("", ""),
    ]  # fmt: skip
    assert [row["data.text"] for row in rows] == ["a", "b", "c"]
    found = duckdb.read_csv(str(out / "labels.csv"))
    assert found.aggregate('count(*), count("label.topic"), count("label.mood")').fetchall() == [(3, 2, 1)]


def test_what_has_no_column_is_named(tmp_path: Path) -> None:
    tasks = [
        task(1, {"text": "abc"}, [
            choice("topic", "zebra"), choice("topic", "a,b", id="second"), span("abc", 0, 1, "zebra"),
            choice("mood", "zebra"), choice("mood", "zebra", id="twice"),
        ])
    ]  # fmt: skip
    out, report = exported(tmp_path, "csv", tasks, TEXTS, task="textcat")
    assert [reason for _, reason in report.skipped] == [
        "region second: topic takes one choice, and has 'a,b' besides",
        "region s0-1: one row per task has no place for labels",
        "region twice: mood has 'zebra' twice",
    ]
    assert (rows_of(out)[0]["label.topic"], rows_of(out)[0]["label.mood"]) == ("zebra", '["zebra"]')


def test_choices_about_regions_are_no_choices_about_tasks(tmp_path: Path) -> None:
    xml = config(control("Choices", "part", "text", more='perRegion="true"'), object_tag="Text", key="text")
    with pytest.raises(DataError, match="needs <Choices> or <Taxonomy>"):
        exported(tmp_path, "csv", [task(1, {"text": "t"}, [])], xml, task="textcat")
    with pytest.raises(DataError, match="needs <Choices>"):
        exported(tmp_path, "csv", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES, task="classify")
    with pytest.raises(UsageError, match="has the tasks"):
        exported(tmp_path, "csv", [task(1, {"image": "a.png"}, [])], BOXES, task="ner")


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            words,
            st.none() | st.sampled_from(CLASSES),
            st.lists(st.sampled_from(CLASSES), unique=True),
            st.lists(st.sampled_from([["a / b"], ["a / b", "c"], ["d"]]), unique_by=str),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_choices_come_back(drawn: list[tuple[str, str | None, list[str], list[list[str]]]]) -> None:
    import tempfile

    inner = '<Choice value="a / b"><Choice value="c"/></Choice><Choice value="d"/>'
    xml = TEXTS.replace("</View>", f'<Taxonomy name="kind" toName="text">{inner}</Taxonomy></View>')
    tasks = []
    for number, (text, topic, mood, kind) in enumerate(drawn, start=1):
        result = [choice("topic", topic)] if topic is not None else []
        result += [choice("mood", *mood)] if mood else []
        result += [region("taxonomy", "kind", "text", {"taxonomy": kind})] if kind else []
        result = [each | {"id": f"r{place}"} for place, each in enumerate(result, start=1)]
        tasks.append(task(number, {"text": text}, result))
    with tempfile.TemporaryDirectory() as folder:
        out, _ = exported(Path(folder), "csv", tasks, xml, task="textcat")
        found, items = read(out, "csv")
    assert found.rejected == []
    assert [(item.data, item.result) for item in items] == [
        (each["data"], each["annotations"][0]["result"]) for each in tasks
    ]
