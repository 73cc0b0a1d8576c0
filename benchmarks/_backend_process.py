"""A backend as it runs in production: `python -m backends NAME` under gunicorn, a store, and Label Studio's files."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from labelloop.artefacts import write_digest
from labelloop.settings import ServiceSettings, inherited_environment, service_environment
from labelloop.store import open_store
from labelloop.store.promotions import move_serving

PROJECT = 1
_ROOT = Path(__file__).resolve().parents[1]
_START_S = 180.0


@dataclass(frozen=True)
class Load:
    """What a number of requests took: seconds, tasks answered, and the share of the CPU that asking took itself."""

    seconds: float
    tasks: int
    asking_share: float

    @property
    def per_s(self) -> float:
        """Tasks per second."""
        return self.tasks / self.seconds


@dataclass(frozen=True)
class RunningBackend:
    """A backend that answers on `port`; `tasks` are what it may be asked for."""

    port: int
    process: subprocess.Popen[bytes]
    config: str
    tasks: tuple[Mapping[str, Any], ...]

    def body(self, first: int, count: int) -> bytes:
        """A /predict body with `count` tasks from the `first` on, round and round."""
        chosen = [self.tasks[(first + step) % len(self.tasks)] for step in range(count)]
        return orjson.dumps({"tasks": chosen, "project": f"{PROJECT}.1", "label_config": self.config})

    def predict(self, body: bytes) -> bytes:
        """The answer to a /predict body; RuntimeError for any other status than 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise RuntimeError(f"/predict answered {response.status}: {answer[:200]!r}")
            return answer
        finally:
            connection.close()

    def drive(self, requests: int, per_request: int, clients: int) -> Load:
        """Ask `requests` times from `clients` threads, each with `per_request` tasks; every task must be answered "ok"."""
        bodies = [self.body(number * per_request, per_request) for number in range(requests)]
        own, began = time.process_time(), time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(self.predict, bodies))
        seconds = time.perf_counter() - began
        cpu = (time.process_time() - own) / (seconds * (psutil.cpu_count() or 1))
        for answer in answers:
            reasons = {result["reason"] for result in orjson.loads(answer)["results"]}
            if reasons != {"ok"}:
                raise RuntimeError(f"expected every task to be answered, got the reasons {sorted(reasons)}")
        return Load(seconds, requests * per_request, cpu)

    def latencies(self, requests: int) -> list[float]:
        """Seconds of each of `requests` requests with one task, one after the other."""
        return [_timed(self.predict, self.body(number, 1)) for number in range(requests)]

    def memory_bytes(self) -> int:
        """Resident memory of the backend's worker processes."""
        return sum(child.memory_info().rss for child in self._workers())

    def cpu_s(self) -> float:
        """Seconds of CPU that the backend's worker processes have used."""
        return sum(sum(child.cpu_times()[:2]) for child in self._workers())

    def _workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def _timed(call: Callable[[bytes], object], body: bytes) -> float:
    began = time.perf_counter()
    call(body)
    return time.perf_counter() - began


@contextmanager
def running(
    name: str,
    version: Path,
    config: str,
    data: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    files: Path | None = None,
    device: str = "cpu",
    threads: int = 2,
) -> Iterator[RunningBackend]:
    """The backend process with `version` served for one project, whose tasks have these `data`.

    `folder` takes its data folder and log. `files` is what stands for Label Studio: served over HTTP by a process of
    its own, so that an image under `files`/data/upload has the address /data/upload/… of a task.
    """
    port, files_port = _free_port(), _free_port()
    services = ServiceSettings.model_validate(
        {"data": folder / "data", "redis_url": f"redis://127.0.0.1:{_free_port()}/0", "log_level": "WARNING",
         "label_studio_url": f"http://127.0.0.1:{files_port}", "device": device, "threads": threads}
    )  # fmt: skip
    services.data.mkdir(parents=True)
    tasks = tuple({"id": number, "data": dict(each)} for number, each in enumerate(data, start=1))
    _fill_store(services, name, version, config, tasks)
    environment = inherited_environment() | service_environment(services)
    with (folder / "backend.log").open("wb") as log:
        started = []
        try:
            if files is not None:
                command = [sys.executable, "-m", "http.server", str(files_port), "--bind", "127.0.0.1"]
                started.append(subprocess.Popen([*command, "--directory", str(files)], stdout=log, stderr=log))
                _until(lambda: _answers(files_port, "/"), folder)
            command = [sys.executable, "-m", "backends", name, "--port", str(port)]
            backend = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=log, stderr=log)
            started.append(backend)
            _until(lambda: backend.poll() is not None or _answers(port, "/readiness"), folder)
            if backend.poll() is not None:
                raise RuntimeError(f"the backend ended: {(folder / 'backend.log').read_text(encoding='utf-8')[-2000:]}")
            found = RunningBackend(port, backend, config, tasks)
            found.drive(len(tasks) // 8 + 1, 8, 2)  # the media cache is warm then
            yield found
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(60)


def _fill_store(
    services: ServiceSettings, name: str, version: Path, config: str, tasks: Sequence[Mapping[str, Any]]
) -> None:
    store = open_store(services.database)
    try:
        store.put_project(
            project_id=PROJECT, title="benchmark", task_type="bbox", backend=name, label_config=config, settings={}
        )
        row = {"meta": {}, "overlap": 1, "content_hash": "0", "group_key": "0", "role": "pool"}
        store.put_tasks(PROJECT, [{**row, "task_id": task["id"], "data": task["data"]} for task in tasks])
        served = {
            "backend": name, "model_version": version.name, "serving_id": f"{version.name}-r1",
            "digest": write_digest(version), "path": str(version),
        }  # fmt: skip
        with store.begin() as connection:
            move_serving(store, connection, PROJECT, served)
    finally:
        store.close()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _until(condition: Callable[[], bool], folder: Path) -> None:
    end = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"a process did not get ready; see {folder / 'backend.log'}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
