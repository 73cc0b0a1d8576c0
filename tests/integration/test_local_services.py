"""The real Redis and the real MLflow as `up` starts them, and ports that are taken."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from labelloop.errors import UsageError
from labelloop.services.local import up
from labelloop.services.ports import is_free
from labelloop.services.processes import marked
from labelloop.services.readiness import http_status
from labelloop.services.supervisor import Supervisor
from labelloop.settings import ServiceSettings

pytestmark = pytest.mark.integration

#: What mlflow server takes with its job runner is 1,100 MB; without it, 480 MB were measured.
MLFLOW_MB = 700


def ended(supervisor: Supervisor) -> bool:
    return not marked(supervisor.run) and not (supervisor.folder / "services.json").exists()


def test_what_is_queued_outlives_redis(tmp_path: Path) -> None:
    import redis

    settings = ServiceSettings(data=tmp_path)
    with up(settings, lambda line: None, names=("redis",)) as running:
        first_port = running.ports["redis"]
        assert running.services.redis_url == f"redis://127.0.0.1:{first_port}/0"
        with redis.Redis.from_url(running.services.redis_url) as client:
            client.rpush("queue", "job")
    assert ended(running.supervisor) and is_free(first_port)
    with up(settings, lambda line: None, names=("redis",)) as running:
        assert running.ports["redis"] == first_port  # addresses are kept from run to run
        with redis.Redis.from_url(running.services.redis_url) as client:
            assert client.lrange("queue", 0, -1) == [b"job"]


def test_mlflow_server_answers_stays_small_and_leaves_nothing(tmp_path: Path) -> None:
    settings = ServiceSettings(data=tmp_path)
    with up(settings, lambda line: None, names=("mlflow",)) as running:
        status, body = http_status(
            f"{running.services.mlflow_uri}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout_s=60
        )
        assert status == 200 and b"Default" in body
        port = running.ports["mlflow"]
        memory = running.supervisor.memory_mb_by_service()["mlflow"]
        assert 50 < memory < MLFLOW_MB
    assert ended(running.supervisor) and is_free(port)
    assert (tmp_path / "mlflow" / "mlflow.sqlite3").is_file()


def test_a_given_port_that_is_busy_is_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(UsageError) as caught:
            up(ServiceSettings(data=tmp_path), lambda line: None, names=("redis", "mlflow"), ports={"redis": port})
    assert str(caught.value).splitlines() == [
        f"port {port} for redis is busy; end the program that has it, or give another port or none"
    ]
    assert time.monotonic() - began < 30 and not (tmp_path / "logs").exists()
    assert not (tmp_path / "services.lock").exists()


def test_a_port_of_the_last_run_that_is_taken_is_given_up(tmp_path: Path) -> None:
    settings = ServiceSettings(data=tmp_path)
    with up(settings, lambda line: None, names=("redis",)) as running:
        port = running.ports["redis"]
    with (
        socket.create_server(("127.0.0.1", port)),
        up(settings, lambda line: None, names=("redis",)) as running,
    ):
        assert running.ports["redis"] != port
