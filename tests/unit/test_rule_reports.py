"""`labelloop rules`: what each rule of a version does on a project's tasks."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from backends import rules
from labelloop.artefacts import write_digest
from labelloop.cli import app
from labelloop.errors import UsageError
from labelloop.label_config import parse_label_config
from labelloop.settings import ServiceSettings, Settings
from labelloop.store import Store, open_store
from labelloop.store.tables import revisions
from labelloop.store.trainings import note_imported
from sync.rule_reports import report_rules, rules_text
from sync.runtime import Runtime

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="bill"/><Choice value="post"/></Choices></View>'
)
FILE = """
version: 2
control: topic
target: choices
rules:
  - {name: pays, version: 1, kind: keyword, label: bill, keywords: [invoice]}
  - {name: sent, version: 3, kind: keyword, label: post, keywords: [parcel]}
  - {name: loyal, version: 1, kind: metadata, label: bill, where: {"meta:tier": gold}}
tests:
  - {data: {text: an invoice}, expect: bill}
"""
TEXTS = ["an invoice", "a parcel", "the invoice of a parcel", "hello"]
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "rules.schema.json"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Project 1 with four tasks, three labels and a registered rule file."""
    made = open_store(ServiceSettings(data=tmp_path).database)
    made.put_project(
        project_id=1, title="Letters", task_type="text_classification", backend="rules", label_config=CONFIG, settings={}
    )  # fmt: skip
    made.put_tasks(
        1,
        [
            {"task_id": n, "data": {"text": text}, "meta": {"tier": "gold" if n == 4 else "none"}, "overlap": 1,
             "content_hash": f"c{n}", "group_key": f"c{n}", "role": "pool"}
            for n, text in enumerate(TEXTS, start=1)
        ],
    )  # fmt: skip
    (tmp_path / "rules.yaml").write_text(FILE, encoding="utf-8")
    version = tmp_path / "v1"
    version.mkdir()
    rules.import_model([str(tmp_path / "rules.yaml")], parse_label_config(CONFIG), version)
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with made.begin() as connection:
        note_imported(
            made, connection, 1, "import-1", candidate="rules-p1-v1", path=str(version), digest=write_digest(version),
            reason="by hand", metrics={},
        )  # fmt: skip
        made.insert_missing(
            connection,
            revisions,
            [
                {"project_id": 1, "annotation_id": n, "task_id": n, "rev": 1, "rev_hash": f"h{n}", "person_id": 1,
                 "kind": "human", "state": "submitted", "ground_truth": False, "created_at": at, "updated_at": at,
                 "seen_at": at, "lead_time_s": 1.0, "parent_prediction": None, "shown_serving_id": None,
                 "config_hash": "c", "result": [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices",
                                                 "value": {"choices": [label]}}]}
                for n, label in ((1, "bill"), (2, "post"), (3, "post"))
            ],
        )  # fmt: skip
    yield made
    made.engine.dispose()


def test_the_report_counts_on_the_tasks_and_judges_on_the_labels(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["rules", "Letters", "rules-p1-v1", "--json"])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    report = json.loads(ran.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    (control,) = report["controls"]
    found = {rule["rule"]: rule for rule in control["rules"]}
    assert (control["tasks"], control["gold"], control["covered"]) == (4, 3, 1.0)
    pays, sent, loyal = (found[name] for name in ("pays@1", "sent@3", "loyal@1"))
    assert (pays["coverage"], pays["overlap"], pays["conflict"]) == (0.5, 0.25, 0.25)
    assert (pays["right"], pays["judged"], sent["right"], sent["judged"]) == (1, 2, 2, 2)
    assert pays["low"] < pays["accuracy"] == 0.5 < pays["high"]
    assert loyal["fired"] == 1 and loyal["accuracy"] is None  # it reads meta, and nobody has labelled that task
    text = rules_text(report)
    assert "pays@1: covers 50.0%" in text and "loyal@1" in text and "not judged yet" in text


def test_what_has_no_report_says_why(store: Store, tmp_path: Path) -> None:
    runtime = Runtime(Settings(services=ServiceSettings(data=tmp_path)))
    project = store.project(1)
    assert project is not None
    with pytest.raises(UsageError, match=r"serves no rules yet.*labelloop register"):
        report_rules(runtime, project, None)
    with pytest.raises(UsageError, match=r"no version 'rules-p1-v9'"):
        report_rules(runtime, project, "rules-p1-v9")
    store.put_project(
        project_id=2, title="Boxes", task_type="bbox", backend="yolo", label_config=CONFIG, settings={}
    )  # fmt: skip
    boxes = store.project(2)
    assert boxes is not None
    with pytest.raises(UsageError, match="only rules have this report"):
        report_rules(runtime, boxes, None)
