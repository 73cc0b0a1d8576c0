"""The whole loop, small: real Label Studio, Redis, MLflow, workers and people; then what must turn its verdict."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis
from rq import Queue as RqQueue
from rq.serializers import JSONSerializer

from labelloop.demo.measuring import summarise
from labelloop.demo.projects import MESSAGES, NEWS, SHAPES, scaled
from labelloop.demo.run import Demo, DemoOptions, play, started
from labelloop.demo.screen import Screen
from labelloop.settings import ServiceSettings
from labelloop.store.promotions import promotions_of, unserved
from labelloop.store.trainings import trainings_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

ENVS = Path(os.environ.get("LABELLOOP_DATA", Path(__file__).parents[2] / ".labelloop")) / "envs"
#: A holdout of thirty texts.
FEW = {"gate_min_items": 20}
#: Small enough for minutes: what the models reach is another matter, and the demo's own.
SMALL = (
    scaled(
        SHAPES,
        count=100,
        every=24,
        rounds=2,
        holdout=0.2,
        at_least=0.005,
        settings={"epochs": 8, "warm_start": "champion", "gate_min_objects": 20},
    ),
    scaled(NEWS, count=220, every=50, rounds=2, holdout=0.14, at_least=0.05, above_baseline=0.0, settings=FEW),
    scaled(MESSAGES, count=280, every=50, rounds=3, holdout=0.14, at_least=0.2, above_baseline=0.0, settings=FEW),
)


@dataclass(frozen=True)
class Played:
    """A demo that is over but still runs."""

    demo: Demo
    summary: dict[str, Any]
    began: float

    def again(self) -> dict[str, Any]:
        """The summary as it would be now."""
        runs = list(self.demo.runs.values())
        return summarise(runs, self.demo.store, self.demo.client, self.demo.running, self.began, {})


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    services = ServiceSettings(data=tmp_path_factory.mktemp("loop"))
    options = DemoOptions(projects=SMALL, pace=0.02, envs=ENVS, order_servings=15)
    began = time.monotonic()
    with started(services, options, Screen(live=False)) as demo:
        yield Played(demo, play(demo, began), began)


def failed(summary: dict[str, Any]) -> list[str]:
    return [check["name"] for check in summary["checks"] if not check["ok"]]


def until(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def idle(demo: Demo) -> bool:
    """Whether no job that reconciles waits or runs."""
    queue = RqQueue("sync", connection=Redis.from_url(demo.running.services.redis_url), serializer=JSONSerializer)
    return queue.count == 0 and queue.started_job_registry.count == 0


def test_the_loop_closes(played: Played) -> None:
    """Everything but how much a model can learn from so little holds on a small run too."""
    learning = {name for name in failed(played.summary) if "learning is real" in name}
    words = [
        (row.training_id, row.outcome, row.reason)
        for run in played.demo.runs.values()
        for row in trainings_of(played.demo.store, run.project_id)
    ]
    assert not set(failed(played.summary)) - learning, (words, played.summary["checks"])
    for found in played.summary["projects"].values():
        assert found["model_versions"] >= 1
        assert found["annotators"] == 3
        # How many depends on how far labels run ahead of a training; the reference model knows.
        assert found["trainings"] == found["trainings_expected"] >= 1
        assert found["labels"] == found["label_studio_labels"] == found["store_labels"] > 0


def test_evaluation_tasks_show_nothing(played: Played) -> None:
    """Holdout and blind tasks carry an empty prediction of the served id; some pool task carries a suggestion."""
    from labelloop.demo.reading_back import read_back

    for run in played.demo.runs.values():
        found = read_back(played.demo.client, run.project_id)
        roles = {task.task_id: task.role for task in played.demo.store.tasks(run.project_id)}
        hidden = {task for task, role in roles.items() if role != "pool"}
        assert all(found.shown[task] == 0 for task in hidden & found.shown.keys())


def test_a_label_deleted_behind_our_back_turns_ok(played: Played) -> None:
    run = played.demo.runs["text_classification"]
    task = next(row for page in played.demo.client.changed_tasks(run.project_id) for row in page if row.annotations)
    # The receiver must not hear of it, and no sweep may find it before we look: the loop would heal itself.
    for webhook in played.demo.client.webhooks(run.project_id):
        played.demo.client.request("PATCH", f"/api/webhooks/{webhook['id']}/", json={"is_active": False})
    scheduler = psutil.Process(played.demo.running.supervisor.status()["scheduler"].pid)
    scheduler.suspend()
    try:
        assert until(lambda: idle(played.demo))
        played.demo.client.request("DELETE", f"/api/annotations/{task.annotations[0].annotation_id}/")
        broken = played.again()
    finally:
        scheduler.resume()
    assert not broken["ok"]
    assert "text_classification: labels in the store" in failed(broken)
    played.demo.command("sync", str(run.project_id))
    assert "text_classification: labels in the store" not in failed(played.again())


def test_a_version_switched_behind_our_back_turns_ok(played: Played) -> None:
    run = played.demo.runs["ner"]
    served = played.demo.client.get_project(run.project_id)["model_version"]
    other = next(v for v in played.demo.client.model_versions(run.project_id) if v != served)
    played.demo.client.set_model_version(run.project_id, other)
    try:
        broken = played.again()
        assert not broken["ok"]
        assert "ner: served version" in failed(broken)
    finally:
        played.demo.client.set_model_version(run.project_id, served)


def test_promotion_while_a_person_holds_a_task(played: Played) -> None:
    """The submit that follows names a prediction of the version before, and is accepted; the backend follows by itself."""
    demo, run = played.demo, played.demo.runs["text_classification"]
    task = demo.client.next_task(run.project_id)
    assert task is not None
    held = task["predictions"][0]
    before = demo.store.served(run.project_id)
    assert before is not None
    assert held["model_version"] == before.serving_id
    backend = demo.running.services.backend_urls[run.project.backend]
    process = demo.running.supervisor.status()[run.project.backend].pid
    demo.command("promote", str(run.project_id), before.model_version)
    assert until(lambda: not unserved(demo.store, run.project_id))
    served = demo.client.get_project(run.project_id)["model_version"]
    assert served != before.serving_id
    body = {"result": [], "lead_time": 1.0, "parent_prediction": held["id"]}
    made = demo.client.request("POST", f"/api/tasks/{task['id']}/annotations/?project={run.project_id}", json=body)
    assert made["parent_prediction"] == held["id"]
    setup = {"project": f"{run.project_id}.1", "schema": demo.client.get_project(run.project_id)["label_config"]}
    follows = lambda: httpx.post(f"{backend}/setup", json=setup).json()["model_version"] == served  # noqa: E731
    assert until(follows, 20)
    assert demo.running.supervisor.status()[run.project.backend].pid == process
    assert {"served", "switched"} <= {step.step for step in promotions_of(demo.store, run.project_id)[-1]}


def test_tasks_that_come_later_get_a_place_and_a_suggestion(played: Played) -> None:
    """Texts brought in after the ranking was made are predicted under the served id without a new promotion."""
    from labelloop.demo.reading_back import read_back

    demo, run = played.demo, played.demo.runs["text_classification"]
    late = demo.folder / "late.jsonl"
    late.write_text(
        "".join(f'{{"text": "My invoice number {n} was charged twice, please refund"}}\n' for n in range(12))
    )
    before = read_back(demo.client, run.project_id)
    assert demo.command("ingest", str(run.project_id), str(late))["added"] == 12

    def placed() -> bool:
        now = read_back(demo.client, run.project_id)
        new = now.tasks - before.tasks
        assert len(new) == 12
        assert now.served_id == before.served_id
        return new <= now.order.keys()

    assert until(placed)


def test_shuffled_labels_fail(tmp_path: Path) -> None:
    """People who label at random teach nothing, and the verdict says so; afterwards no process and no port is left."""
    projects = (
        scaled(NEWS, count=200, every=40, rounds=1, holdout=0.15),
        scaled(MESSAGES, count=200, every=40, rounds=1, holdout=0.15),
    )
    options = DemoOptions(projects=projects, shuffled=True, pace=0.0, envs=ENVS, order_servings=10)
    others = set(psutil.Process().children(recursive=True))
    with started(ServiceSettings(data=tmp_path), options, Screen(live=False)) as demo:
        summary = play(demo, time.monotonic())
        ports = list(demo.running.ports.values())
        mine = set(psutil.Process().children(recursive=True)) - others
        assert len(mine) > 8
    assert not summary["ok"]
    for kind in ("ner", "text_classification"):
        metric = summary["projects"][kind]["holdout_metric"]
        assert metric["last"] is None or metric["last"] < 0.8
        assert any(name.startswith(f"{kind}: ") for name in failed(summary))
    assert not [process for process in mine if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for port in ports:
        with closing(socket.socket()) as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
