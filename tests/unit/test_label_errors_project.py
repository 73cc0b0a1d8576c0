"""Label errors of a project in the store: which model version's word counts, duplicates by fingerprints, leakage by roles."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.settings import ServiceSettings
from labelloop.store import open_store
from labelloop.store.tables import outcomes, revisions, signals

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/errors.schema.json").read_text())
LABELLED = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="cell"/>'
    '</RectangleLabels><Choices name="kind" toName="image"><Choice value="a"/><Choice value="b"/></Choices></View>'
)
TASKS = 40


def box(x: float, score: float | None = None) -> dict[str, Any]:
    value = {"x": x, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cell"]}
    shape = {"id": f"b{x}", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
    return shape if score is None else shape | {"score": score}


def kind(name: str) -> dict[str, Any]:
    return {"id": "k", "from_name": "kind", "to_name": "image", "type": "choices", "value": {"choices": [name]}}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every task is labelled with a box at 10 and the kind that its number tells; task 3 lies about its kind.

    Version 1 spoke before the labels (of all tasks but 2), version 2 after them: at 60, where nobody drew anything.
    """
    store = open_store(ServiceSettings(data=tmp_path).database)
    store.put_project(project_id=1, title="Cells", task_type="bbox", backend="yolo", label_config=CONFIG, settings={})
    same = "phash256:" + "0" * 64
    store.put_tasks(
        1,
        [
            {"task_id": n, "data": {"image": f"{n}.png"}, "overlap": 1, "content_hash": f"c{n}", "group_key": f"c{n}",
             "meta": {"labelloop": {"fingerprint": same}} if n in (5, 6) else {}, "role": "holdout" if n == 6 else "pool"}
            for n in range(1, TASKS + 1)
        ],
    )  # fmt: skip
    with store.begin() as connection:
        said, words, probs = [], [], []
        for n in range(1, TASKS + 1):
            true = "ab"[n % 2]
            given = "ab"[(n + 1) % 2] if n == 3 else true
            words.append(
                {"project_id": 1, "annotation_id": n, "task_id": n, "rev": 1, "rev_hash": f"h{n}", "person_id": 7,
                 "kind": "human", "state": "submitted", "ground_truth": False, "created_at": LABELLED,
                 "updated_at": LABELLED, "seen_at": LABELLED, "lead_time_s": 2.0, "parent_prediction": None,
                 "shown_serving_id": None, "config_hash": "c", "result": [box(10), kind(given)]}
            )  # fmt: skip
            for version, hours, x in (("v1", -1, 10), ("v2", 1, 60)):
                if (version, n) != ("v1", 2):
                    said.append(
                        {"project_id": 1, "model_version": version, "task_id": n, "status": "ok", "confidence": 0.9,
                         "created_at": LABELLED + timedelta(hours=hours), "uncertainty": 0.1, "result": [box(x, 0.9)]}
                    )  # fmt: skip
                # The version that came later has learned the labels, wrong one and all.
                chances = {true: 0.9, "ab"[true == "a"]: 0.1} if version == "v1" else {given: 1.0}
                probs.append(
                    {"project_id": 1, "task_id": n, "model_version": version, "control": "kind", "item": "",
                     "probs": chances, "embedding": None}
                )  # fmt: skip
        store.insert_missing(connection, revisions, words)
        store.insert_missing(connection, outcomes, said)
        store.insert_missing(connection, signals, probs)
    store.engine.dispose()
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["errors", "Cells", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(found, SCHEMA)
    return found


def test_the_last_version_that_spoke_before_the_label_is_asked(report: dict[str, Any]) -> None:
    boxes = [each for each in report["findings"] if each["control"] == "box"]
    assert {(each["task"], each["type"]) for each in boxes} == {(2, "missing"), (2, "extra")}
    assert {(each["evidence"]["model_version"], each["evidence"]["may_know_the_label"]) for each in boxes} == {
        ("v2", True)
    }


def test_stored_probabilities_of_images_count_where_they_were_told_before_the_label(report: dict[str, Any]) -> None:
    (wrong,) = [each for each in report["findings"] if each["control"] == "kind"]
    assert (wrong["task"], wrong["annotator"], wrong["type"], wrong["given"], wrong["suggested"]) == (
        3, 7, "wrong_class", "a", "b",
    )  # fmt: skip


def test_noted_fingerprints_and_roles_tell_duplicates_conflicts_and_leakage(report: dict[str, Any]) -> None:
    assert {(each["type"], tuple(each["tasks"])) for each in report["data"]} == {
        ("duplicate", (5, 6)), ("leakage", (5, 6)), ("conflict", (5, 6)),
    }  # fmt: skip
    assert {each["detector"] for each in report["skipped"]} == {"outliers"}
