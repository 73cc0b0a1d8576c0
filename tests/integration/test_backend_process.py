"""A backend and the receiver as real processes under gunicorn: real SQLite store, a model trained here, no Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
from pydantic import SecretStr

from backends.showing import shown_regions
from backends.version_labels import thresholds_of
from labelloop.artefacts import write_digest
from labelloop.datasets import write_dataset
from labelloop.settings import ServiceSettings, inherited_environment, service_environment
from labelloop.store import Store, open_store
from labelloop.store.promotions import move_serving
from labelloop.values import Budget, TaskItem
from templates.catalogue import load_template

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SECRET = {"X-Labelloop-Secret": "s3cr3t"}
CLASSES = ("complaint", "praise")
CONFIG = load_template("text_classification").config_for(CLASSES)
WORDS = {"complaint": "broken late refund never again", "praise": "lovely quick friendly thanks wonderful"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def text_of(number: int) -> tuple[str, str]:
    """A text and its class."""
    name = CLASSES[number % 2]
    words = WORDS[name].split()
    return f"Order {number} was {words[number % 5]} and {words[(number // 2) % 5]}", name


def write_training_set(folder: Path) -> None:
    tasks, labels = [], []
    for number in range(1, 61):
        text, name = text_of(number)
        choice = {"id": "c", "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [name]}}
        split = "holdout" if number % 5 == 0 else "train"
        tasks.append(
            {"task_id": number, "data": orjson.dumps({"text": text}).decode(), "group_key": str(number), "role": "pool",
             "split": split}
        )  # fmt: skip
        labels.append(
            {"task_id": number, "annotation_id": number, "annotator": 1, "at": datetime(2026, 11, 21, tzinfo=UTC),
             "rev_hash": "0", "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True,
             "result": orjson.dumps([choice]).decode()}
        )  # fmt: skip
    body = {"schema_version": 1, "project": 3, "label_config": CONFIG, "classes": list(CLASSES)}
    write_dataset(folder, body, tasks, labels, None, "2026-11-21T00:00:00Z")


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sklearn_text model version on disk, and its digest."""
    from backends.sklearn_text import trainer

    folder = tmp_path_factory.mktemp("model")
    write_training_set(folder / "dataset")
    out = folder / "sklearn_text-p3-v1"
    trainer().fit(folder / "dataset", out, start=None, budget=Budget(), progress=lambda share, message: None)
    return out, write_digest(out)


@pytest.fixture
def services(tmp_path: Path) -> ServiceSettings:
    """Settings of a data folder of this test; nothing listens on the Redis address."""
    redis = f"redis://127.0.0.1:{free_port()}/0"
    return ServiceSettings.model_validate({"data": tmp_path / "data", "webhook_secret": "s3cr3t", "redis_url": redis})


@pytest.fixture
def store(services: ServiceSettings) -> Iterator[Store]:
    services.data.mkdir()
    found = open_store(services.database)
    row = {"meta": {}, "overlap": 1, "content_hash": "0", "group_key": "0"}
    roles = {1: "pool", 2: "holdout", 3: "pool"}
    found.put_project(
        project_id=3,
        title="t",
        task_type="text_classification",
        backend="sklearn_text",
        label_config=CONFIG,
        settings={},
    )
    found.put_tasks(
        3, [{**row, "task_id": n, "data": {"text": text_of(n)[0]}, "role": role} for n, role in roles.items()]
    )
    yield found
    found.close()


@contextmanager
def process(
    services: ServiceSettings, *command: str, auth: tuple[str, str] | None = None
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """The command with a free port, once it answers /health; ended by SIGTERM, which must leave nothing behind."""
    port = free_port()
    environment = inherited_environment() | service_environment(services)
    log = services.data.parent / f"{command[0]}-{port}.log"
    with log.open("wb") as stream:
        running = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, auth=auth) as client:
        try:
            until(lambda: running.poll() is not None or answers(client), log)
            assert running.poll() is None, log.read_text(encoding="utf-8")
            yield client, running
        finally:  # while the client still holds its connection
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait(10)
                raise
    # Children that lost their parent end a moment later, and are zombies until the machine's first process reaps them.
    until(lambda: not alive_in_group(running.pid), log, limit_s=10)


def alive_in_group(group: int) -> list[int]:
    """Processes of a process group that still run."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(each.pid) == group and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
    return found


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool], log: Path | None = None, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, log.read_text(encoding="utf-8") if log else "did not happen in time"
        time.sleep(0.1)


def serve(store: Store, path: Path, digest: str, version: str, run: int = 1) -> str:
    serving_id = f"{version}-r{run}"
    row = {
        "backend": "sklearn_text", "model_version": version, "serving_id": serving_id, "digest": digest,
        "path": str(path),
    }  # fmt: skip
    with store.begin() as connection:
        move_serving(store, connection, 3, row)
    return serving_id


def predict(client: httpx.Client, *numbers: int) -> list[dict[str, Any]]:
    tasks = [{"id": number, "data": {"text": text_of(number)[0]}} for number in numbers]
    answer = client.post("/predict", json={"tasks": tasks, "project": "3.17", "label_config": CONFIG})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert isinstance(results, list)
    return results


def setup(client: httpx.Client) -> str:
    return str(client.post("/setup", json={"project": "3.1795233319", "schema": CONFIG}).json()["model_version"])


def test_a_backend_follows_the_served_row_and_survives_the_loss_of_store_and_artefacts(
    services: ServiceSettings, store: Store, artefact: tuple[Path, str], tmp_path: Path
) -> None:
    source, digest = artefact
    path = tmp_path / "published"
    path.symlink_to(source)  # so that the artefacts can vanish without harm to other tests
    with process(services, "backends", "sklearn_text") as (client, _):
        assert setup(client) == "sklearn_text-none"
        assert [each["reason"] for each in predict(client, 1, 2)] == ["no_model", "no_model"]
        body = {"project": 3, "model_version": "sklearn_text-p3-v1", "path": f"{path}/", "digest": digest}
        assert client.post("/ready", json=body).status_code == 401
        assert client.post("/ready", json={**body, "digest": "0" * 64}, headers=SECRET).status_code == 503
        ready = client.post("/ready", json=body, headers=SECRET)
        assert ready.status_code == 200, ready.text
        serving_id = serve(store, path, digest, "sklearn_text-p3-v1")
        until(lambda: setup(client) == serving_id)
        assert client.get("/readiness").json() == {"ready": True, "reasons": []}
        shown, holdout, unknown = predict(client, 1, 2, 99)
        assert shown["reason"] == "ok" and shown["model_version"] == serving_id
        assert [region["value"]["choices"] for region in shown["result"]] == [[text_of(1)[1]]]
        assert (holdout["result"], holdout["reason"]) == ([], "blind")
        assert (unknown["result"], unknown["reason"]) == ([], "role_unknown")
        again = serve(store, path, digest, "sklearn_text-p3-v1", run=2)
        until(lambda: setup(client) == again)
    path.unlink()
    gone = services.model_copy(
        update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=1"}
    )
    with process(gone, "backends", "sklearn_text") as (client, _):
        until(lambda: setup(client) == again)
        [result] = predict(client, 1)
        assert (result["result"], result["reason"], result["model_version"]) == ([], "role_unknown", again)
        event = {"action": "START_TRAINING", "project": {"id": 3}}
        assert client.post("/webhook", json=event).status_code == 202


def test_a_backend_that_others_reach_asks_everybody_for_its_password(
    services: ServiceSettings, store: Store, artefact: tuple[Path, str]
) -> None:
    path, digest = artefact
    command = ("backends", "sklearn_text", "--host", "0.0.0.0")  # noqa: S104
    environment = inherited_environment() | service_environment(services)
    refused = subprocess.run(
        [sys.executable, "-m", *command, "--port", str(free_port())],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert refused.returncode == 2 and "LABELLOOP_BACKEND_PASSWORD" in refused.stderr
    serving_id = serve(store, path, digest, "sklearn_text-p3-v1")
    guarded = services.model_copy(update={"backend_password": SecretStr("s3same")})
    with process(guarded, *command, auth=("labelloop", "s3same")) as (client, _):
        until(lambda: setup(client) == serving_id)
        assert predict(client, 1)[0]["reason"] == "ok"
        body = {"tasks": [], "project": "3.17", "label_config": CONFIG}
        for auth, status in ((("labelloop", "other"), 401), (("other", "s3same"), 401), (("labelloop", "s3same"), 200)):
            assert client.post("/predict", json=body, auth=auth).status_code == status
        with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as stranger:
            for method, where in (("POST", "/predict"), ("POST", "/setup"), ("GET", "/versions"), ("GET", "/metrics"),
                                  ("POST", "/ready"), ("POST", "/train"), ("GET", "/")):  # fmt: skip
                answer = stranger.request(method, where, json={})
                assert answer.status_code == 401, where
                assert set(answer.json()) == {"error", "error_id"}
            assert stranger.get("/health").status_code == 200
            assert stranger.get("/versions", headers={"Authorization": "Token s3same"}).status_code == 200
            event = {"action": "ANNOTATION_CREATED", "project": {"id": 3}}
            assert stranger.post("/webhook", json=event).json() == {"accepted": True}
            start = {"action": "START_TRAINING", "project": {"id": 3}}
            assert stranger.post("/webhook", json=start).status_code == 401
    log = "".join(each.read_text(encoding="utf-8") for each in services.data.parent.glob("backends-*.log"))
    assert "s3same" not in log and text_of(1)[0] not in log
    assert all(orjson.loads(line) for line in log.splitlines()), "every line is JSON"


def test_health_answers_while_a_model_is_loaded(
    services: ServiceSettings, store: Store, artefact: tuple[Path, str]
) -> None:
    path, digest = artefact
    body = {"project": 3, "model_version": "sklearn_text-p3-v1", "path": str(path), "digest": digest}
    loaded: list[int] = []
    with process(services, "backends", "sklearn_text") as (client, _):
        loading = threading.Thread(
            target=lambda: loaded.append(
                httpx.post(
                    f"{client.base_url}/ready", json=body, headers=SECRET, timeout=120, trust_env=False
                ).status_code
            )
        )
        loading.start()
        asked = 0
        while loading.is_alive():  # sklearn's import alone takes longer than several of these
            assert client.get("/health").status_code == 200
            assert setup(client) == "sklearn_text-none"
            asked += 1
        loading.join()
        assert loaded == [200]
        assert asked > 0


def test_tasks_of_several_clients_go_through_one_model(
    services: ServiceSettings, store: Store, artefact: tuple[Path, str]
) -> None:
    from backends.sklearn_text import load

    path, digest = artefact
    row = {"meta": {}, "overlap": 1, "content_hash": "0", "group_key": "0", "role": "pool"}
    store.put_tasks(3, [{**row, "task_id": n, "data": {"text": text_of(n)[0]}} for n in range(10, 250)])
    serving_id = serve(store, path, digest, "sklearn_text-p3-v1")
    found: dict[int, list[str]] = {}
    with process(services, "backends", "sklearn_text") as (client, _):
        until(lambda: setup(client) == serving_id)

        def ask(start: int) -> None:
            with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as own:
                for number in range(start, start + 40, 4):
                    for n, result in zip(
                        range(number, number + 4), predict(own, *range(number, number + 4)), strict=True
                    ):
                        found[n] = [region["value"]["choices"][0] for region in result["result"]]

        threads = [threading.Thread(target=ask, args=(start,)) for start in range(10, 250, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        numbers = client.get("/metrics").text
    bare = load(path).predict([TaskItem(n, {"text": text_of(n)[0]}) for n in range(10, 250)])
    shown = [shown_regions(outcome, thresholds_of(path)) for outcome in bare]
    expected = [[region["value"]["choices"][0] for region in regions] for regions in shown]
    assert found == dict(zip(range(10, 250), expected, strict=True))
    assert sum(map(bool, expected)) > 120
    assert 'labelloop_predict_tasks_total{reason="ok"} 240.0' in numbers
    assert "labelloop_models_loaded 1.0" in numbers and "labelloop_batch_tasks_sum 240.0" in numbers


def test_the_receiver_answers_at_once_without_redis_and_ends_cleanly(services: ServiceSettings, store: Store) -> None:
    with process(services, "sync.receiver") as (client, _):
        hook = "/hooks/label-studio/3"
        for _ in range(20):
            answer = client.post(hook, json={"action": "ANNOTATION_CREATED"}, headers=SECRET)
            assert answer.status_code == 202
        assert client.post(hook, json={"action": "ANNOTATION_CREATED"}).status_code == 401
        until(lambda: client.get("/health").json()["hints"]["failed"] > 0)
        assert client.get("/health").json()["hints"]["waiting"] == 1
        assert (
            'labelloop_webhook_events_total{action="ANNOTATION_CREATED",project="3"} 20.0'
            in client.get("/metrics").text
        )


@pytest.mark.parametrize(
    ("command", "update", "words"),
    [
        (("backends", "yollo"), {}, "did you mean 'yolo'"),
        (("sync.receiver",), {"webhook_secret": None}, "LABELLOOP_WEBHOOK_SECRET"),
    ],
)
def test_a_wrong_start_is_one_clear_line(
    services: ServiceSettings, command: tuple[str, ...], update: dict[str, Any], words: str
) -> None:
    environment = inherited_environment() | service_environment(services.model_copy(update=update))
    done = subprocess.run(
        [sys.executable, "-m", *command, "--port", str(free_port())],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_busy_port_is_an_error_and_not_another_port(services: ServiceSettings) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        done = subprocess.run(
            [sys.executable, "-m", "sync.receiver", "--port", str(busy.getsockname()[1])],
            cwd=ROOT, env=inherited_environment() | service_environment(services), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert "in use" in done.stderr
