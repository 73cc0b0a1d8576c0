"""`labelloop consensus`: a CSV, an export, controls to choose from, what is refused, and what it says to people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import DataError, UsageError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/consensus.schema.json").read_text())
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="mood" toName="text"><Choice value="good"/>'
    '<Choice value="bad"/></Choices><Choices name="topic" toName="text"><Choice value="a"/></Choices></View>'
)


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["consensus", *map(str, arguments), "--json"])
    if result.exception is not None:
        raise result.exception
    report: dict[str, Any] = json.loads(result.output)
    jsonschema.validate(report, SCHEMA)
    return report


def table(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "labels.csv"


def annotation(number: int, person: int, *picked: str, at: str = "2026-01-01T00:00:00Z", **over: Any) -> dict[str, Any]:
    value = {"choices": list(picked)}
    region = {"id": "r", "from_name": "mood", "to_name": "text", "type": "choices", "value": value}
    return {"id": number, "completed_by": person, "updated_at": at, "result": [region] if picked else []} | over


def export(folder: Path) -> list[object]:
    tasks = [
        [annotation(1, 1, "good"), annotation(2, 2, "good"), annotation(3, 3, "bad")],
        # The person's later word counts; what was skipped, or says nothing, is no judgment.
        [annotation(4, 1, "good"), annotation(5, 1, "bad", at="2026-01-02T00:00:00Z"), annotation(6, 2)],
        [annotation(7, 3, "good", was_cancelled=True)],
    ]
    made = [{"id": n, "data": {"text": "x"}, "annotations": found} for n, found in enumerate(tasks, start=1)]
    (folder / "export.json").write_text(json.dumps(made))
    (folder / "config.xml").write_text(CONFIG)
    return ["--file", folder / "export.json", "--config", folder / "config.xml"]


def test_a_csv_needs_no_config(tmp_path: Path) -> None:
    rows = "".join(
        f"t{i},{who},{'y' if i % 2 or who == 'eve' else 'n'}\n" for i in range(20) for who in ("ada", "bo", "eve")
    )
    file = table(
        tmp_path, "annotator_is_ignored,task,annotator,label\n" + "".join(f"-,{row}\n" for row in rows.splitlines())
    )
    report = run("--file", file)
    assert (report["control"], report["method"], report["n_tasks"], report["n_judgments"]) == (
        None,
        "dawid_skene",
        20,
        60,
    )
    assert {each["task"]: each["label"] for each in report["tasks"]} == {
        f"t{i}": "y" if i % 2 else "n" for i in range(20)
    }
    probability = report["tasks"][0].pop("probability")
    assert report["tasks"][0] == {"task": "t0", "label": "n", "support": 2, "judgments": 3} and probability > 0.99
    assert report["annotators"]["eve"]["confusion"]["n"]["y"] > 0.99
    voted = run("--file", file, "--method", "majority")
    assert voted["tasks"][0]["probability"] == pytest.approx(2 / 3, abs=1e-6)
    assert voted["annotators"]["eve"] == {"judgments": 20, "confusion": None}


def test_several_rows_of_one_annotator_all_count(tmp_path: Path) -> None:
    file = table(tmp_path, "task,annotator,label\n1,ada,x\n1,ada,x\n1,bo,y\n2,bo,\n")
    report = run("--file", file, "--method", "majority")
    assert report["tasks"] == [{"task": "1", "label": "x", "probability": 0.666667, "support": 2, "judgments": 3}]


def test_an_export_counts_the_latest_label_of_each_person(tmp_path: Path) -> None:
    report = run(*export(tmp_path), "--control", "mood", "--method", "majority")
    assert report["control"] == "mood"
    assert [(each["task"], each["label"], each["support"], each["judgments"]) for each in report["tasks"]] == [
        (1, "good", 2, 3),
        (2, "bad", 1, 1),
    ]
    assert {name: each["judgments"] for name, each in report["annotators"].items()} == {"1": 2, "2": 1, "3": 1}


def test_what_is_refused_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\['mood', 'topic'\]; name one with --control"):
        run(*export(tmp_path))
    with pytest.raises(UsageError, match="got 'moood'"):
        run(*export(tmp_path), "--control", "moood")
    with pytest.raises(UsageError, match="--file needs --config"):
        run("--file", tmp_path / "export.json")
    with pytest.raises(DataError, match="no judgment to find a consensus of"):
        run(*export(tmp_path), "--control", "topic")
    with pytest.raises(DataError, match=r"\['label'\] are missing"):
        run("--file", table(tmp_path, "task,annotator,answer\n1,ada,x\n"))
    with pytest.raises(DataError, match="no readable CSV"):
        run("--file", tmp_path / "none.csv")


def test_people_see_the_least_sure_answers_first(tmp_path: Path) -> None:
    rows = [f"{i},{who},{'n' if i == 7 and who == 'bo' else 'y'}" for i in range(30) for who in ("ada", "bo")]
    file = table(tmp_path, "task,annotator,label\n" + "\n".join(rows) + "\n")
    said = CliRunner().invoke(app, ["consensus", "--file", str(file), "--method", "majority"]).output.splitlines()
    assert said[0] == "30 tasks, 60 judgments, method majority"
    assert said[1] == "  task 7: y  probability 0.500, 1 of 2 said so"
    assert said[-1] == "  ... and 10 that are surer; --json has all"
