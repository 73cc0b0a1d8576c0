"""A training that is cancelled while it waits, while it runs and while it is being written: no version, and none by itself."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from redis import Redis
from rq import Queue as RqQueue
from rq.serializers import JSONSerializer
from typer.testing import CliRunner

from backends.sklearn_text.training import SklearnTrainer
from labelloop.cli import app
from labelloop.errors import NotReady
from labelloop.queueing import Queue, manual_training_request
from labelloop.settings import service_environment
from labelloop.store.leases import acquire, release
from labelloop.store.trainings import MAX_ATTEMPTS

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop
from training_steps import (
    EVERY,
    attempts,
    first_round,
    grow_older,
    held_out,
    opened,
    planned,
    pooled,
    reconcile,
    traces,
    train,
)

import sync.cancelling
import sync.training
import sync.versions
from sync.cancelling import cancel_training
from sync.reconcile import trigger_training
from sync.training_progress import ask_and_follow
from sync.waiting_labels import waiting

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "train.schema.json"
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(sync.cancelling, "LOOK_EVERY_S", 0.0)
    made = opened(tmp_path)
    yield made
    made.store.close()


def queued(loop: Loop) -> None:
    loop.fill(260)
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[:EVERY]])
    assert reconcile(loop) is not None


def cancel(loop: Loop) -> None:
    assert cancel_training(loop.runtime, loop.project, "anna@desk", "too slow") is not None


def assert_cancelled(loop: Loop) -> None:
    """It is over for good: nothing of it is left, it is not repeated, and its labels start nothing."""
    (row,) = attempts(loop)
    assert row.outcome == "cancelled" and row.finished_at is not None
    assert row.reason.startswith("cancelled by anna@desk at 20") and row.reason.endswith(" UTC: too slow")
    assert (row.candidate, row.path, row.digest) == (None, None, None)
    assert traces(loop) == ([], []) and planned(loop) == []
    for _ in range(MAX_ATTEMPTS):
        grow_older(loop)
        assert reconcile(loop) is None
    assert len(attempts(loop)) == 1 and waiting(loop.runtime, loop.project).labels == 0
    assert train(loop) is None and attempts(loop) == [attempts(loop)[0]]  # its job, late: nothing
    assert attempts(loop)[0].outcome == "cancelled" and traces(loop) == ([], [])


def test_one_that_waits_is_over_at_once_and_the_next_comes_with_new_labels_only(loop: Loop) -> None:
    queued(loop)
    cancel(loop)
    assert_cancelled(loop)
    labels = pooled(loop)
    loop.label(labels[EVERY : 2 * EVERY - 1])
    assert reconcile(loop) is None
    loop.label(labels[2 * EVERY - 1 : 2 * EVERY])
    assert reconcile(loop) is not None
    assert train(loop) is not None and attempts(loop)[1].outcome == "promoted"


def test_somebody_who_asks_gets_a_training_of_the_same_labels(loop: Loop) -> None:
    queued(loop)
    cancel(loop)
    assert trigger_training(loop.runtime, loop.project, now=True)[1] is not None
    assert train(loop) is not None
    assert [(row.attempt, row.outcome) for row in attempts(loop)] == [(1, "cancelled"), (2, "promoted")]


def test_one_that_runs_ends_at_its_next_step(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(loop)
    steps: list[str] = []
    monkeypatch.setattr(loop.queue, "report", lambda job, share, message: steps.append(message))
    real = SklearnTrainer.fit

    def fit(self: SklearnTrainer, *args: Any, progress: Callable[[float, str], None], **more: Any) -> Any:
        def watched(share: float, message: str) -> None:
            progress(share, message)
            if "part 2" in message:
                cancel(loop)
                assert attempts(loop)[0].outcome is None  # who runs it ends it

        return real(self, *args, progress=watched, **more)

    monkeypatch.setattr(SklearnTrainer, "fit", fit)
    assert train(loop) is None
    assert steps[-1] == "thresholds, part 2 of 5"
    assert_cancelled(loop)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_one_that_is_being_published_leaves_no_version(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    queued(loop)
    real = sync.versions.folders.publish

    def publish(folder: Path, uri: str) -> str:
        if moment == "before":
            cancel(loop)
        made = real(folder, uri)
        if moment == "after":
            cancel(loop)
        return made

    with monkeypatch.context() as patched:
        patched.setattr(sync.versions.folders, "publish", publish)
        assert train(loop) is None
    assert_cancelled(loop)


def test_one_that_has_its_outcome_keeps_it(loop: Loop) -> None:
    first_round(loop)
    assert cancel_training(loop.runtime, loop.project, "anna@desk") is None
    assert attempts(loop)[0].outcome == "promoted"


def test_one_whose_worker_died_is_cancelled_and_not_repeated(loop: Loop) -> None:
    queued(loop)
    lease = acquire(loop.store, PROJECT, "train", 60)  # of the dead worker; nobody renews it
    assert lease is not None
    cancel(loop)
    reconcile(loop)
    assert attempts(loop)[0].outcome is None
    release(loop.store, lease)
    reconcile(loop)
    assert_cancelled(loop)


def test_one_that_waits_for_a_gpu_ends_too(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelloop.store.leases import holding
    from sync.devices import NO_PROJECT, lease_kind

    queued(loop)
    on_gpu(loop, monkeypatch)
    told: list[str] = []

    def report(job: str, share: float, message: str) -> None:
        told.append(message)
        if message.startswith("waits"):
            cancel(loop)

    monkeypatch.setattr(loop.queue, "report", report)
    kind = lease_kind("cuda:0", "this")
    with holding(loop.store, NO_PROJECT, kind, 60, "p3-"):
        assert train(loop) is None
    assert told[-1] == "waits for the GPU (project 3 trains on it)"
    assert_cancelled(loop)


def on_gpu(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this host had a GPU and the project's trainer used it."""
    import sync.devices
    from backends import BACKENDS, BackendEntry

    entry = BackendEntry("backends.sklearn_text", "sklearn", ("sklearn",), trains_on_gpu=True)
    monkeypatch.setitem(BACKENDS, "sklearn_text", entry)
    monkeypatch.setattr(sync.devices.socket, "gethostname", lambda: "this")
    monkeypatch.setattr(sync.devices, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(
        loop.runtime, "services", loop.runtime.services.model_copy(update={"device": "cuda", "train_gpu_memory": 1.0})
    )


def test_of_two_trainings_on_a_gpu_the_second_waits_for_the_first(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelloop.store.leases import acquire, holder, release
    from sync.devices import NO_PROJECT, lease_kind

    queued(loop)
    on_gpu(loop, monkeypatch)
    kind = lease_kind("cuda:0", "this")
    other = acquire(loop.store, NO_PROJECT, kind, 60, "p3-")
    assert other is not None
    told: list[tuple[float, str, str | None]] = []
    waited = threading.Event()

    def report(job: str, share: float, message: str) -> None:
        told.append((share, message, holder(loop.store, NO_PROJECT, kind)))
        if message.startswith("waits") and not waited.is_set():
            waited.set()
            release(loop.store, other)

    monkeypatch.setattr(loop.queue, "report", report)
    assert train(loop) is not None
    assert told[0][:2] == (0.0, "waits for the GPU (project 3 trains on it)")
    fitting = [owner for _, message, owner in told if "thresholds" in message]
    assert len(fitting) == 5 and all(owner is not None and owner.startswith("p1-") for owner in fitting)
    assert holder(loop.store, NO_PROJECT, kind) is None  # measuring needs no GPU
    assert attempts(loop)[0].outcome == "promoted"


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(loop: Loop, empty_redis: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `labelloop train`; its exit status and report."""
    services = loop.runtime.services.model_copy(update={"redis_url": empty_redis})
    for name, value in service_environment(services).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(loop.runtime.services.data)

    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, ["train", "1", *arguments, "--json"])
        report = json.loads(done.stdout) if done.stdout else done.exception
        if done.stdout:
            jsonschema.validate(report, json.loads(SCHEMA.read_text()))
        return done.exit_code, report

    return run


def test_the_command_cancels_what_waits(loop: Loop, command: Callable[..., Any]) -> None:
    queued(loop)
    status, report = command("--cancel", "--reason", "wrong labels")
    assert status == 0 and (report["outcome"], report["withdrawn"]) == ("cancelled", False)
    assert report["training_id"] == attempts(loop)[0].training_id and report["reason"].endswith("UTC: wrong labels")
    assert attempts(loop)[0].reason == report["reason"]
    status, error = command("--cancel")
    assert status == 1 and "no training of 'Texts' waits or runs" in str(error)


def test_the_command_withdraws_a_request_that_no_training_has_come_of(
    loop: Loop, empty_redis: str, command: Callable[..., Any]
) -> None:
    queue = Queue(empty_redis, loop.store.instance)
    queue.enqueue(manual_training_request(PROJECT))
    assert command("--cancel") == (
        0, {"project": 1, "withdrawn": True, "training_id": None, "outcome": None, "reason": ""},
    )  # fmt: skip
    assert RqQueue("sync", connection=queue.redis, serializer=JSONSerializer).job_ids == []
    assert queue.active([manual_training_request(PROJECT).job_id]) == set()
    queue.redis.close()


def test_following_shows_a_training_to_its_end(
    loop: Loop, empty_redis: str, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(loop)
    ends = threading.Thread(target=train, args=(loop,))
    ends.start()
    status, report = command("--follow")
    ends.join()
    assert status == 0 and report["training"]["outcome"] == "promoted"
    with Redis.from_url(empty_redis) as redis:
        assert RqQueue("sync", connection=redis, serializer=JSONSerializer).job_ids == []  # one ran: none was asked for


def test_following_tells_of_a_cancelled_one_and_of_none(loop: Loop, empty_redis: str) -> None:
    queued(loop)
    queue = Queue(empty_redis, loop.store.instance)
    loop.runtime.__dict__["queue"] = queue
    told: list[dict[str, Any]] = []

    def tell(progress: dict[str, Any]) -> None:
        told.append(progress)
        cancel(loop)

    row = ask_and_follow(loop.runtime, loop.project, tell, poll_s=0.01)
    assert row.outcome == "cancelled" and [each["state"] for each in told] == ["waits"]
    queue.enqueue = lambda request: True  # type: ignore[method-assign]  # its job was over at once, and did nothing
    with pytest.raises(NotReady, match="no training was started; the log of worker-sync"):
        ask_and_follow(loop.runtime, loop.project, tell, poll_s=0.01)
    queue.redis.close()
