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
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import DataError
from labelloop.export_files import export_tables
from labelloop.label_config import parse_label_config
from qa.agreement import agreement_text, measure_agreement
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


def report_of(rows: list[dict[str, Any]], config: Any = CHOICES, **options: Any) -> dict[str, Any]:
    schema = {name: LABELS_SCHEMA.get(name, pl.String) for name in rows[0]}
    report = measure_agreement(pl.DataFrame(rows, schema=schema), config, **options)
    jsonschema.validate(json.loads(json.dumps(report)), SCHEMA)
    return report


def value(report: dict[str, Any], control: str, metric: str) -> float | None:
    return report["controls"][control]["metrics"][metric]["value"]


def test_blind_pairs_are_the_headline_and_suggested_ones_stand_beside() -> None:
    rows = [label(1, 1, choice("a")), label(1, 2, choice("a")), label(2, 1, choice("b")), label(2, 2, choice("a"))]
    rows += [label(3, p, choice("b"), shown="v1") for p in (1, 2)]
    rows += [label(4, 1, choice("a"), shown="v1"), label(4, 2, choice("b"), shown="v2")]
    report = report_of(rows)
    assert report["basis"] == "blind"
    assert report["pairs"] == {"all": 4, "blind": 2, "same_suggestion": 1, "mixed": 1}
    assert value(report, "topic", "percent_agreement") == 0.5
    # Values a a, b a: one disagreement of two, alpha = 1 - (n - 1) * 2 / (2 * 3 * 1) with n = 4.
    assert value(report, "topic", "krippendorff_alpha") == pytest.approx(0.0)
    assert report["headline"]["value"] == value(report, "topic", "krippendorff_alpha")
    topic = report["controls"]["topic"]
    assert topic["by_shown"]["same_suggestion"]["metrics"]["percent_agreement"]["value"] == 1.0
    assert topic["by_shown"]["all"]["metrics"]["percent_agreement"]["value"] == 0.5
    assert topic["anchoring_gap"] == 0.5
    assert "+0.500 against blind ones" in agreement_text(report)


def test_without_a_blind_pair_the_report_says_so() -> None:
    report = report_of([label(1, p, choice("a"), shown="v1") for p in (1, 2)])
    assert report["basis"] == "all"
    assert "none of the 1 pairs was made blind" in report["basis_reason"]
    assert report["headline"]["value"] is None
    assert report["headline"]["reason"] == "every value is the same, so agreement by chance is certain"
    assert value(report, "topic", "percent_agreement") == 1.0


def test_latest_label_counts_and_cancelled_and_converted_ones_do_not() -> None:
    rows = [label(1, 1, choice("a")), label(1, 1, choice("b"), minute=5), label(1, 2, choice("b"))]
    rows += [label(1, 3, choice("a"), state="cancelled"), label(1, 4, choice("a"), kind="converted")]
    rows += [label(1, None, choice("a"))]
    report = report_of(rows)
    assert value(report, "topic", "percent_agreement") == 1.0
    assert (report["n_labels"], report["n_tasks"], report["n_overlapped"]) == (2, 1, 1)
    assert report["left_out"] == {
        "not_submitted": 1, "not_by_people": 1, "gold": 0, "annotator_unknown": 1, "superseded": 1,
    }  # fmt: skip


def test_gold_is_left_out_unless_asked_for() -> None:
    rows = [label(1, p, choice("a"), ground_truth=False, role="pool") for p in (1, 2)]
    rows += [label(1, 3, choice("b"), ground_truth=True, role="pool")]
    rows += [label(2, p, choice("ab"[p - 1]), ground_truth=False, role="gold") for p in (1, 2)]
    without, asked = report_of(rows), report_of(rows, gold=True)
    assert (value(without, "topic", "percent_agreement"), without["left_out"]["gold"]) == (1.0, 3)
    assert (value(asked, "topic", "percent_agreement"), asked["left_out"]["gold"]) == (0.25, 0)


def test_a_later_skip_does_not_take_back_an_earlier_label() -> None:
    rows = [label(1, 1, choice("a")), label(1, 1, [], minute=5, state="cancelled"), label(1, 2, choice("a"))]
    assert value(report_of(rows), "topic", "percent_agreement") == 1.0


def test_no_overlap_is_undefined() -> None:
    report = report_of([label(1, 1, choice("a")), label(2, 2, choice("b"))])
    assert report["headline"]["value"] is None
    assert report["basis_reason"] == "no task has labels of two people"


def test_who_gave_nothing_and_who_is_unsure_disagree_with_nobody() -> None:
    config = parse_label_config(CHOICES.xml.replace('value="b"', 'value="Unsure"'))
    rows = [label(1, 1, choice("a")), label(1, 2, []), label(2, 1, choice("a")), label(2, 2, choice("Unsure"))]
    rows += [label(3, p, []) for p in (1, 2)]
    topic = report_of(rows, config)["controls"]["topic"]
    assert (topic["n_empty"], topic["n_unsure"], topic["n_labels"]) == (1, 1, 5)
    assert topic["metrics"]["percent_agreement"] == {
        "value": None, "ci": None, "n": 0, "reason": "no unit has values from two people",
    }  # fmt: skip
    assert set(topic["per_class"]) == {"a"} and topic["tasks"] == []


def test_sets_agree_in_part_and_choosing_nothing_is_an_answer() -> None:
    config = parse_label_config(CHOICES.xml.replace('name="topic"', 'name="topic" choice="multiple"'))
    both, only, reverse = choice("a"), choice("a"), choice("b")
    both[0]["value"]["choices"], reverse[0]["value"]["choices"] = ["a", "b"], ["b", "a"]
    rows = [label(1, 1, both), label(1, 2, only), label(2, 1, both), label(2, 2, reverse)]
    rows += [label(3, 1, only), label(3, 2, []), label(4, 1, []), label(4, 2, [])]
    report = report_of(rows, config)
    assert value(report, "topic", "mean_jaccard") == pytest.approx((0.5 + 1 + 0) / 3)
    assert value(report, "topic", "percent_agreement") == pytest.approx(1 / 3)
    topic = report["controls"]["topic"]
    assert topic["per_class"]["b"]["f1_labels"] == pytest.approx(2 / 3) and topic["n_empty"] == 1
    assert [each["task"] for each in topic["tasks"]] == [3, 1]
    sets: list[list[str]] = [["ab", "a"], ["ab", "ab"], ["a", ""]]
    assert value(report, "topic", "krippendorff_alpha") == pytest.approx(alpha_by_loops(sets))


def alpha_by_loops(units: list[list[str]]) -> float:
    """Alpha of sets of letters from its definition: what is observed over all pairs in units, and over all pairs."""

    def apart(a: str, b: str) -> float:
        return 1 - len(set(a) & set(b)) / len(set(a) | set(b)) if a or b else 0.0

    every = [one for unit in units for one in unit]
    observed = sum(sum(apart(a, b) for a in unit for b in unit) / (len(unit) - 1) for unit in units) / len(every)
    expected = sum(apart(a, b) for a in every for b in every) / (len(every) * (len(every) - 1))
    return 1 - observed / expected


def test_boxes_by_matched_f1_with_classes_and_without() -> None:
    rows = [label(1, 1, boxes((0, "cat"), (50, "dog"))), label(1, 2, boxes((0, "cat"), (50, "cat")))]
    rows += [label(2, 1, []), label(2, 2, [])]
    report = report_of(rows, BOXES)
    assert report["headline"]["metric"] == "f1_50"
    assert report["headline"]["value"] == pytest.approx(0.5)
    assert value(report, "box", "f1_50_any_class") == 1.0
    assert value(report, "box", "mean_iou") == pytest.approx(1.0)
    assert value(report, "box", "class_percent_agreement") == pytest.approx(0.5)
    assert report["controls"]["box"]["n_empty"] == 1
    assert report["headline"]["n"] == 1


def test_spans_by_strict_f1_and_token_alpha() -> None:
    rows = [label(1, 1, spans((0, 3), (8, 10))), label(1, 2, spans((0, 3)))]
    report = report_of(rows, SPANS)
    assert report["headline"]["value"] == pytest.approx(2 / 3)
    assert value(report, "label", "token_percent_agreement") == pytest.approx(2 / 3)
    alpha = report["controls"]["label"]["metrics"]["token_krippendorff_alpha"]
    # Coincidences of tokens (PER PER), (O O), (PER O): alpha = 1 - 5 * 2 / (2 * 3 * 3).
    assert (alpha["n"], alpha["value"]) == (3, pytest.approx(4 / 9))


def test_tokens_without_a_text_are_undefined() -> None:
    report = report_of([label(1, p, spans((0, 3)), data=None) for p in (1, 2)], SPANS)
    assert report["headline"]["value"] == 1.0
    assert value(report, "label", "token_krippendorff_alpha") is None


def test_annotator_pairs_and_people_are_told() -> None:
    rows = [label(1, p, boxes((0 if p < 3 else 60, "cat"))) for p in (1, 2, 3)]
    box = report_of(rows, BOXES)["controls"]["box"]
    assert {(p["first"], p["second"]): p["f1_50"] for p in box["pairs"]} == {(1, 2): 1.0, (1, 3): 0.0, (2, 3): 0.0}
    assert box["per_annotator"]["1"] == {"n_labels": 1, "n": 2, "score": 0.5}
    assert box["per_class"]["cat"]["f1_50"] == pytest.approx(1 / 3)


def test_weeks_are_those_of_the_later_label() -> None:
    rows = [label(task, p, choice("ab"[task == 2 and p == 2])) for task in (1, 2) for p in (1, 2)]
    rows[3]["at"] = START + timedelta(days=14)
    weeks = report_of(rows)["controls"]["topic"]["by_week"]
    assert [(each["week"], each["n"], each["percent_agreement"]) for each in weeks] == [
        ("2026-W01", 1, 1.0),
        ("2026-W03", 1, 0.0),
    ]


def test_ratings_are_ranks_and_numbers_are_apart_by_their_difference() -> None:
    config = parse_label_config(
        '<View><Text name="text" value="$text"/><Rating name="stars" toName="text"/>'
        '<Number name="price" toName="text"/><DateTime name="day" toName="text"/></View>'
    )

    def said(name: str, kind: str, key: str, value: Any) -> dict[str, Any]:
        return {"from_name": name, "to_name": "text", "type": kind, "value": {key: value}}

    rows = [
        label(task, p, [said("stars", "rating", "rating", stars), said("price", "number", "number", stars * 10.5),
                        said("day", "datetime", "datetime", f"2026-01-0{stars}")])
        for task, given in enumerate([(1, 2), (4, 4), (5, 3)]) for p, stars in enumerate(given)
    ]  # fmt: skip
    report = report_of(rows, config)
    levels = {name: each["level"] for name, each in report["controls"].items()}
    assert levels == {"stars": "ordinal", "price": "interval", "day": "interval"}
    assert value(report, "stars", "mean_absolute_difference") == pytest.approx(1.0)
    assert value(report, "price", "mean_absolute_difference") == pytest.approx(10.5)
    assert value(report, "day", "mean_absolute_difference") == pytest.approx(1.0)
    assert value(report, "price", "krippendorff_alpha") == pytest.approx(value(report, "day", "krippendorff_alpha"))
    assert [each["task"] for each in report["controls"]["stars"]["tasks"]] == [0, 2]
    assert [each["task"] for each in report["controls"]["day"]["tasks"]] == [0, 2]


def test_what_is_not_measured_is_named() -> None:
    config = parse_label_config(
        '<View><Text name="text" value="$text"/><Choices name="topic" toName="text"><Choice value="a"/></Choices>'
        '<Timeline name="time" toName="text"/>'
        '<Choices name="part" toName="text" perRegion="true"><Choice value="a"/></Choices></View>'
    )
    rows = [label(1, p, [*choice("a"), {"type": "relation", "from_id": "x", "to_id": "y"}]) for p in (1, 2)]
    named = {entry["control"]: entry["reason"] for entry in report_of(rows, config)["unmeasured"]}
    assert set(named) == {"time", "part", "relation"}
    assert "<Timeline>" in named["time"]


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
    assert measure_agreement(labels, CHOICES)["n_tasks"] == 2


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "min.json").write_text('[{"id": 1, "text": "x", "topic": "a"}]')
    with pytest.raises(DataError, match="not JSON_MIN"):
        read_export(tmp_path / "min.json")
    with pytest.raises(DataError, match="no readable JSON export"):
        read_export(tmp_path / "absent.json")


@pytest.mark.parametrize("command", ["agreement", "consensus", "annotators", "errors"])
def test_a_config_that_cannot_be_read_is_told(command: str, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(orjson.dumps([export_task()]))
    arguments = [command, "--file", str(tmp_path / "export.json"), "--config", str(tmp_path / "absent.xml")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DataError) and "--config: " in str(result.exception)


def test_wrong_suggestions_that_were_accepted_are_told(tmp_path: Path) -> None:
    suggestion = {"id": 9, "model_version": "v1", "result": choice("a")}

    def said(person: int, value: str, origin: str, **more: Any) -> dict[str, Any]:
        result = [{**choice(value)[0], "id": "r", "origin": origin}]
        return {"id": person, "completed_by": person, "result": result, "updated_at": "2026-01-01T00:00:00Z", **more}

    tasks = [
        {
            "id": number,
            "data": {"text": "x"},
            "annotations": [
                said(number * 10 + 1, "a", "prediction", completed_by=1, prediction=suggestion),
                said(number * 10 + 2, "b", "prediction-changed", completed_by=2, prediction=suggestion),
                said(number * 10 + 3, "b", "manual", completed_by=3, ground_truth=True),
            ],
        }
        for number in (1, 2)
    ]
    (tmp_path / "export.json").write_bytes(orjson.dumps(tasks))
    (tmp_path / "config.xml").write_text(CHOICES.xml)
    files = ["--file", str(tmp_path / "export.json"), "--config", str(tmp_path / "config.xml")]
    report = json.loads(CliRunner().invoke(app, ["agreement", *files, "--json"]).output)
    jsonschema.validate(report, SCHEMA)
    assert (report["accept_when_wrong"]["value"], report["accept_when_wrong"]["n"]) == (0.5, 4)
    assert report["left_out"]["gold"] == 2 and report["pairs"]["same_suggestion"] == 2
    assert "wrong suggestions left as they were: 0.500 of 4" in CliRunner().invoke(app, ["agreement", *files]).output
