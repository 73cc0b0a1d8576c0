"""Workers, work horses, or both killed (SIGKILL) at random moments of real trainings, and what was found afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psutil
from sqlalchemy import update

from benchmarks._changed_agreement import write
from benchmarks._comparison import at_least
from labelloop.artefacts import folder_digest
from labelloop.demo.texts import TOPIC_LABELS, ClassTruth, generate_classification
from labelloop.registry import model_name
from labelloop.revisions import revision_hash
from labelloop.settings import ServiceSettings, Settings, inherited_environment, service_environment
from labelloop.store import TrainingRow
from labelloop.store.promotions import promotions_of
from labelloop.store.tables import leases, trainings
from labelloop.store.trainings import trainings_of
from labelloop.store.types import utc_now
from sync.reconcile import LOST_AFTER, recover_training, register_missed, trigger_training
from sync.runtime import Runtime

PROJECT = 1
_NAMES = {"worker": "worker", "horse": "work horse", "both": "worker and its horse"}
KINDS = tuple(_NAMES)
_ROOT = Path(__file__).resolve().parents[1]
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_HOLDOUT, _FIRST, _MORE = 110, 60, 5
#: How long a training stays in each of its steps; it has about twenty.
PAUSE_S = 0.12
_PATIENCE_S = 120.0
_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in TOPIC_LABELS)
    + "</Choices></View>"
)


@dataclass
class Killed:
    """One kill: of what, in which step, how many attempts the dataset then took, and what is wrong afterwards."""

    kind: str
    step: str
    attempts: int
    wrong: list[str] = field(default_factory=list)


class KilledTrainings:
    """A project whose trainings are done by a worker that is a process of its own, on a real Redis and MLflow.

    What minutes would bring (leases that run out, RQ's belief that a job still runs) is brought at once, after all
    that was killed is gone.
    """

    def __init__(self, folder: Path, redis_url: str, mlflow_uri: str, pause_s: float = PAUSE_S) -> None:
        services = ServiceSettings(data=folder / "data", redis_url=redis_url, mlflow_uri=mlflow_uri)
        self.runtime = Runtime(Settings(services=services))
        self.folder, self.log, self.pause_s = folder, folder / "trainings.jsonl", pause_s
        self.worker: subprocess.Popen[bytes] | None = None
        self.labelled = 0
        self.length_s = 0.0
        self.texts = generate_classification(1000, seed=5)
        self.runtime.store.put_project(
            project_id=PROJECT, title="Killed", task_type="text_classification", backend="sklearn_text",
            label_config=_CONFIG, settings={}, holdout_threshold=0.3,
        )  # fmt: skip
        rows = [
            {"task_id": n, "data": {"text": each.text}, "meta": {}, "overlap": 1, "content_hash": f"c{n}",
             "group_key": f"c{n}", "role": "holdout" if n <= _HOLDOUT else "pool"}
            for n, each in enumerate(self.texts, start=1)
        ]  # fmt: skip
        self.runtime.store.put_tasks(PROJECT, rows)
        self._label(_HOLDOUT + _FIRST)

    @property
    def project(self) -> Any:
        """The project's row."""
        return self.runtime.store.project(PROJECT)

    def _label(self, more: int) -> None:
        numbers = range(self.labelled + 1, self.labelled + more + 1)
        write(self.runtime.store, [_revision(n, self.texts[n - 1]) for n in numbers])
        self.labelled += more

    # -- processes ----------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """A worker for the queue `train`, unless one runs."""
        if self.worker is not None and self.worker.poll() is None:
            return
        log = self.folder / "worker.log"
        environment = inherited_environment() | service_environment(self.runtime.services)
        command = [sys.executable, "-m", "benchmarks._slow_worker", str(self.log), str(self.pause_s), "train"]
        with log.open("wb") as stream:
            self.worker = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=stream, stderr=stream)
        worker = self.worker
        until(lambda: b"ready" in log.read_bytes() or worker.poll() is not None)
        if worker.poll() is not None:
            raise RuntimeError(f"the worker ended: {log.read_text(encoding='utf-8')[-3000:]}")

    def kill(self, kind: str, source: random.Random) -> None:
        """SIGKILL to the worker, to its work horse, or to both, one right after the other; returns when they are gone."""
        worker = self.worker
        if worker is None:
            raise RuntimeError("no worker was started")
        horses = [each.pid for each in psutil.Process(worker.pid).children(recursive=True)]
        told = {"worker": [worker.pid], "horse": horses, "both": [worker.pid, *horses]}[kind]
        source.shuffle(told)
        for pid in told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if kind != "horse":
            worker.wait()
        until(lambda: not any(_lives(pid) for pid in horses))

    def close(self) -> None:
        """End the worker and close what is open."""
        if self.worker is not None and self.worker.poll() is None:
            for child in psutil.Process(self.worker.pid).children(recursive=True):
                child.kill()
            self.worker.kill()
            self.worker.wait()
        self.runtime.queue.redis.close()
        self.runtime.store.close()

    # -- trainings ----------------------------------------------------------------------------------------------------

    def ask(self) -> str:
        """Label some more and ask for a training; the dataset's id."""
        self._label(_MORE)
        _, training_id = trigger_training(self.runtime, self.project, now=True)
        return next(row.dataset_id for row in self.attempts() if row.training_id == training_id)

    def attempts(self, dataset_id: str | None = None) -> list[TrainingRow]:
        """The project's attempts, or those at one dataset."""
        rows = trainings_of(self.runtime.store, PROJECT)
        return [row for row in rows if dataset_id in (None, row.dataset_id)]

    def undisturbed(self) -> None:
        """One training to its end; how long it takes is the time in which later ones are killed."""
        self.start_worker()
        self.finish(self.ask())
        lines = self.lines()
        self.length_s = lines[-1]["at"] - next(line["at"] for line in lines if line["event"] == "job")

    def kill_one(self, kind: str, source: random.Random) -> Killed:
        """Ask for a training, kill at a random moment of it, let a worker come back, and look when all is over."""
        self.start_worker()
        seen = len(self.lines())
        dataset_id = self.ask()
        until(lambda: any(line["event"] == "job" for line in self.lines()[seen:]))
        time.sleep(source.random() * self.length_s)
        self.kill(kind, source)
        step = self.lines()[-1]
        self.minutes_pass()
        self.start_worker()
        self.finish(dataset_id)
        done = Killed(kind, step["step"] if step["event"] == "step" else step["event"], len(self.attempts(dataset_id)))
        done.wrong += self.wrong(dataset_id)
        return done

    def finish(self, dataset_id: str) -> None:
        """What reconciles do, until the dataset's training is over and registered."""

        def over() -> bool:
            recover_training(self.runtime, self.project)
            register_missed(self.runtime, self.project)
            rows = self.attempts(dataset_id)
            failed = [
                row.reason for row in rows if row.outcome == "failed" and not row.reason.startswith("its worker died")
            ]
            if failed:
                raise RuntimeError(f"a training failed: {failed[0]}")
            return all(row.outcome is not None and row.registered_at is not None for row in self.attempts()) and any(
                row.candidate for row in rows
            )

        try:
            until(over, every_s=0.2)
        except TimeoutError:
            told = [(row.training_id, row.outcome, row.reason, row.registered_at) for row in self.attempts(dataset_id)]
            log = (self.folder / "worker.log").read_text(encoding="utf-8")[-3000:]
            raise TimeoutError(f"the training is not over: {told}\n{log}") from None

    def minutes_pass(self) -> None:
        """The leases of the dead run out, RQ finds their jobs abandoned, and what was queued or ended is long ago."""
        from rq.registry import StartedJobRegistry
        from rq.serializers import JSONSerializer

        store, redis = self.runtime.store, self.runtime.queue.redis
        with store.begin() as connection:
            connection.execute(update(leases).values(expires_at=utc_now() - timedelta(seconds=1)))
            for row in self.attempts():
                moved = {"queued_at": row.queued_at - LOST_AFTER}
                if row.finished_at is not None:
                    moved["finished_at"] = row.finished_at - LOST_AFTER
                connection.execute(update(trainings).where(trainings.c.training_id == row.training_id).values(**moved))
        started = StartedJobRegistry("train", connection=redis, serializer=JSONSerializer)
        members: Any = redis.zrange(started.key, 0, -1)
        for member in members:
            redis.zadd(started.key, {bytes(member): 1.0})
        started.cleanup()

    # -- what is found ------------------------------------------------------------------------------------------------

    def lines(self) -> list[dict[str, Any]]:
        """What the trainings have told of themselves."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []

    def wrong(self, dataset_id: str) -> list[str]:
        """Everything that must not be after the last training of this dataset, in words; none where all is well."""
        made = [row for row in self.attempts(dataset_id) if row.candidate]
        found = [] if len(made) == 1 else [f"{len(made)} model versions of {dataset_id}"]
        return [*found, *self._together(), *self.half_written(), *self._registered_wrongly()]

    def _together(self) -> list[str]:
        """Trainings at the same time: processes whose first and last words of a training overlap."""
        spans: list[tuple[int, float, float]] = []
        open_spans: dict[int, tuple[float, float]] = {}
        for line in self.lines():
            pid, at = int(line["pid"]), float(line["at"])
            if line["event"] == "start":
                open_spans[pid] = (at, at)
            elif pid in open_spans:
                open_spans[pid] = (open_spans[pid][0], at)
                if line["event"] == "end":
                    spans.append((pid, *open_spans.pop(pid)))
        spans += [(pid, *span) for pid, span in open_spans.items()]
        spans.sort(key=lambda span: span[1])
        return [
            f"processes {a[0]} and {b[0]} trained at the same time"
            for a, b in itertools.pairwise(spans) if b[1] < a[2]
        ]  # fmt: skip

    def half_written(self) -> list[str]:
        """Whatever a training left that should not be there, in words."""
        data = self.runtime.services.data
        found = [f"{row.training_id} has no outcome" for row in self.attempts() if row.outcome is None]
        found += [f"left in scratch: {each.name}" for each in (data / "scratch").glob("train-*")]
        for name in ("artifacts/models", "artifacts/datasets", "versions"):
            found += [f"left in {name}: {each.name}" for each in (data / name).glob(".*")]
        made = {row.path: row.digest for row in self.attempts() if row.candidate}
        for artefact in (data / "artifacts" / "models").glob("[!.]*"):
            if str(artefact) not in made:
                found.append(f"{artefact.name} belongs to no training")
            elif not (artefact / "digest.json").is_file() or folder_digest(artefact) != made[str(artefact)]:
                found.append(f"{artefact.name} is not what its digest says")
        promoted = Counter(steps[0].detail["model_version"] for steps in promotions_of(self.runtime.store, PROJECT))
        wanted = Counter(str(row.candidate) for row in self.attempts() if row.outcome == "promoted")
        return found + ([] if promoted == wanted else [f"promotions {dict(promoted)}, expected {dict(wanted)}"])

    def _registered_wrongly(self) -> list[str]:
        from mlflow import MlflowClient

        client = MlflowClient(self.runtime.services.mlflow_uri, self.runtime.services.mlflow_uri)
        model = model_name(self.runtime.store.instance, PROJECT, "sklearn_text")
        versions = Counter(each.tags["version"] for each in client.search_model_versions(f"name = '{model}'"))
        wanted = Counter(str(row.candidate) for row in self.attempts() if row.candidate)
        found = [] if versions == wanted else [f"MLflow has {dict(versions)}, expected {dict(wanted)}"]
        experiment = client.get_experiment_by_name(model)
        runs = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
        by_training = Counter(run.data.tags["training_id"] for run in runs)
        if by_training != Counter(row.training_id for row in self.attempts()):
            found.append(f"MLflow has runs of {dict(by_training)}")
        unfinished = [run.info.run_id for run in runs if (run.info.status, run.data.tags.get("complete")) != _WHOLE]
        return found + [f"MLflow's run {each} is half written" for each in unfinished]


_WHOLE = ("FINISHED", "true")


def _revision(number: int, truth: ClassTruth) -> dict[str, Any]:
    result = [
        {"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [truth.label]}}
    ]
    return {
        "project_id": PROJECT, "annotation_id": number, "task_id": number, "rev": 1, "person_id": 1, "kind": "human",
        "state": "submitted", "ground_truth": False, "created_at": _AT, "updated_at": _AT, "seen_at": _AT,
        "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None, "config_hash": "c", "result": result,
        "rev_hash": revision_hash(result, "submitted", False),
    }  # fmt: skip


def until(condition: Callable[[], Any], every_s: float = 0.02) -> None:
    """Wait for it; TimeoutError after a while that is long for all that happens here."""
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {_PATIENCE_S:.0f} s")
        time.sleep(every_s)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def killed_trainings(folder: Path, redis_url: str, mlflow_uri: str) -> Iterator[KilledTrainings]:
    """The project, after one training that nobody disturbed."""
    made = KilledTrainings(folder, redis_url, mlflow_uri)
    try:
        made.undisturbed()
        yield made
    finally:
        made.close()


def kill_rows(kills: int, kinds: Sequence[str] = KINDS, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each kind of kill: after how many of `kills` all was well."""
    from labelloop.services.local import up

    rows = []
    with tempfile.TemporaryDirectory(prefix="labelloop-kills-") as scratch:
        services = ServiceSettings(data=Path(scratch) / "services")
        with up(services, lambda line: None, names=("redis", "mlflow")) as running:
            own = running.services
            with killed_trainings(Path(scratch) / "site", own.redis_url, own.mlflow_uri) as site:
                for kind in kinds:
                    source = random.Random(f"{seed} {kind}")
                    done = []
                    for _ in range(kills):
                        done.append(site.kill_one(kind, source))
                        print(done[-1], file=sys.stderr, flush=True)
                    rows.append(_row(kind, done, site.length_s))
    return rows


def _row(kind: str, done: Sequence[Killed], length_s: float) -> dict[str, Any]:
    bad = [each for each in done if each.wrong]
    return at_least(
        f"kills of the {_NAMES[kind]} after which all was well, of {len(done)}", len(done) - len(bad), len(done),
        f"all {len(done)}", unit="kills",
        steps=dict(Counter(each.step for each in done)), attempts=dict(Counter(str(each.attempts) for each in done)),
        wrong=[word for each in bad for word in each.wrong], training_s=round(length_s, 2),
    )  # fmt: skip
