"""A project with a model that tells what it predicts, workers as processes, and a Label Studio that outlives them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from fake_label_studio import PROJECT, FakeRegistry, Loop, RecordedQueue, make_loop
from label_studio_http import LabelStudioOverHttp, over_http
from pydantic import SecretStr
from redis import Redis
from rq.serializers import JSONSerializer
from sqlalchemy import func, select, update

from backends import BACKENDS, BackendEntry
from labelloop.label_studio import LabelStudio
from labelloop.queueing import Queue
from labelloop.settings import inherited_environment, service_environment
from labelloop.store.promotions import count_predictions, predictions_of, unserved
from labelloop.store.tables import leases, outcomes
from labelloop.store.types import utc_now
from sync.importing import import_version
from sync.promotion import run_promotion
from sync.reconcile import reconcile_project

ROOT = Path(__file__).parents[2]
BACKEND = '''"""A model of the tests: it says of each text whether it has an even number, tells Redis, and can be held."""
import os
import time
from pathlib import Path
from redis import Redis
from backends.version_labels import ControlLabels, write_labels
from labelloop.settings import load_settings
from labelloop.values import Artefact, Outcome


def import_model(sources, config, out_dir, *, loud: bool = False):
    (out_dir / "model").mkdir(parents=True)
    (out_dir / "model" / "words.txt").write_text(Path(sources[0]).read_text())
    classes = ("sea", "land")
    write_labels(out_dir, [ControlLabels("topic", "text", "text", "choices", classes, dict.fromkeys(classes, 0.5))])
    (out_dir / "metrics.json").write_text("{}")
    return Artefact(out_dir, {"loud": loud})


class Model:
    classes = ("sea", "land")

    def __init__(self):
        self.redis = Redis.from_url(load_settings().services.redis_url)

    def predict(self, items, want=frozenset({"regions"})):
        if any("poison" in item.data["text"] for item in items):
            raise RuntimeError("this text breaks the whole batch")
        return [self.one(item) for item in items]

    def one(self, item):
        number = int(item.data["text"].split()[-1])
        self.redis.rpush("predicted", f"{os.getpid()} {item.task_id}")
        while self.redis.get("hold") and number >= int(self.redis.get("hold")):
            self.redis.set("held", 1)
            time.sleep(0.02)
        while int(self.redis.get("workers") or 0) > len({p.split()[0] for p in self.redis.lrange("predicted", 0, -1)}):
            time.sleep(0.02)
        if "later" in item.data["text"] and not self.redis.get("there"):
            return Outcome("not_found")
        label = "sea" if number % 2 else "land"
        region = {"id": f"r{number}", "from_name": "topic", "to_name": "text", "type": "choices",
                  "value": {"choices": [label]}, "score": 0.9}
        return Outcome(regions=(region,), confidence=0.9, uncertainty=(number % 10) / 10, fired_rules=(f"n{number}@1",))


def load(version_dir, *, device="cpu", threads=2):
    return Model()
'''
CLI = '''"""The command line, with the backend of the tests."""
from backends import BACKENDS, BackendEntry
from labelloop.cli import main

BACKENDS["held"] = BackendEntry("prelabel_test_backend", "none", ())
if __name__ == "__main__":
    main()
'''
WORKER = '''"""A worker that knows the backend of the tests."""
import sys
from backends import BACKENDS, BackendEntry
from sync.worker import main

BACKENDS["held"] = BackendEntry("prelabel_test_backend", "none", ())
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


class Site:
    """The project, its services, and what it takes to look at both sides."""

    def __init__(
        self, folder: Path, loop: Loop, remote: LabelStudioOverHttp, redis: Redis, env: dict[str, str]
    ) -> None:
        self.folder, self.loop, self.remote, self.redis, self.env = folder, loop, remote, redis, env
        self.runtime = loop.runtime
        self.workers: list[subprocess.Popen[bytes]] = []

    def add(self, task_ids: range, word: str = "text", overlap: int = 1) -> None:
        with self.remote.lock:
            for task_id in task_ids:
                self.loop.remote.add_task(task_id, {"text": f"{word} {task_id}"}, overlap)

    def mirror(self) -> None:
        """Let the store know the tasks, without anything being enqueued."""
        real = self.runtime.__dict__["queue"]
        self.runtime.__dict__["queue"] = RecordedQueue()
        try:
            assert reconcile_project(self.runtime, PROJECT) is not None
        finally:
            self.runtime.__dict__["queue"] = real

    def worker(self) -> subprocess.Popen[bytes]:
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "prelabel_test_worker.py", "predict"],
                env=self.env, cwd=self.folder, stdout=stream, stderr=stream,
            )  # fmt: skip
        self.workers.append(process)
        until(lambda: b"ready" in log.read_bytes() or process.poll() is not None, "a worker is ready")
        assert process.poll() is None, log.read_text()
        return process

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """`labelloop ...` as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "prelabel_test_cli.py", *arguments],
            env=self.env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9 of a worker; its work horse ends with it."""
        children = [child.pid for child in psutil.Process(worker.pid).children(recursive=True)]
        worker.kill()
        worker.wait()
        for pid in children:
            until(lambda pid=pid: _gone(pid), "the work horse is gone")  # type: ignore[misc]

    def minutes_pass(self) -> None:
        """What a killed worker held runs out: its leases, and RQ's belief that its job still runs."""
        from rq.registry import StartedJobRegistry

        with self.runtime.store.begin() as connection:
            connection.execute(update(leases).values(expires_at=utc_now() - timedelta(seconds=1)))
        started = StartedJobRegistry("predict", connection=self.redis, serializer=JSONSerializer)
        for member in self.redis.zrange(started.key, 0, -1):
            self.redis.zadd(started.key, {bytes(member): 1.0})  # type: ignore[arg-type]

    def close(self) -> None:
        self.redis.delete("hold", "workers")
        for worker in self.workers:
            if worker.poll() is None:
                for child in psutil.Process(worker.pid).children(recursive=True):
                    child.kill()
                worker.kill()
            worker.wait()

    # -- both sides ---------------------------------------------------------------------------------------------------

    @property
    def serving_id(self) -> str:
        served = self.runtime.store.served(PROJECT)
        assert served is not None
        return served.serving_id

    def predicted(self) -> Counter[int]:
        """How often the model was asked about each task."""
        rows: list[bytes] = self.redis.lrange("predicted", 0, -1)  # type: ignore[assignment]
        return Counter(int(row.split()[1]) for row in rows)

    def stored(self) -> dict[str, int]:
        """Rows of what is served."""
        with self.runtime.store.read() as connection:
            return {
                "outcomes": connection.execute(select(func.count()).select_from(outcomes)).scalar_one(),
                "predictions": count_predictions(self.runtime.store, PROJECT, self.serving_id),
            }

    def assert_once(self, task_ids: range) -> None:
        """Each task has one prediction of the served id in Label Studio, the one that the store tells."""
        held = self.remote.held()
        assert {task for task, rows in held.items() if len(rows) != 1} == set()
        assert set(held) == set(task_ids)
        ours = {row["task_id"]: row for row in predictions_of(self.runtime.store, PROJECT, self.serving_id)}
        told = {task: (rows[0]["score"], rows[0]["result"]) for task, rows in held.items()}
        assert told == {task: (row["order_key"], row["result"]) for task, row in ours.items()}


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@contextmanager
def prelabel_site(folder: Path, redis_url: str) -> Iterator[Site]:
    """A project with ten tasks and a registered version that serves them."""
    (folder / "prelabel_test_backend.py").write_text(BACKEND)
    (folder / "prelabel_test_worker.py").write_text(WORKER)
    (folder / "prelabel_test_cli.py").write_text(CLI)
    (folder / "words.txt").write_text("one")
    loop = make_loop(folder / "data", ACTIVE_LEARNING__BLIND_SHARE="0.1", QUALITY__OVERLAP_SHARE="0")
    sys.path.insert(0, str(folder))
    BACKENDS["held"] = BackendEntry("prelabel_test_backend", "none", ())
    redis = Redis.from_url(redis_url)
    site: Site | None = None
    try:
        with over_http(loop.remote) as remote:
            runtime = loop.runtime
            runtime.services = runtime.services.model_copy(
                update={
                    "data": (folder / "data").absolute(),
                    "redis_url": redis_url,
                    "label_studio_url": remote.url,
                    "label_studio_token": SecretStr("none"),
                    "mlflow_uri": "http://127.0.0.1:1",
                }
            )
            runtime.__dict__["client"] = LabelStudio(remote.url, "none")
            runtime.__dict__["registry"] = FakeRegistry()
            project = runtime.store.project(PROJECT)
            assert project is not None
            runtime.store.put_project(
                project_id=PROJECT, title=project.title, task_type=project.task_type, backend="held",
                label_config=project.label_config, settings={},
            )  # fmt: skip
            environ = {**inherited_environment(), **service_environment(runtime.services)}
            environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
            site = Site(folder, loop, remote, redis, environ)
            os.environ["LABELLOOP_REDIS_URL"] = redis_url  # the test's backend in this process reads it
            site.add(range(1, 11))
            site.mirror()
            for cold in unserved(runtime.store, PROJECT):
                assert run_promotion(runtime, cold)
            made = import_version(runtime, loop.project, [str(folder / "words.txt")], {}, promote=True)
            assert made.promotion is not None
            assert run_promotion(runtime, made.promotion)
            queue = Queue(redis_url, runtime.store.instance)
            runtime.__dict__["queue"] = queue
            redis.delete("predicted")
            try:
                yield site
            finally:
                site.close()
                queue.redis.close()
                runtime.client.close()
    finally:
        os.environ.pop("LABELLOOP_REDIS_URL", None)
        BACKENDS.pop("held", None)
        sys.path.remove(str(folder))
        sys.modules.pop("prelabel_test_backend", None)
        redis.close()
        loop.runtime.store.close()
