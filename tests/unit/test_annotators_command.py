"""`labelloop annotators`: a CSV, an export, a project's store, what is refused, and what it says to people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import DataError, UsageError
from labelloop.settings import ServiceSettings
from labelloop.store import open_store
from labelloop.store.shown import Shown, put_shown
from labelloop.store.tables import revisions

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/annotators.schema.json").read_text())
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="mood" toName="text"><Choice value="good"/>'
    '<Choice value="bad"/></Choices><Rating name="why" toName="text"/></View>'
)


def said(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["annotators", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


def run(*arguments: object) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(said(*arguments, "--json"))
    jsonschema.validate(report, SCHEMA)
    return report


def table(folder: Path) -> Path:
    lines = ["task,annotator,label,lead_time_s,at,gold,suggested"]
    for task in range(40):
        truth = "y" if task % 2 else "n"
        for who in ("ada", "bo", "eve"):
            told = "y" if who == "eve" else truth
            gold, at = (truth, f"2026-11-{1 + task // 10:02}T10:{task:02}:00Z")
            lines.append(
                f"t{task},{who},{told},{5 + task % 3},{at},{gold if task < 20 else ''},{'y' if task % 5 else ''}"
            )
    (folder / "labels.csv").write_text("\n".join([*lines, "t0,ada,,1,,,", "t1,bo,y,9,2026-11-01T10:01:00Z,y,y"]) + "\n")
    return folder / "labels.csv"


def test_a_csv_needs_no_config(tmp_path: Path) -> None:
    report = run("--file", table(tmp_path))
    people = {each["annotator"]: each for each in report["annotators"]}
    assert (report["n_labels"], report["left_out"]) == (120, {"no_label": 1, "superseded": 1})
    assert people["ada"]["gold"]["value"] == 1.0 and people["eve"]["gold"]["value"] == 0.5
    assert people["eve"]["accept_when_wrong"]["value"] == 1.0 and people["ada"]["accept_when_wrong"]["value"] == 0.0
    assert "guessing" in {flag["flag"] for flag in people["eve"]["flags"]} and people["ada"]["flags"] == []
    assert people["eve"]["controls"]["label"]["confusion"] == {"n": {"y": 20}, "y": {"y": 20}}


def test_since_and_messages(tmp_path: Path) -> None:
    file = table(tmp_path)
    assert [each["n_labels"] for each in run("--file", file, "--since", "2026-11-03")["annotators"]] == [20, 20, 20]
    text = said("--file", file, "--messages")
    assert "To eve:" in text and "Worth another look: tasks" in text
    assert "guessing" in said("--file", file)
    with pytest.raises(UsageError, match="2026-11-01"):
        said("--file", file, "--since", "yesterday")


def test_a_csv_with_three_columns_is_enough(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text("task,annotator,label\n1,a,x\n1,b,x\n2,a,y\n")
    report = run("--file", tmp_path / "plain.csv")
    assert [each["agreement"]["n"] for each in report["annotators"]] == [1, 1] and report["reasons"]["speed"]
    (tmp_path / "none.csv").write_text("task,label\n1,x\n")
    with pytest.raises(DataError, match="annotator"):
        run("--file", tmp_path / "none.csv")


def test_an_export_has_skipped_tasks_gold_and_controls_of_two_kinds(tmp_path: Path) -> None:
    def annotation(number: int, person: int, mood: str, **over: Any) -> dict[str, Any]:
        regions = [
            {"id": "r", "from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": [mood]}},
            {"id": "s", "from_name": "why", "to_name": "text", "type": "rating", "value": {"rating": 4}},
        ]
        at = {"updated_at": "2026-01-01T00:00:00Z", "lead_time": 4.5}
        return {"id": number, "completed_by": person, "result": regions, **at} | over

    tasks = [
        {"id": n, "data": {"text": "x"}, "annotations": [
            annotation(10 * n, 1, "good"), annotation(10 * n + 1, 2, "bad" if n == 1 else "good"),
            annotation(10 * n + 2, 3, "good", ground_truth=True), annotation(10 * n + 3, 4, "bad", was_cancelled=True),
        ]}
        for n in (1, 2)
    ]  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    (tmp_path / "config.xml").write_text(CONFIG)
    report = run("--file", tmp_path / "export.json", "--config", tmp_path / "config.xml")
    people = {each["annotator"]: each for each in report["annotators"]}
    assert people[2]["controls"]["mood"]["gold"]["value"] == 0.5 and people[3]["gold"]["n"] == 0
    assert people[1]["n_skipped"] == 0 and report["left_out"]["not_submitted"] == 2
    assert people[1]["speed"]["median_s"] == 4.5
    with pytest.raises(UsageError, match="--config"):
        run("--file", tmp_path / "export.json")
    with pytest.raises(UsageError, match="PROJECT"):
        run()


def test_a_project_tells_what_became_of_the_suggestions_that_its_store_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = open_store(ServiceSettings(data=tmp_path).database)
    store.put_project(
        project_id=1, title="Moods", task_type="text_classification", backend="sklearn_text", label_config=CONFIG,
        settings={}, holdout_threshold=0.1,
    )  # fmt: skip
    store.put_tasks(
        1,
        [
            {"task_id": n, "data": {"text": "x"}, "meta": {}, "overlap": 1, "content_hash": f"c{n}", "group_key": f"c{n}",
             "role": "gold"}
            for n in (1, 2, 3)
        ],
    )  # fmt: skip

    def mood(value: str) -> list[dict[str, Any]]:
        return [{"id": "r", "from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": [value]}}]

    def label(task: int, person: int, value: str, parent: int | None, **over: Any) -> dict[str, Any]:
        return {
            "project_id": 1, "annotation_id": task * 10 + person, "task_id": task, "rev": 1, "rev_hash": f"h{task}{person}",
            "person_id": person, "kind": "human", "state": "submitted", "ground_truth": False, "created_at": AT,
            "updated_at": AT, "seen_at": AT, "lead_time_s": 2.0, "parent_prediction": parent,
            "shown_serving_id": None if parent is None else "v1", "config_hash": "c", "result": mood(value),
        } | over  # fmt: skip

    with store.begin() as connection:
        rows = [label(n, 9, "good", None, ground_truth=True) for n in (1, 2, 3)]
        # Without `origin` in the regions: only the copies tell that 1 was left as it was, 2 changed, and 3 right at once.
        rows += [label(1, 1, "bad", 51), label(2, 1, "good", 52), label(3, 1, "good", 53)]
        rows.append(label(3, 2, "good", None, state="cancelled"))
        store.insert_missing(connection, revisions, rows)
        copies = [
            Shown(50 + n, n, "v1", "v1", AT, 0.5, mood(value)) for n, value in ((1, "bad"), (2, "bad"), (3, "good"))
        ]
        put_shown(store, connection, 1, copies)
    store.engine.dispose()
    person = next(each for each in run("Moods")["annotators"] if each["annotator"] == 1)
    found = person["controls"]["mood"]["accept_when_wrong"]
    assert (found["value"], found["n"], found["tasks"]) == (0.5, 2, [1])
    assert (person["n_shown"], person["gold"]["n"], person["n_skipped"]) == (3, 3, 0)
