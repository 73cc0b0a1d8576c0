"""Workers and schedulers as processes on a real Redis: what a kill leaves behind, and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from rq import Queue as RqQueue
from rq import Worker
from rq.serializers import JSONSerializer

from labelloop.queueing import Queue
from labelloop.settings import ServiceSettings, inherited_environment, service_environment
from labelloop.store import Store
from labelloop.store.leases import held

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
JOBS = '''"""Jobs of the tests."""
import os
import time
from redis import Redis

def sleep_long(url):
    """Say which process this is, then sleep."""
    Redis.from_url(url).rpush("horses", os.getpid())
    time.sleep(600)

def sleep_a_little(url):
    Redis.from_url(url).rpush("horses", os.getpid())
    time.sleep(2)
    Redis.from_url(url).rpush("done", "a little")

def quick(url):
    Redis.from_url(url).rpush("done", "quick")
'''


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


class Processes:
    """Processes of the package, ended with the test, and their logs."""

    def __init__(self, services: ServiceSettings, folder: Path) -> None:
        self.folder = folder
        (folder / "loop_test_jobs.py").write_text(JOBS)
        self.env = {
            **inherited_environment(),
            **service_environment(services),
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments], env=self.env, cwd=self.folder, stdout=stream, stderr=stream
            )
        self.running.append(process)
        until(lambda: b"ready" in log.read_bytes() or process.poll() is not None, f"{arguments} is ready")
        assert process.poll() is None, log.read_text()
        return process

    def end(self) -> None:
        for process in self.running:
            family = [p for p in [psutil.Process(process.pid)] if p.is_running()] if process.poll() is None else []
            for member in [c for p in family for c in p.children(recursive=True)] + family:
                member.kill()
            process.wait()


@pytest.fixture
def services(empty_redis: str, tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(data=tmp_path / "data", redis_url=empty_redis)


@pytest.fixture
def processes(services: ServiceSettings, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(services, tmp_path)
    yield made
    made.end()


@pytest.fixture
def redis(empty_redis: str) -> Iterator[Redis]:
    with Redis.from_url(empty_redis) as client:
        yield client


def ask(redis: Redis, url: str, name: str, job_id: str = "one") -> None:
    queue = RqQueue("sync", connection=redis, serializer=JSONSerializer)
    queue.enqueue_call(f"loop_test_jobs.{name}", args=(url,), job_id=job_id, timeout=600)


def horse(redis: Redis) -> int:
    return int(until(lambda: redis.lrange("horses", 0, -1), "a job runs")[-1])


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_what_a_killed_worker_did_ends_with_it(processes: Processes, redis: Redis, services: ServiceSettings) -> None:
    worker = processes.start("sync.worker", "sync")
    ask(redis, services.redis_url, "sleep_long")
    work_horse = horse(redis)
    children = [child.pid for child in psutil.Process(worker.pid).children(recursive=True)]
    assert work_horse in children
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    for pid in children:
        until(lambda pid=pid: gone(pid), f"process {pid} of the killed worker ended")  # type: ignore[misc]


def test_a_worker_that_is_asked_to_end_finishes_its_job_first(
    processes: Processes, redis: Redis, services: ServiceSettings
) -> None:
    worker = processes.start("sync.worker", "sync")
    ask(redis, services.redis_url, "sleep_a_little")
    horse(redis)
    ask(redis, services.redis_url, "quick", "two")
    children = [child.pid for child in psutil.Process(worker.pid).children(recursive=True)]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    assert redis.lrange("done", 0, -1) == [b"a little"]
    assert Worker.all(connection=redis, serializer=JSONSerializer) == []
    for pid in children:
        until(lambda pid=pid: gone(pid), f"process {pid} ended")  # type: ignore[misc]


def test_an_idle_worker_ends_at_once(processes: Processes, redis: Redis, services: ServiceSettings) -> None:
    worker = processes.start("sync.worker", "predict", "sync")
    ask(redis, services.redis_url, "quick")
    until(lambda: redis.llen("done"), "it listens to signals: it works")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0


def test_a_worker_keeps_to_its_queues_and_their_order(
    processes: Processes, redis: Redis, services: ServiceSettings
) -> None:
    ask(redis, services.redis_url, "quick", "one")
    train = RqQueue("train", connection=redis, serializer=JSONSerializer)
    train.enqueue_call("loop_test_jobs.quick", args=(services.redis_url,), job_id="of-train")
    assert subprocess.run([sys.executable, "-m", "sync.worker", "sync", "--burst"], env=processes.env).returncode == 0
    assert redis.llen("done") == 1 and train.job_ids == ["of-train"]


def test_a_wrong_queue_or_setting_is_one_line(processes: Processes) -> None:
    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, env=processes.env | environ, capture_output=True, text=True, timeout=60)

    wrong = run("sync.worker", "trian")
    assert wrong.returncode == 2 and "no queue 'trian'; expected some of: train" in wrong.stderr
    for module in ("sync.worker", "sync.scheduler"):
        wrong = run(module, LABELLOOP_THREADS="none")
        assert wrong.returncode == 2 and "threads" in wrong.stderr and "Traceback" not in wrong.stderr


def put_project(store: Store) -> None:
    store.put_project(project_id=4, title="P", task_type="t", backend="b", label_config="<View/>", settings={})


def test_of_two_schedulers_one_ticks_and_the_other_takes_over(
    processes: Processes, redis: Redis, services: ServiceSettings
) -> None:
    from labelloop.store import open_store

    store = open_store(services.database)
    put_project(store)
    queue = Queue(services.redis_url, store.instance)
    first = processes.start("sync.scheduler")
    until(lambda: queue.dirty(4) == 1, "the first tick marks the project")
    assert held(store, 0, "tick")
    second = processes.start("sync.scheduler")
    queue.mark_dirty(4)
    until(lambda: RqQueue("sync", connection=redis, serializer=JSONSerializer).job_ids == ["reconcile-p4"], "a request")
    assert queue.dirty(4) == 2  # a second one that ticked would have marked the project as its first act
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    until(lambda: queue.dirty(4) == 3, "the second one ticks")
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=30) == 0
    assert not held(store, 0, "tick")
    queue.redis.close()
    store.engine.dispose()


def test_a_tick_asks_for_what_an_emptied_redis_has_forgotten(
    processes: Processes, redis: Redis, services: ServiceSettings
) -> None:
    from labelloop.store import open_store
    from labelloop.store.trainings import queue_training

    store = open_store(services.database)
    put_project(store)
    queue_training(store, 4, "d1111111111111111", 10, None)  # unfinished: looked at every 10 s
    queue = Queue(services.redis_url, store.instance)
    processes.start("sync.scheduler")
    until(lambda: RqQueue("sync", connection=redis, serializer=JSONSerializer).job_ids, "a request")
    redis.flushall()
    until(lambda: RqQueue("sync", connection=redis, serializer=JSONSerializer).job_ids, "a request after the loss")
    queue.redis.close()
    store.engine.dispose()
