"""An emptied Redis costs no label and no model: what was asked for is asked for again, from the store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue as RqQueue
from rq.serializers import JSONSerializer
from sqlalchemy import update

from labelloop.queueing import JOB_TIMEOUT_S, Queue
from labelloop.store.tables import trainings
from labelloop.store.trainings import trainings_of

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, make_loop

import sync.jobs
from sync.promotion import run_promotion
from sync.reconcile import LOST_AFTER
from sync.scheduler import Ticker

pytestmark = pytest.mark.integration


@pytest.fixture
def loop(tmp_path: Path, empty_redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """A loop on a real Redis, whose jobs this test runs itself."""
    made = make_loop(
        tmp_path,
        ACTIVE_LEARNING__RETRAIN_EVERY_N_LABELS="40",
        ACTIVE_LEARNING__BLIND_SHARE="0",
        RECONCILE_EVERY_S="0.001",
    )
    queue = Queue(empty_redis, made.store.instance)
    made.runtime.__dict__["queue"] = queue
    monkeypatch.setattr(sync.jobs, "runtime", lambda: made.runtime)
    yield made
    queue.redis.close()
    made.store.engine.dispose()


def waiting(loop: Loop) -> set[str]:
    client = loop.runtime.queue.redis
    return {
        job for name in JOB_TIMEOUT_S for job in RqQueue(name, connection=client, serializer=JSONSerializer).job_ids
    }


def empty(loop: Loop) -> None:
    client: Redis = loop.runtime.queue.redis
    client.flushall()
    assert waiting(loop) == set()


def tick(loop: Loop) -> None:
    """A tick of a scheduler that has been quiet for long, and the reconcile that it asks for."""
    Ticker(loop.runtime).tick()
    assert f"reconcile-p{PROJECT}" in waiting(loop)
    loop.runtime.queue.redis.delete(loop.runtime.queue._key(PROJECT, "recent"))
    sync.jobs.reconcile(PROJECT)


def test_nothing_is_lost_with_redis_at_any_stage(loop: Loop) -> None:
    loop.fill(200)
    loop.runtime.queue.mark_dirty(PROJECT)
    empty(loop)  # the hint is gone
    tick(loop)
    assert len(loop.store.tasks(PROJECT)) == 200

    tasks = loop.store.tasks(PROJECT)
    loop.label([t.task_id for t in tasks if t.role == "holdout"] + [t.task_id for t in tasks if t.role == "pool"][:40])
    wanted = sum(len(t.annotations) for t in loop.remote.tasks.values())
    empty(loop)
    tick(loop)
    assert len(loop.store.labels(PROJECT)) == wanted
    (row,) = trainings_of(loop.store, PROJECT)
    assert row.training_id in waiting(loop)

    empty(loop)  # the training's job is gone
    tick(loop)
    assert row.training_id not in waiting(loop)  # too early to call it lost
    with loop.store.begin() as connection:
        connection.execute(update(trainings).values(queued_at=row.queued_at - LOST_AFTER - timedelta(seconds=1)))
    tick(loop)
    assert row.training_id in waiting(loop)

    sync.jobs.train(PROJECT, row.dataset_id, row.attempt)
    promotion = "sklearn_text-p1-v1-r1"
    assert f"promote-{promotion}" in waiting(loop)
    empty(loop)  # the promotion's job is gone
    tick(loop)
    assert f"promote-{promotion}" in waiting(loop)
    assert run_promotion(loop.runtime, promotion)
    served = loop.store.served(PROJECT)
    assert served is not None and served.model_version == "sklearn_text-p1-v1"
    assert len(trainings_of(loop.store, PROJECT)) == 1

    assert not run_promotion(loop.runtime, "sklearn_text-p1-v0-r1")  # the first order never came to be served
    empty(loop)
    tick(loop)
    assert not {name for name in waiting(loop) if name.startswith(("train", "promote"))}
    assert len(loop.store.labels(PROJECT)) == wanted


def test_a_reconcile_that_fails_leaves_the_project_dirty(loop: Loop) -> None:
    loop.fill(5)
    loop.runtime.queue.mark_dirty(PROJECT)
    loop.remote.fail["changed_tasks"] = RuntimeError("anything")
    with pytest.raises(RuntimeError):
        sync.jobs.reconcile(PROJECT)
    assert loop.runtime.queue.is_dirty(PROJECT)
    tick(loop)
    assert not loop.runtime.queue.is_dirty(PROJECT) and len(loop.store.tasks(PROJECT)) == 5


def test_a_hint_that_comes_while_a_reconcile_reads_is_for_the_next(loop: Loop) -> None:
    loop.fill(5)
    loop.runtime.queue.mark_dirty(PROJECT)

    loop.remote.before_call = lambda name: loop.runtime.queue.mark_dirty(PROJECT)
    sync.jobs.reconcile(PROJECT)
    assert loop.runtime.queue.is_dirty(PROJECT)
