"""The queue on a real Redis: one job per id, hints that are never lost, and an emptied Redis."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue as RqQueue
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from labelloop.queueing import FAILURE_TTL_S, JOB_TIMEOUT_S, JobRequest, Queue
from labelloop.store.types import utc_now

pytestmark = pytest.mark.integration

INSTANCE = "11111111-2222-3333-4444-555555555555"
JOBS = '''"""Jobs of the tests."""

def good(): ...

def bad():
    raise RuntimeError("it failed")

def again(url, instance):
    """Ask for this very job while it runs."""
    from labelloop.queueing import JobRequest, Queue
    queue = Queue(url, instance)
    asked = queue.enqueue(JobRequest("sync", "queue_test_jobs.again", (url, instance), "one"))
    queue.redis.set("asked", int(asked))
'''


@pytest.fixture
def queue(empty_redis: str) -> Iterator[Queue]:
    made = Queue(empty_redis, INSTANCE)
    yield made
    made.redis.close()


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "queue_test_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "queue_test_jobs", raising=False)
    return "queue_test_jobs"


def work(queue: Queue) -> None:
    """Work on what waits, in this process, as a worker would."""
    SimpleWorker(["train", "predict", "sync"], connection=queue.redis, serializer=JSONSerializer).work(
        burst=True, logging_level="CRITICAL"
    )


def waiting(queue: Queue) -> list[str]:
    return [
        job
        for name in JOB_TIMEOUT_S
        for job in RqQueue(name, connection=queue.redis, serializer=JSONSerializer).job_ids
    ]


def one(function: str, *args: str) -> JobRequest:
    return JobRequest("sync", function, args, "one")


def test_a_job_that_waits_is_not_enqueued_again(queue: Queue, jobs: str) -> None:
    assert queue.enqueue(one(f"{jobs}.good"))
    assert not queue.enqueue(one(f"{jobs}.good"))
    assert waiting(queue) == ["one"]


def test_a_job_that_runs_is_not_enqueued_again(queue: Queue, jobs: str) -> None:
    queue.enqueue(one(f"{jobs}.again", queue.redis_url, INSTANCE))
    work(queue)
    assert queue.redis.get("asked") == b"0" and waiting(queue) == []


@pytest.mark.parametrize("name", ["good", "bad"])
def test_the_id_of_a_job_that_is_over_is_free(queue: Queue, jobs: str, name: str) -> None:
    for _ in range(3):
        assert queue.enqueue(one(f"{jobs}.{name}"))
        work(queue)
    assert waiting(queue) == []


def test_a_failed_job_is_kept_for_a_minute_to_look_at(queue: Queue, jobs: str) -> None:
    queue.enqueue(one(f"{jobs}.bad"))
    work(queue)
    job = Job.fetch("one", connection=queue.redis, serializer=JSONSerializer)
    result = job.latest_result()
    assert result is not None and "it failed" in str(result.exc_string)
    assert 0 < queue.redis.ttl(job.key) <= FAILURE_TTL_S


@pytest.mark.parametrize("name", sorted(JOB_TIMEOUT_S))
def test_each_queue_has_its_time_limit(queue: Queue, name: str) -> None:
    queue.enqueue(JobRequest(name, "sync.jobs.reconcile", (1,), "timed"))  # type: ignore[arg-type]
    job = Job.fetch("timed", connection=queue.redis, serializer=JSONSerializer)
    assert (job.timeout, job.origin, job.func_name, job.args) == (
        JOB_TIMEOUT_S[name],  # type: ignore[index]
        name,
        "sync.jobs.reconcile",
        [1],
    )


def test_installations_do_not_share_hints(queue: Queue) -> None:
    other = Queue(queue.redis_url, "99999999-2222-3333-4444-555555555555")
    queue.mark_dirty(1)
    assert queue.is_dirty(1) and not other.is_dirty(1) and not queue.is_dirty(2)
    other.redis.close()


def test_a_hint_between_read_and_clean_is_kept(queue: Queue) -> None:
    queue.mark_dirty(1)
    read = queue.dirty(1)
    queue.mark_dirty(1)  # comes while the reconcile works
    queue.mark_clean(1, read)
    assert queue.is_dirty(1)
    queue.mark_clean(1, queue.dirty(1))
    assert not queue.is_dirty(1)


@pytest.mark.parametrize("seed", range(5))
def test_no_interleaving_of_hints_and_reconciles_loses_a_hint(queue: Queue, seed: int) -> None:
    source = random.Random(seed)
    unseen, reading = False, None
    for _ in range(120):
        step = source.choice(["hint", "begin", "end", "crash"])
        if step == "hint":
            queue.mark_dirty(1)
            unseen = True
        elif step == "begin" and reading is None:
            reading, unseen = queue.dirty(1), False
        elif step == "end" and reading is not None:
            queue.mark_clean(1, reading)
            reading = None
        elif step == "crash" and reading is not None:
            unseen, reading = unseen or queue.is_dirty(1), None
        if unseen:
            assert queue.is_dirty(1), "a hint that no reconcile has read is gone"


def test_an_emptied_redis_in_the_middle_of_a_reconcile_leaves_the_project_dirty(queue: Queue) -> None:
    for _ in range(5):
        queue.mark_dirty(1)
    read = queue.dirty(1)
    queue.redis.flushall()
    queue.mark_clean(1, read)
    assert queue.is_dirty(1)  # once too often rather than once too seldom
    queue.mark_clean(1, queue.dirty(1))
    assert not queue.is_dirty(1)


def test_reconciles_keep_their_distance(queue: Queue) -> None:
    assert queue.request_reconcile(1)
    assert queue.begin_reconcile(1, 60) and not queue.begin_reconcile(1, 60)
    assert not queue.may_reconcile(1) and not queue.request_reconcile(1)
    assert queue.begin_reconcile(2, 60)
    assert 59_000 < queue.redis.pttl(queue._key(1, "recent")) <= 60_000


def test_a_redis_that_is_away_does_not_stop_a_training(empty_redis: str) -> None:
    away = Queue("redis://127.0.0.1:1/0", INSTANCE)
    away.report("train-p1-x-1", 0.5, "half")  # for people to look at: the work goes on without it


def test_progress_is_forgotten_after_an_hour(queue: Queue) -> None:
    queue.report("train-p1-x-1", 0.5, "half")
    key = f"{queue.prefix}:progress:train-p1-x-1"
    client: Redis = queue.redis
    told = queue.last_report("train-p1-x-1")
    assert told is not None and (told.share, told.message) == (0.5, "half")
    assert abs((utc_now() - told.at).total_seconds()) < 60 and queue.last_report("train-p1-x-2") is None
    assert 3000 < client.ttl(key) <= 3600
