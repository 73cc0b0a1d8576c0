"""The commands dataset, classes and history on a small store: what they print is valid under its schema, and right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import LabelloopError, NotReady, UsageError
from labelloop.revisions import revision_hash
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store
from labelloop.store.decisions import decide
from labelloop.store.tables import decisions, revisions
from labelloop.store.trainings import finish_training, queue_training, update_training
from sync.runtime import Runtime

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="praise"/><Choice value="complaint"/></Choices></View>'
)
Said = Callable[..., Any]


def validate(name: str, report: Any) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.validate(report, schema, format_checker=jsonschema.FormatChecker())


def revision(task: int, person: int, value: str, rev: int = 1, **more: Any) -> dict[str, Any]:
    region = {
        "id": f"r{task}",
        "from_name": "label",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [value]},
    }
    row = {
        "project_id": 1, "annotation_id": task * 10 + person, "task_id": task, "rev": rev, "person_id": person,
        "kind": "human", "state": "submitted", "ground_truth": False, "created_at": AT,
        "updated_at": AT + timedelta(minutes=rev), "seen_at": AT, "lead_time_s": 2.0, "parent_prediction": None,
        "shown_serving_id": None, "config_hash": "c", "result": [region],
    } | more  # fmt: skip
    return row | {"rev_hash": revision_hash(row["result"], row["state"], row["ground_truth"])}


def add(store: Store, *rows: dict[str, Any]) -> None:
    with store.begin() as connection:
        store.insert_missing(connection, revisions, rows)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(ServiceSettings(data=tmp_path).database)
    made.put_project(
        project_id=1, title="Letters", task_type="text_classification", backend="sklearn_text", label_config=CONFIG,
        settings={}, holdout_threshold=0.1,
    )  # fmt: skip
    roles = ("pool", "holdout", "blind", "gold")
    made.put_tasks(
        1,
        [
            {"task_id": n, "data": {"text": f"text {n}"}, "meta": {}, "overlap": 1, "content_hash": f"c{n}",
             "group_key": f"c{n}", "role": role}
            for n, role in enumerate(roles, start=1)
        ],
    )  # fmt: skip
    add(made, revision(1, 1, "praise"), revision(1, 2, "complaint"), revision(2, 1, "praise"), revision(4, 1, "praise"))
    yield made
    made.close()


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a command in that data folder; its parsed JSON, or what it raised."""
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, text: bool = False, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [*arguments, *([] if text else ["--json"])])
        if isinstance(result.exception, LabelloopError):
            raise result.exception
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout if text else json.loads(result.stdout)

    return run


def test_a_version_is_made_found_again_listed_and_shown(store: Store, said: Said) -> None:
    made = said("dataset", "create", "Letters")
    validate("dataset-create", made)
    assert made["counts"] == {"tasks": 2, "labels": 3, "truths": 2, "regions": 2} and not made["known"]
    again = said("dataset", "create", "1")
    assert again["known"] and again["dataset_id"] == made["dataset_id"]
    listed = said("dataset", "list")
    validate("dataset-list", listed)
    (entry,) = listed["versions"]
    assert (entry["project"], entry["policy"], entry["counts"]["labels"]) == (1, "latest", 3)
    shown = said("dataset", "show", made["dataset_id"][:6])
    validate("dataset-show", shown)
    assert shown["splits"] == {"holdout": {"tasks": 1, "truths": 1}, "train": {"tasks": 1, "truths": 1}}
    assert [(row["class"], row["objects"]) for row in shown["classes"]] == [("praise", 1), ("complaint", 1)]
    assert shown["annotators"] == [
        {"annotator": 1, "labels": 2, "truths": 1, "tasks": 2}, {"annotator": 2, "labels": 1, "truths": 1, "tasks": 1},
    ]  # fmt: skip
    assert "praise: 1" in said("dataset", "show", "d", text=True) and made["dataset_id"] in said(
        "dataset", "list", text=True
    )


def test_roles_and_policies_make_other_versions(store: Store, said: Said) -> None:
    with_gold = said("dataset", "create", "1", "--roles", "gold,pool")
    assert with_gold["counts"]["tasks"] == 2 and "policy gold" not in str(with_gold)
    reviewed = said("dataset", "create", "1", "--consensus", "reviewed")
    assert reviewed["counts"]["truths"] == 0 and sum(reviewed["left_out"].values()) == 2
    decide(store, 1, 1, "review", "approved", "ada", "fine", annotation_id=11)
    approved = said("dataset", "create", "1", "--consensus", "reviewed")
    assert approved["counts"]["truths"] == 1 and approved["dataset_id"] != reviewed["dataset_id"]
    assert approved["parent"] == reviewed["dataset_id"]
    with pytest.raises(UsageError, match=r"expected roles among .*'gold'.*got \['silver'\]"):
        said("dataset", "create", "1", "--roles", "silver")


def test_two_versions_are_compared(store: Store, said: Said) -> None:
    old = said("dataset", "create", "1")["dataset_id"]
    add(store, revision(2, 1, "complaint", rev=2), revision(3, 2, "praise"))
    new = said("dataset", "create", "1")["dataset_id"]
    report = said("dataset", "diff", old, new)
    validate("dataset-diff", report)
    assert report["labels"] == {"added": 1, "changed": 1, "removed": 0, "same": 2, "truth_moved": 0}
    assert "'praise' became 'complaint'" in said("dataset", "diff", old, new, text=True)
    with pytest.raises(UsageError, match=r"no version 'dxyz'.*dataset list"):
        said("dataset", "show", "dxyz")
    with pytest.raises(UsageError, match="2 versions begin with 'd'"):
        said("dataset", "show", "d")


def test_an_export_file_needs_no_store(said: Said, tmp_path: Path) -> None:
    region = {"id": "r", "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["praise"]}}
    task = {"id": 1, "data": {"text": "x"}, "annotations": [{"id": 5, "completed_by": 1, "result": [region]}]}
    (tmp_path / "export.json").write_bytes(orjson.dumps([task]))
    (tmp_path / "config.xml").write_text(CONFIG)
    made = said("dataset", "create", "--file", "export.json", "--config", "config.xml")
    validate("dataset-create", made)
    assert said("dataset", "create", "--file", "export.json", "--config", "config.xml")["known"]
    listed = said("dataset", "list")["versions"]
    assert [row["project"] for row in listed] == [None] and not (tmp_path / "store.sqlite3").exists()
    validate("dataset-show", said("dataset", "show", made["dataset_id"]))
    with pytest.raises(UsageError, match="--config"):
        said("dataset", "create", "--file", "export.json")
    with pytest.raises(UsageError, match="PROJECT"):
        said("dataset", "create")


def test_what_is_no_version_is_listed_with_its_problem(store: Store, said: Said, tmp_path: Path) -> None:
    made = said("dataset", "create", "1")
    manifest = Path(made["uri"]) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"latest"', b'"latext"'))
    report = said("dataset", "list")
    validate("dataset-list", report)
    assert "was changed after it was written" in report["versions"][0]["problem"]
    assert "was changed" in said("dataset", "list", text=True)


def test_a_project_without_labels_makes_no_version(store: Store, said: Said, tmp_path: Path) -> None:
    store.put_project(
        project_id=2, title="New", task_type="t", backend="sklearn_text", label_config=CONFIG, settings={}
    )  # fmt: skip
    with pytest.raises(NotReady, match="no labels yet"):
        said("dataset", "create", "New")
    assert list((tmp_path / "artifacts" / "datasets").iterdir()) == []


def test_classes_are_listed_and_changed(store: Store, said: Said) -> None:
    report = said("classes", "1")
    validate("classes", report)
    assert [(row["class_id"], row["name"]) for row in report["classes"]] == [(0, "praise"), (1, "complaint")]
    changed = said("classes", "1", "rename", "praise", "thanks", "--no-apply")
    validate("classes", changed)
    assert changed["schema_version"] == 2 and 'alias="praise"' in changed["to_do"][0]
    split = said("classes", "1", "split", "complaint", "into", "late", "broken", "--no-apply")
    validate("classes", split)
    assert split["open"] == {"tasks": 1, "labels": 1, "task_ids": [1]}
    text = said("classes", "1", text=True)
    assert "thanks  (stored or called before: praise)" in text and "-> late or broken" in text
    made = said("dataset", "create", "1")
    assert (
        made["counts"]["truths"] == 2 and made["left_out"] == {}
    )  # person 1's label of task 1 is no longer the latest that counts
    assert [row["class"] for row in said("dataset", "show", made["dataset_id"])["classes"]] == [
        "thanks",
        "late",
        "broken",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rename", "praise"], "rename OLD NEW"),
        (["merge", "praise", "complaint"], "merge A B into C"),
        (["split", "praise", "into", "x"], "split OLD into A B"),
        (["retire", "ghost"], "is no class of any control"),
        (["rename", "praise", "complaint"], "is or was another class"),
        (["rename", "praise", "x", "--control", "other"], "no control 'other'"),
        (["rename", "praise", "x", "--by", "f.csv"], "does not go with rename"),
    ],
)
def test_a_change_that_is_none_says_what_was_expected(
    words: list[str], expected: str, store: Store, said: Said
) -> None:
    with pytest.raises(UsageError, match=expected):
        said("classes", "1", *words, "--no-apply")
    assert said("classes", "1")["schema_version"] == 1


def test_the_life_of_a_label_is_told(store: Store, said: Said) -> None:
    add(store, revision(1, 1, "complaint", rev=2))
    decide(store, 1, 1, "review", "approved", "ada", "seen twice")
    made = said("dataset", "create", "1")["dataset_id"]
    row = queue_training(store, 1, made, 2, None)
    with store.begin() as connection:
        finish_training(store, connection, row, "promoted", "better")
        update_training(store, connection, 1, row.training_id, candidate="sklearn_text-p1-v1")
    report = said("history", "1", "--project", "Letters")
    validate("history", report)
    told = [(event["kind"], event["text"]) for event in report["events"]]
    assert ("label", "changed: 'praise' became 'complaint'") in told
    assert ("decision", "review: approved: seen twice") in told
    assert ("dataset", f"2 of its labels went into {made}, annotation 11 as the truth") in told
    assert ("training", f"{row.training_id} on {made}: promoted, made sklearn_text-p1-v1") in told
    assert [event["at"] for event in report["events"]] == sorted(event["at"] for event in report["events"])
    assert "1 choice by person 2" in said("history", "1", text=True)
    with pytest.raises(UsageError, match="has no task 77"):
        said("history", "77")
    for wrong in (("history",), ("history", "1", "--verify")):
        with pytest.raises(UsageError, match="expected TASK, or --verify"):
            said(*wrong)


def test_a_history_that_was_tampered_with_is_found(store: Store, said: Said) -> None:
    for number in range(3):
        decide(store, 1, 1, "review", "approved", "ada", f"reason {number}")
    said("dataset", "create", "1")
    report = said("history", "--verify")
    validate("history", report)
    assert report["whole"] and (report["projects"][0]["decisions"], report["projects"][0]["anchors"]) == (3, 1)
    with store.begin() as connection:
        connection.execute(decisions.update().where(decisions.c.reason == "reason 1").values(verdict="rejected"))
    broken = said("history", "--verify", code=1)
    validate("history", broken)
    assert not broken["whole"] and "content was changed" in broken["projects"][0]["problems"][0]


def test_forgetting_asks_first(store: Store, said: Said) -> None:
    with pytest.raises(UsageError, match="--yes"):
        said("forget", "1", "1")
    with pytest.raises(UsageError, match="expected the ids of tasks"):
        said("forget", "1", "--yes")
    result = CliRunner().invoke(app, ["forget", "1", "1"], input="n\n")
    assert result.exit_code == 1 and "erase 1 tasks of 'Letters'" in result.output


class NothingThere:
    """A Label Studio that has the tasks no longer."""

    def tasks_by_id(self, project_id: int, task_ids: list[int]) -> list[Any]:
        return []

    def auth_headers(self) -> dict[str, str]:
        return {}


def test_what_was_forgotten_and_what_remains_is_told(
    store: Store, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "client", NothingThere())
    made = said("dataset", "create", "1")["dataset_id"]
    report = said("forget", "1", "1", "--yes")
    validate("forget", report)
    assert (report["tasks"], report["datasets"]) == ([1], [made])
    assert report["in_label_studio"] == {"deleted": 0, "absent": 1, "another_task": 0}
    history = said("history", "1")
    validate("history", history)
    assert history["forgotten"] and "praise" not in json.dumps(history)
    shown = said("dataset", "show", made)
    validate("dataset-show", shown)
    assert shown["forgotten"] == 1
    assert "what remains:" in said("forget", "1", "2", "--yes", text=True)
