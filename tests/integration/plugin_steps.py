"""What the tests of plugins share: a trained text model that is served, and requests as Label Studio 1.23.2 sends them."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from labelloop.artefacts import write_digest
from labelloop.datasets import write_dataset
from labelloop.queueing import Queue
from labelloop.store import Store
from labelloop.store.promotions import move_serving
from labelloop.values import Budget

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/></Choices></View>'
)
WORDS = {"sea": ("wave", "harbour", "sail", "tide", "whale"), "land": ("forest", "road", "field", "valley", "farm")}
PROJECT, OTHER = 3, 4
#: A role for every task that the store knows; others may turn out to be holdout.
ROLES = {1: "pool", 2: "pool", 3: "pool", 4: "holdout", 5: "gold"}


def text_of(number: int) -> tuple[str, str]:
    """A text and its class."""
    topic = "sea" if number % 2 else "land"
    return " ".join(random.Random(number).choices(WORDS[topic], k=6)), topic


def trained_version(folder: Path) -> tuple[Path, str]:
    """A sklearn_text model version below `folder`, trained here, and its digest."""
    from backends.sklearn_text import trainer

    tasks, labels = [], []
    for number in range(1, 61):
        text, topic = text_of(number)
        choice = {"id": "c", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [topic]}}
        tasks.append(
            {"task_id": number, "data": orjson.dumps({"text": text}).decode(), "group_key": str(number), "role": "pool",
             "split": "train" if number % 5 else "holdout"}
        )  # fmt: skip
        labels.append(
            {"task_id": number, "annotation_id": number, "annotator": 1, "at": datetime(2026, 11, 21, tzinfo=UTC),
             "rev_hash": "0", "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True,
             "result": orjson.dumps([choice]).decode()}
        )  # fmt: skip
    body = {"schema_version": 1, "project": PROJECT, "label_config": CONFIG, "classes": ["sea", "land"]}
    write_dataset(folder / "dataset", body, tasks, labels, None, "2026-11-21T00:00:00Z")
    out = folder / "sklearn_text-p3-v1"
    trainer().fit(folder / "dataset", out, start=None, budget=Budget(), progress=lambda share, message: None)
    return out, write_digest(out)


def fill(store: Store, project_id: int) -> None:
    """A project whose tasks have the roles above."""
    store.put_project(
        project_id=project_id, title=f"Texts {project_id}", task_type="text_classification", backend="sklearn_text",
        label_config=CONFIG, settings={},
    )  # fmt: skip
    rest = {"meta": {}, "overlap": 1, "content_hash": "0", "group_key": "0"}
    rows = [{**rest, "task_id": n, "data": {"text": text_of(n)[0]}, "role": role} for n, role in ROLES.items()]
    store.put_tasks(project_id, [{**row, "task_id": row["task_id"] + 1000 * (project_id - PROJECT)} for row in rows])


def serve(store: Store, version: tuple[Path, str], run: int = 1, project_id: int = PROJECT) -> str:
    """Move the served row of a project; the serving id."""
    name = f"sklearn_text-p{project_id}-v1"
    row = {
        "backend": "sklearn_text", "model_version": name, "serving_id": f"{name}-r{run}", "digest": version[1],
        "path": str(version[0]),
    }  # fmt: skip
    with store.begin() as connection:
        move_serving(store, connection, project_id, row)
    return f"{name}-r{run}"


def task(number: int, project_id: int = PROJECT, **changes: Any) -> dict[str, Any]:
    """A task as /predict carries it."""
    return {
        "id": number, "data": {"text": text_of(number)[0]}, "meta": {}, "created_at": "2026-11-21T03:55:19.952267Z",
        "updated_at": "2026-11-21T03:55:19.952277Z", "is_labeled": False, "overlap": 1, "inner_id": number,
        "total_annotations": 0, "cancelled_annotations": 0, "total_predictions": 0, "comment_count": 0,
        "unresolved_comment_count": 0, "last_comment_updated_at": None, "project": project_id, "updated_by": None,
        "file_upload": None, "comment_authors": [], "annotations": [], "predictions": [],
    } | changes  # fmt: skip


def setup_body(project_id: int = PROJECT) -> dict[str, Any]:
    """What /setup is asked, also before every prediction."""
    return {
        "project": f"{project_id}.1795233319", "schema": CONFIG, "hostname": "http://127.0.0.1:8091",
        "access_token": "0123456789abcdef0123456789abcdef01234567", "extra_params": None,
    }  # fmt: skip


def predict_body(*tasks: dict[str, Any], project_id: int = PROJECT, context: Any = None) -> dict[str, Any]:
    """What /predict is asked; with a context by the interactive mode."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": f"{project_id}.1795233319", "label_config": CONFIG, "params": params}


def event_body(action: str, project_id: int = PROJECT) -> dict[str, Any]:
    """What /webhook is told; START_TRAINING carries its project and nothing else."""
    project = {"id": project_id, "title": "Texts", "label_config": CONFIG, "model_version": "a version", "token": "t0"}
    annotation = {"id": 9, "result": [], "was_cancelled": False, "task": 1, "project": project_id, "completed_by": 1}
    extra = {
        "START_TRAINING": {},
        "ANNOTATIONS_DELETED": {"annotations": [{"id": 9}]},
    }.get(action, {"annotation": annotation, "task": task(1, project_id)})  # fmt: skip
    return {"action": action, "project": project, **extra}


def jobs(queue: Queue) -> list[str]:
    """Ids of the jobs that wait, of every queue."""
    from rq import Queue as RqQueue

    return sorted(job for name in ("sync", "train", "predict") for job in RqQueue(name, connection=queue.redis).job_ids)


def until(condition: Callable[[], bool], limit_s: float = 120) -> None:
    """Wait for it."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
