"""Every --json report has a schema, and what the commands print (on a small store made by hand) is valid under it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import psutil
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from typer.main import get_command
from typer.testing import CliRunner

import sync.ingesting
import sync.projects
import sync.reconcile
import sync.training
from labelloop.cli import app
from labelloop.demo import measuring
from labelloop.demo.projects import MESSAGES
from labelloop.demo.reading_back import ReadBack
from labelloop.queueing import Queue
from labelloop.services.state import RunningService, RunningState, write_state
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store
from labelloop.store.promotions import add_step, move_serving
from labelloop.store.tables import revisions
from labelloop.store.trainings import finish_training, queue_training, update_training
from labelloop.values import Metrics
from sync.ingesting import IngestReport
from sync.mirror import Mirrored
from sync.reconcile import Reconciled
from sync.trigger import Decision

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
FILES = {"demo-summary"}
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text" choice="single">'
    '<Choice value="praise"/><Choice value="complaint"/></Choices></View>'
)
METRICS = Metrics("macro F1", 0.8, 2, 2, ({"task": 1},), 0.4, {"accuracy": 0.9})
V1 = "sklearn_text-p1-v1"

Said = Callable[..., Any]


def validate(name: str, report: Any) -> None:
    jsonschema.validate(
        report, json.loads((SCHEMAS / f"{name}.schema.json").read_text()), format_checker=jsonschema.FormatChecker()
    )


def with_json() -> set[str]:
    """Commands with a --json option, as the names of their schemas: spaces become dashes."""
    found = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        both = {f"{name}-{sub}": each for sub, each in inner.items()} or {name: command}
        found |= {key for key, each in both.items() if any("--json" in p.opts for p in each.params)}
    return found


def test_every_command_with_json_has_a_schema_and_every_schema_a_command() -> None:
    assert {path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir()} == with_json() | FILES
    assert {"models", "project-create", "sync"} <= with_json() and "up" not in with_json()


@pytest.mark.parametrize("path", sorted(SCHEMAS.iterdir()), ids=lambda path: path.name)
def test_a_schema_is_one_and_refuses_what_it_does_not_know(path: Path) -> None:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"unheard_of": 1}, schema)


def label(number: int, person: int, value: str) -> dict[str, Any]:
    """A revision of one person's label of one task."""
    region = {"id": f"r{number}", "from_name": "label", "to_name": "text", "type": "choices"}
    return {
        "project_id": 1, "annotation_id": number * 10 + person, "task_id": number, "rev": 1, "rev_hash": f"h{number}",
        "person_id": person, "kind": "human", "state": "submitted", "ground_truth": False, "created_at": AT,
        "updated_at": AT, "seen_at": AT, "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None,
        "config_hash": "c", "result": [{**region, "value": {"choices": [value]}}],
    }  # fmt: skip


def fill(store: Store) -> None:
    """Project 1: three tasks, four labels, one training of each kind, two promotions, the second of them served."""
    store.put_project(
        project_id=1, title="Letters", task_type="text_classification", backend="sklearn_text", label_config=CONFIG,
        settings={}, holdout_threshold=0.1,
    )  # fmt: skip
    tasks = [
        {"task_id": n, "data": {"text": f"text {n}"}, "meta": {}, "overlap": 1, "content_hash": f"c{n}",
         "group_key": f"c{n}", "role": role}
        for n, role in enumerate(("pool", "holdout", "blind"), start=1)
    ]  # fmt: skip
    store.put_tasks(1, tasks)
    done = queue_training(store, 1, "d" + "1" * 16, 2, None)
    queue_training(store, 1, "d" + "2" * 16, 2, V1)
    with store.begin() as connection:
        labels = [label(1, 1, "praise"), label(1, 2, "praise"), label(2, 1, "praise"), label(2, 2, "complaint")]
        store.insert_missing(connection, revisions, labels)
        summary = {"name": "macro F1", "value": 0.8, "baseline": 0.4, "n": 2}
        finish_training(store, connection, done, "promoted", "better", {"candidate": summary, "champion": None})
        update_training(
            store, connection, 1, done.training_id, candidate=V1, path="/v1", digest="0" * 64, started_at=AT
        )
        for version in ("sklearn_text-p1-v0", V1):
            detail = {"model_version": version, "serving_id": f"{version}-r1", "path": "", "digest": ""}
            add_step(store, connection, 1, f"{version}-r1", "planned", {**detail, "training_id": None})
            add_step(store, connection, 1, f"{version}-r1", "served", {"generation": 1})
            move_serving(store, connection, 1, {"backend": "sklearn_text", **detail})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(ServiceSettings(data=tmp_path).database)
    fill(made)
    yield made
    made.engine.dispose()


@pytest.fixture
def said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a command on that store; its parsed JSON. What needs Redis, Label Studio or a model answers by hand."""
    done = Reconciled(Mirrored(3, 1, 0, 0, 2), Decision(False, 1, "1 of 500 new labels"), None)
    report = IngestReport(1, "letters.jsonl", added=2, present=1, overlapped=1, rejects=tmp_path / "rejected.jsonl")
    report.roles.update(["pool", "holdout"])
    report.rejected.update(["unreadable"])
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.setenv("LABELLOOP_LABEL_STUDIO_TOKEN", "none")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Queue, "enqueue", lambda *_: True)
    monkeypatch.setattr(Queue, "is_dirty", lambda *_: False)
    monkeypatch.setattr(sync.reconcile, "reconcile_project", lambda *_, **__: done)
    monkeypatch.setattr(sync.ingesting, "ingest", lambda *_, **__: report)
    monkeypatch.setattr(sync.training, "evaluate_version", lambda *_: {V1: METRICS})
    monkeypatch.setattr(sync.projects, "create_project", lambda *_, **__: 1)

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("project", "create", "Letters", "--template", "text_classification"),
        ("project", "templates"),
        ("sync", "1"),
        ("train", "1"),
        ("train", "1", "--pause"),
        ("models", "Letters"),
        ("evaluate", "1", V1),
        ("promote", "1", V1),
        ("rollback", "1"),
        ("agreement", "1"),
        ("consensus", "1"),
        ("review", "1"),
        ("cost", "1"),
    ],
    ids=" ".join,
)
def test_what_a_command_prints_is_valid(arguments: tuple[str, ...], said: Said) -> None:
    validate("-".join(arguments[:2]) if arguments[0] == "project" else arguments[0], said(*arguments))


def test_the_consensus_of_a_project_is_of_its_labels_in_the_store(said: Said) -> None:
    report = said("consensus", "Letters", "--method", "majority")
    assert report["control"] == "label"
    assert [(each["task"], each["label"], each["support"], each["judgments"]) for each in report["tasks"]] == [
        (1, "praise", 2, 2),
        (2, "praise", 1, 2),
    ]


def test_the_models_report_tells_finished_and_waiting_trainings_and_promotions(said: Said) -> None:
    report = said("models", "1")
    assert [row["outcome"] for row in report["trainings"]] == ["promoted", None]
    assert report["served_version"] == V1 and len(report["promotions"]) == 2


def test_an_ingest_and_an_export_are_valid(said: Said, tmp_path: Path) -> None:
    (tmp_path / "letters.jsonl").write_text('{"text": "thank you"}\n')
    report = said("ingest", "1", str(tmp_path / "letters.jsonl"))
    validate("ingest", report)
    assert (report["added"], report["rejected"]["by_reason"]) == (2, {"unreadable": 1})
    exported = said("export", "1", "--format", "csv", "--out", str(tmp_path / "out"))
    validate("export", exported)
    assert exported["items"] == 2


def test_a_backup_and_its_restore_are_valid(said: Said, tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "reports").mkdir(parents=True)
    (tmp_path / "artifacts" / "reports" / "agreement.json").write_text("{}")
    backup = said("backup", str(tmp_path / "store.tar"), "--artifacts")
    validate("backup", backup)
    assert (backup["tables"]["revisions"], backup["artefacts"]) == (4, 1)
    restored = said("restore", str(tmp_path / "store.tar"), "--force", "--artifacts")
    validate("restore", restored)
    assert restored["tables"] == backup["tables"] and said("models", "1")["served_version"] == V1


def test_a_status_with_and_without_services_is_valid(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said("status")["services"] == []
    me = RunningService(os.getpid(), psutil.Process().create_time(), "http://127.0.0.1:1")
    write_state(
        tmp_path, RunningState(me.pid, me.created, "run", {"receiver": me, "worker": RunningService(me.pid, 1.0)})
    )
    report = said("status")
    validate("status", report)
    assert [row["alive"] for row in report["services"]] == [True, False]


def test_a_status_tells_each_project(said: Said, store: Store) -> None:
    store.pause_training(1, True)
    store.put_project(
        project_id=2, title="New", task_type="bbox", backend="yolo", label_config=CONFIG, settings={}
    )  # fmt: skip
    report = said("status")
    validate("status", report)
    first, second = report["projects"]
    assert first["tasks"] == {"pool": 1, "holdout": 1, "blind": 1}
    assert first["labels"] == {"pool": 2, "holdout": 2} and first["people"] == 2
    assert first["served_version"] == V1 and first["training_paused"] and first["training_running"]
    assert first["last_training"]["outcome"] == "promoted" and first["dirty"] is False
    assert second["last_training"] is None and second["serving_id"] is None and second["tasks"] == {}
    assert (report["store_problem"], report["redis_problem"]) == (None, None)
    lines = CliRunner().invoke(app, ["status"]).stdout.splitlines()
    assert lines[0].startswith("nothing runs")
    assert "labels 4 (pool 2, holdout 2) by 2 people" in lines[1] and "last training promoted: better" in lines[1]
    assert "trainings paused" in lines[1] and "serves nothing yet" in lines[2] and "not trained yet" in lines[2]


def test_a_status_answers_without_redis(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bool:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(Queue, "is_dirty", away)
    report = said("status")
    validate("status", report)
    assert "refused" in report["redis_problem"] and report["store_problem"] is None
    assert [row["dirty"] for row in report["projects"]] == [None]
    assert "redis: does not answer" in CliRunner().invoke(app, ["status"]).stdout


def test_a_status_answers_without_a_store_and_makes_none(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data, expected in ((tmp_path / "empty", "no store at"), (tmp_path / "broken", "not a database")):
        monkeypatch.setenv("LABELLOOP_DATA", str(data))
        if data.name == "broken":
            data.mkdir()
            (data / "store.sqlite3").write_bytes(b"no database at all" * 100)
        report = said("status")
        validate("status", report)
        assert expected in report["store_problem"] and report["projects"] == []
        assert expected in CliRunner().invoke(app, ["status"]).stdout
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("measured", [True, False], ids=["measured", "nothing measured"])
def test_a_summary_of_the_demo_is_valid(
    measured: bool, store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measuring.ProjectRun(MESSAGES, 1, paused_at=AT + timedelta(hours=1))
    run.agreement = said("agreement", "1")
    run.exported = {"items": 2, "objects": 2}
    if measured:
        versions = said("evaluate", "1", V1)["versions"]
        run.evaluated, run.versions = {"first": versions[V1], "last": versions[V1]}, [V1]
        run.order = {"servings": 2, "kendall_tau": 1.0, "served_for_overlap": 0}
    read = ReadBack(f"{V1}-r1", frozenset({1, 2, 3}), {(1, 1): (11, "h1")}, {(1, 1): AT}, {3: 0.1}, {3: 0})
    monkeypatch.setattr(measuring, "read_back", lambda *_: read)
    services = SimpleNamespace(receiver_url=None)
    running = SimpleNamespace(services=services, supervisor=SimpleNamespace(peak_memory_mb=lambda: 812.4))
    summary = measuring.summarise([run], store, None, running, 0.0, {"labelling": 3.5})  # type: ignore[arg-type]
    validate("demo-summary", json.loads(json.dumps(summary)))
    assert summary["projects"]["text_classification"]["model_versions"] == int(measured)
