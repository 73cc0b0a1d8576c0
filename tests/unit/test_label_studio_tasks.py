"""Label Studio's tasks as written, and its exports of many years as labelled items."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from labelloop.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import AT, TEXTS, box, choice, exported, read, region, span, task


def tasks_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "tasks.json").read_text(encoding="utf-8"))
    return found


def test_regions_are_as_they_were_without_scores(tmp_path: Path) -> None:
    area = region("textarea", "words", "image", {"text": ["one"]})
    relation = {"type": "relation", "from_id": "r1", "to_id": "words1", "direction": "right"}
    tasks = [
        task(
            1, {"image": "a.png", "n": {"k": [None]}}, [box(1, 2, 3, 4, score=0.5), area, relation], meta={"shelf": 3}
        ),
        task(2, {"image": "b.png"}, [], annotation={"ground_truth": True}),
        task(3, {"image": "c.png"}, None),
    ]
    out, report = exported(tmp_path, "label_studio", tasks)
    assert (report.items, report.objects) == (2, 3)
    first, second = tasks_of(out)
    assert first["annotations"] == [{"result": [box(1, 2, 3, 4), area, relation], "ground_truth": False}]
    assert second["annotations"] == [{"result": [], "ground_truth": True}]
    assert (first["id"], first["data"]) == (1, {"image": "a.png", "n": {"k": [None]}})
    told = first["meta"]["labelloop"]
    assert first["meta"]["shelf"] == 3
    assert (told["annotation"], told["annotator"], told["at"], told["source"], told["split"]) == (
        10, 7, AT, "person", "train",
    )  # fmt: skip
    assert (out / "config.xml").read_text() == (tmp_path / "project.xml").read_text()


def test_labels_become_predictions_where_that_is_asked(tmp_path: Path) -> None:
    tasks = [task(1, {"text": "t"}, [choice("topic", "zebra")])]
    out, report = exported(tmp_path, "label_studio", tasks, TEXTS, values={"as": "predictions"})
    (only,) = tasks_of(out)
    assert "annotations" not in only
    assert only["predictions"] == [{"result": [choice("topic", "zebra")], "model_version": "labelloop-labels"}]
    assert report.objects == 1
    _, (item,) = read(out, "label_studio")
    assert (item.result, item.split, item.annotator) == ([choice("topic", "zebra")], "train", None)


def test_offsets_of_old_data_are_moved_and_broken_regions_left_out(tmp_path: Path) -> None:
    text = "\U0001f600 Ada"
    old = span(text, 2, 5, "zebra")
    old["value"] = old["value"] | {"start": 3, "end": 6}
    broken = choice("topic", "zebra") | {"value": {"choices": [3]}}
    out, report = exported(tmp_path, "label_studio", [task(1, {"text": text}, [old, broken])], TEXTS)
    assert tasks_of(out)[0]["annotations"][0]["result"] == [span(text, 2, 5, "zebra", id=old["id"])]
    assert [reason for _, reason in report.skipped] == ["region topic1: '3' is no class"]


# -- exports ------------------------------------------------------------------------------------------------------------


def export_file(folder: Path, content: Any, xml: str | None = TEXTS) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(content))
    if xml is not None:
        (folder / "config.xml").write_text(xml)
    return path


def annotated(number: int, label: str, minute: int, **over: Any) -> dict[str, Any]:
    at = f"2026-01-01T00:{minute:02}:00Z"
    return {"id": number, "completed_by": number, "result": [choice("topic", label)], "updated_at": at} | over


def test_the_newest_submitted_annotation_counts(tmp_path: Path) -> None:
    found = [
        annotated(1, "zebra", 1),
        annotated(2, "a,b", 3),
        annotated(3, "<&>", 2),
        annotated(4, "=ant", 9, was_cancelled=True),
    ]
    labelled, (item,) = read(
        export_file(tmp_path, [{"id": 5, "data": {"text": "t"}, "annotations": found}]), "label_studio"
    )
    assert item.result[0]["value"] == {"choices": ["a,b"]}
    assert (item.annotator, item.at) == ("2", "2026-01-01T00:03:00+00:00")
    assert labelled.rejected == []


def test_tasks_without_a_label_are_no_negatives(tmp_path: Path) -> None:
    content = [
        {"id": 1, "data": {"text": "a"}, "annotations": []},
        {"id": 2, "data": {"text": "b"}, "annotations": [annotated(1, "zebra", 1, was_cancelled=True)]},
        {"id": 3, "data": {"text": "c"}, "annotations": [annotated(2, "zebra", 1, result=[])]},
        {"id": 4, "data": {"text": "d"}, "annotations": [], "predictions": [
            {"id": 1, "created_at": "2026-01-01", "result": [choice("topic", "zebra")]},
            {"id": 2, "created_at": "2026-01-02", "result": [choice("topic", "a,b", score=0.4)]},
        ]},
    ]  # fmt: skip
    labelled, items = read(export_file(tmp_path, content), "label_studio")
    assert [(item.data["text"], len(item.result)) for item in items] == [("c", 0), ("d", 1)]
    assert items[1].result == [choice("topic", "a,b", score=0.4)]
    assert [(each.source, each.detail) for each in labelled.rejected] == [
        ("export.json, task 1 (number 1)", "it has no annotation and no prediction"),
        ("export.json, task 2 (number 2)", "everybody skipped it"),
    ]


def test_broken_tasks_do_not_cost_the_others(tmp_path: Path) -> None:
    content: list[Any] = [
        {"id": n, "data": {"text": str(n)}, "annotations": [annotated(n, "zebra", 1)]} for n in range(1, 6)
    ]
    content[1] = {"id": 2, "data": "no", "annotations": []}
    content[2] = {"id": "x", "data": {"text": "3"}, "annotations": []}
    content[3] = "no task"
    labelled, items = read(export_file(tmp_path, content), "label_studio")
    assert [item.data["text"] for item in items] == ["1", "5"]
    assert [(each.source, each.reason) for each in labelled.rejected] == [
        (f"export.json, number {number}", "bad_task") for number in (2, 3, 4)
    ]


def test_odd_ids_and_times_cost_no_label(tmp_path: Path) -> None:
    content = [
        {"id": n, "data": {"text": str(n)}, "annotations": [annotated(n, "zebra", 1, **odd)]}
        for n, odd in enumerate(({"id": "x"}, {"updated_at": "yesterday"}), 1)
    ]
    labelled, items = read(export_file(tmp_path, content), "label_studio")
    assert [item.result for item in items] == [[choice("topic", "zebra")]] * 2
    assert labelled.rejected == []


def test_json_min_is_refused_with_what_to_do(tmp_path: Path) -> None:
    content = [{"id": 1, "text": "t", "topic": "zebra", "annotator": 1, "annotation_id": 3, "lead_time": 1.0}]
    with pytest.raises(DataError, match=r"JSON_MIN.*export the project as JSON"):
        read(export_file(tmp_path, content), "label_studio")
    with pytest.raises(DataError, match="no readable JSON export"):
        read(tmp_path / "config.xml", "label_studio")


def test_without_a_config_one_is_made(tmp_path: Path) -> None:
    content = [{"id": 1, "data": {"words": "hello"}, "annotations": [annotated(1, "zebra", 1)]}]
    labelled, (item,) = read(export_file(tmp_path, content, None), "label_studio")
    (made,) = labelled.config.controls
    assert (made.name, made.data_key, made.classes) == ("topic", "words", ("zebra",))
    assert item.result[0]["to_name"] == "words"
