"""The agreement report: which labels and pairs count, what each control measures, and what is undefined."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import polars as pl
import pytest

from labelloop.errors import DataError
from labelloop.export_files import export_tables
from labelloop.label_config import parse_label_config
from qa.agreement import AgreementReport, measure_agreement
from qa.exports_reading import read_export

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/agreement.schema.json").read_text())
START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS_SCHEMA = export_tables([]).labels.schema

CHOICES = parse_label_config(
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)
BOXES = parse_label_config(
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="cat"/><Label value="dog"/></RectangleLabels></View>'
)
SPANS = parse_label_config(
    '<View><Text name="text" value="$text"/><Labels name="label" toName="text"><Label value="PER"/></Labels></View>'
)


def label(
    task: int,
    person: int | None,
    result: list[dict[str, Any]],
    *,
    shown: str | None = None,
    minute: int = 0,
    **over: Any,
) -> dict[str, Any]:
    return {
        "task_id": task,
        "annotation_id": task * 100 + (person or 0) * 10 + minute,
        "annotator": person,
        "at": START + timedelta(minutes=minute),
        "shown": shown,
        "state": "submitted",
        "kind": "human",
        "result": orjson.dumps(result).decode(),
        "data": orjson.dumps({"text": "Ada met Bo"}).decode(),
    } | over


def choice(value: str) -> list[dict[str, Any]]:
    return [{"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [value]}}]


def boxes(*found: tuple[float, str]) -> list[dict[str, Any]]:
    return [
        {
            "from_name": "box", "to_name": "image", "type": "rectanglelabels", "original_width": 200,
            "original_height": 100, "value": {"x": x, "y": 0, "width": 10, "height": 10, "rectanglelabels": [name]},
        }
        for x, name in found
    ]  # fmt: skip


def spans(*found: tuple[int, int]) -> list[dict[str, Any]]:
    return [
        {"from_name": "label", "to_name": "text", "type": "labels", "value": {"start": s, "end": e, "labels": ["PER"]}}
        for s, e in found
    ]


def report_of(rows: list[dict[str, Any]], config: Any = CHOICES) -> AgreementReport:
    schema = {name: LABELS_SCHEMA.get(name, pl.String) for name in rows[0]}
    report = measure_agreement(pl.DataFrame(rows, schema=schema), config)
    jsonschema.validate(report.to_json(), SCHEMA)
    return report


def test_blind_pairs_are_the_headline_and_suggested_ones_stand_beside() -> None:
    rows = [label(1, 1, choice("a")), label(1, 2, choice("a")), label(2, 1, choice("b")), label(2, 2, choice("a"))]
    rows += [label(3, p, choice("b"), shown="v1") for p in (1, 2)]
    rows += [label(4, 1, choice("a"), shown="v1"), label(4, 2, choice("b"), shown="v2")]
    report = report_of(rows)
    assert report.basis == "blind"
    assert dict(report.pairs) == {"all": 4, "blind": 2, "same_suggestion": 1, "mixed": 1}
    assert report.percent.value == 0.5
    # Values a a, b a: one disagreement of two, alpha = 1 - (n - 1) * 2 / (2 * 3 * 1) with n = 4.
    assert report.alpha.value == pytest.approx(0.0)
    assert report.headline == report.alpha
    control = report.controls[0]
    assert control.measures["same_suggestion"]["percent"].value == 1.0
    assert control.measures["all"]["percent"].value == 0.5


def test_without_a_blind_pair_the_report_says_so() -> None:
    report = report_of([label(1, p, choice("a"), shown="v1") for p in (1, 2)])
    assert report.basis == "all"
    assert "none of the 1 pairs was made blind" in report.basis_reason
    assert report.alpha.value is None
    assert report.alpha.reason == "every value is the same, so agreement by chance is certain"
    assert report.percent.value == 1.0


def test_latest_label_counts_and_cancelled_and_converted_ones_do_not() -> None:
    rows = [label(1, 1, choice("a")), label(1, 1, choice("b"), minute=5), label(1, 2, choice("b"))]
    rows += [label(1, 3, choice("a"), state="cancelled"), label(1, 4, choice("a"), kind="converted")]
    rows += [label(1, None, choice("a"))]
    report = report_of(rows)
    assert report.percent.value == 1.0
    assert (report.n_labels, report.n_tasks, report.n_overlapped) == (2, 1, 1)
    assert dict(report.left_out) == {
        "not_submitted": 1, "not_by_people": 1, "annotator_unknown": 1, "superseded": 1,
    }  # fmt: skip


def test_a_later_skip_does_not_take_back_an_earlier_label() -> None:
    rows = [label(1, 1, choice("a")), label(1, 1, [], minute=5, state="cancelled"), label(1, 2, choice("a"))]
    assert report_of(rows).percent.value == 1.0


def test_no_overlap_is_undefined() -> None:
    report = report_of([label(1, 1, choice("a")), label(2, 2, choice("b"))])
    assert report.headline.value is None
    assert report.basis_reason == "no task has labels of two people"


def test_order_of_chosen_classes_does_not_matter() -> None:
    first, second = choice("a"), choice("b")
    first[0]["value"]["choices"] = ["a", "b"]
    second[0]["value"]["choices"] = ["b", "a"]
    assert report_of([label(1, 1, first), label(1, 2, second)]).percent.value == 1.0


def test_boxes_by_matched_f1_with_classes_and_without() -> None:
    rows = [label(1, 1, boxes((0, "cat"), (50, "dog"))), label(1, 2, boxes((0, "cat"), (50, "cat")))]
    rows += [label(2, 1, []), label(2, 2, [])]
    report = report_of(rows, BOXES)
    found = report.controls[0].measures["blind"]
    assert report.headline_name == "f1_iou50"
    assert report.headline.value == pytest.approx(0.5)
    assert found["f1_iou50_any_class"].value == 1.0
    assert found["mean_iou"].value == pytest.approx(1.0)
    assert found["class_percent"].value == pytest.approx(0.5)
    assert report.controls[0].both_empty["blind"] == 1
    assert report.headline.n_pairs == 1


def test_spans_by_strict_f1_and_token_alpha() -> None:
    rows = [label(1, 1, spans((0, 3), (8, 10))), label(1, 2, spans((0, 3)))]
    report = report_of(rows, SPANS)
    found = report.controls[0].measures["blind"]
    assert report.headline.value == pytest.approx(2 / 3)
    assert found["token_percent"].value == pytest.approx(2 / 3)
    assert found["token_alpha"].n_units == 3
    # Coincidences of tokens (PER PER), (O O), (PER O): alpha = 1 - 5 * 2 / (2 * 3 * 3).
    assert found["token_alpha"].value == pytest.approx(4 / 9)


def test_tokens_without_a_text_are_undefined() -> None:
    rows = [label(1, p, spans((0, 3)), data=None) for p in (1, 2)]
    report = report_of(rows, SPANS)
    assert report.headline.value == 1.0
    assert report.alpha.reason == "the text of a task is not known, so its tokens are not"


def test_annotator_pairs_are_named() -> None:
    rows = [label(1, p, boxes((0 if p < 3 else 60, "cat"))) for p in (1, 2, 3)]
    found = {(p.first, p.second): p.coefficient.value for p in report_of(rows, BOXES).annotator_pairs}
    assert found == {(1, 2): 1.0, (1, 3): 0.0, (2, 3): 0.0}


def test_what_is_not_measured_is_named() -> None:
    config = parse_label_config(
        '<View><Text name="text" value="$text"/><Choices name="topic" toName="text"><Choice value="a"/></Choices>'
        '<Rating name="stars" toName="text"/></View>'
    )
    rows = [label(1, p, [*choice("a"), {"type": "relation", "from_id": "x", "to_id": "y"}]) for p in (1, 2)]
    named = {entry["control"]: entry["reason"] for entry in report_of(rows, config).unmeasured}
    assert set(named) == {"stars", "relation"}
    assert "<Rating>" in named["stars"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="add \\['shown'\\]"):
        measure_agreement(pl.DataFrame([label(1, 1, [])]).drop("shown"), CHOICES)


def export_task(**annotation: Any) -> dict[str, Any]:
    base = {"id": 7, "completed_by": 3, "result": choice("a"), "updated_at": "2026-01-01T00:00:00.000001Z"}
    return {"id": 1, "data": {"text": "x"}, "annotations": [base | annotation]}


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        ({"prediction": {}}, None),
        ({"prediction": {"id": 9, "model_version": "v1", "result": choice("a")}}, "v1"),
        ({"prediction": {"id": 9, "model_version": "v1", "result": []}}, None),
        ({"prediction": None, "parent_prediction": 9}, "prediction 9"),
    ],
)
def test_an_export_says_what_a_person_was_shown(annotation: dict[str, Any], shown: str | None, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(orjson.dumps([export_task(**annotation)]))
    assert read_export(tmp_path / "export.json")["shown"].to_list() == [shown]


def test_an_export_file_becomes_the_table(tmp_path: Path) -> None:
    tasks = [export_task(), export_task(completed_by={"id": 4, "email": "b@example.com"}) | {"id": 2}]
    (tmp_path / "export.json").write_bytes(orjson.dumps(tasks))
    labels = read_export(tmp_path / "export.json")
    assert labels["annotator"].to_list() == [3, 4]
    assert labels["kind"].to_list() == ["human", "human"]
    assert measure_agreement(labels, CHOICES).n_tasks == 2


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "min.json").write_text('[{"id": 1, "text": "x", "topic": "a"}]')
    with pytest.raises(DataError, match="not JSON_MIN"):
        read_export(tmp_path / "min.json")
    with pytest.raises(DataError, match="no readable JSON export"):
        read_export(tmp_path / "absent.json")
