"""The queues: names, keys and enqueueing by dotted string. Nothing here is truth: an emptied Redis loses no label.

`dirty` is a counter per project that every hint raises; a reconcile reads it first, notes what it read when it is done
(`clean`), and whatever raised it in between is seen by the next tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from labelloop.errors import ServiceDown

if TYPE_CHECKING:
    from redis import Redis

QueueName = Literal["train", "predict", "sync"]
#: Seconds a job of each queue may run: RQ's own default of 180 would end a training.
JOB_TIMEOUT_S: dict[QueueName, int] = {"train": 6 * 3600, "predict": 2 * 3600, "sync": 1800}
#: A failed job's id stays taken this long; a repeat is asked for by the next tick, so it is short.
FAILURE_TTL_S = 60


@dataclass(frozen=True)
class Report:
    """How far a job said that it is, a share in [0, 1], and when."""

    share: float
    message: str
    at: datetime


@dataclass(frozen=True)
class JobRequest:
    """One job: its queue, its dotted name (a wire format, pinned by a test), JSON arguments and an id that says what for."""

    queue: QueueName
    function: str
    args: tuple[Any, ...]
    job_id: str


def reconcile_request(project_id: int) -> JobRequest:
    """Bring the store up to date with one project, and act on what is new."""
    return JobRequest("sync", "sync.jobs.reconcile", (project_id,), f"reconcile-p{project_id}")


def train_request(project_id: int, dataset_id: str, attempt: int) -> JobRequest:
    """Train one project on one frozen dataset version."""
    name = f"train-p{project_id}-{dataset_id[1:13]}-{attempt}"
    return JobRequest("train", "sync.jobs.train", (project_id, dataset_id, attempt), name)


def promote_request(promotion_id: str) -> JobRequest:
    """Take a promotion from its last finished step to its end."""
    return JobRequest("predict", "sync.jobs.promote", (promotion_id,), f"promote-{promotion_id}")


def top_up_request(project_id: int, model_version: str, lo: int, hi: int) -> JobRequest:
    """Bring the open tasks with ids lo to hi up to the served model version."""
    name = f"predict-{model_version}-{lo}-{hi}"
    return JobRequest("predict", "sync.jobs.predict", (project_id, model_version, lo, hi), name)


def prelabel_request(project_id: int, model_version: str, lo: int, hi: int) -> JobRequest:
    """Bring all tasks with ids lo to hi, finished ones too, up to the served model version."""
    name = f"prelabel-{model_version}-{lo}-{hi}"
    return JobRequest("predict", "sync.jobs.predict", (project_id, model_version, lo, hi, True), name)


def retire_request(project_id: int) -> JobRequest:
    """Delete predictions that were replaced long enough ago."""
    return JobRequest("predict", "sync.jobs.retire", (project_id,), f"retire-p{project_id}")


def register_request(project_id: int, training_id: str) -> JobRequest:
    """Log to MLflow a training that it missed."""
    return JobRequest("train", "sync.jobs.register", (project_id, training_id), f"register-{training_id}")


def quality_request(project_id: int) -> JobRequest:
    """Measure agreement anew."""
    return JobRequest("sync", "sync.jobs.check_quality", (project_id,), f"quality-p{project_id}")


def manual_training_request(project_id: int) -> JobRequest:
    """Freeze a dataset and train now, however few labels are new."""
    return JobRequest("sync", "sync.jobs.train_now", (project_id,), f"trainnow-p{project_id}")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class Queue:
    """Redis as labelloop uses it: RQ queues with JSON arguments, and a dirty counter per project."""

    def __init__(self, redis_url: str, instance: str, *, socket_timeout_s: float | None = None) -> None:
        self.redis_url = redis_url
        self.prefix = f"labelloop:{instance[:8]}"
        self._timeout = socket_timeout_s
        self._redis: Redis | None = None

    @property
    def redis(self) -> Redis:
        """The connection, made at the first use."""
        if self._redis is None:
            from redis import Redis

            self._redis = Redis.from_url(
                self.redis_url, socket_timeout=self._timeout, socket_connect_timeout=self._timeout or 5.0
            )
        return self._redis

    def _key(self, project_id: int, what: str) -> str:
        return f"{self.prefix}:p{project_id}:{what}"

    # -- hints ----------------------------------------------------------------------------------------------------

    def mark_dirty(self, project_id: int) -> int:
        """Note that something may have changed; the counter's new value."""
        return int(self.redis.incr(self._key(project_id, "dirty")))

    def dirty(self, project_id: int) -> int:
        """The counter as it stands."""
        return int(self.redis.get(self._key(project_id, "dirty")) or 0)

    def is_dirty(self, project_id: int) -> bool:
        """Whether a hint came in that no finished reconcile has read."""
        return self.dirty(project_id) != int(self.redis.get(self._key(project_id, "clean")) or 0)

    def mark_clean(self, project_id: int, read: int) -> None:
        """Note that everything up to the counter value `read` has been acted on."""
        self.redis.set(self._key(project_id, "clean"), read)

    def begin_reconcile(self, project_id: int, every_s: float) -> bool:
        """Whether enough time has passed since the last reconcile began; if so, the next one has to wait as long again."""
        return bool(self.redis.set(self._key(project_id, "recent"), 1, nx=True, px=max(1, int(every_s * 1000))))

    def may_reconcile(self, project_id: int) -> bool:
        """Whether a reconcile that began now would be allowed to work."""
        return not self.redis.exists(self._key(project_id, "recent"))

    # -- progress -------------------------------------------------------------------------------------------------

    def report(self, job: str, share: float, message: str) -> None:
        """Publish how far a job is, for people to look at; forgotten after an hour, left out while Redis is away."""
        from redis.exceptions import RedisError

        key = f"{self.prefix}:progress:{job}"
        # The work that reports must not end for the sake of a report.
        with suppress(RedisError):
            self.redis.hset(key, mapping={"share": share, "message": message, "at": datetime.now(UTC).isoformat()})
            self.redis.expire(key, 3600)

    def progress(self, jobs: Iterable[str]) -> dict[str, tuple[float, str]]:
        """(share, message) of those jobs that have reported within the hour."""
        found = {}
        with self._reachable():
            for job in jobs:
                told = self.redis.hgetall(f"{self.prefix}:progress:{job}")
                if told:
                    message = told[b"message"]
                    found[job] = float(told[b"share"]), message.decode() if isinstance(message, bytes) else message
        return found

    def last_report(self, job: str) -> Report | None:
        """What a job has told last, within the hour."""
        key, names = f"{self.prefix}:progress:{job}", ("share", "message", "at")
        with self._reachable():
            told = self.redis.hmget(key, list(names))
        share, message, at = (each.decode() if isinstance(each, bytes) else each for each in told)
        if share is None or message is None or at is None:
            return None
        return Report(float(share), message, datetime.fromisoformat(at))

    # -- jobs -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Redis that does not answer becomes a ServiceDown that says what to do."""
        from redis.exceptions import ConnectionError, TimeoutError

        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise ServiceDown(
                f"Redis at {_without_password(self.redis_url)} does not answer; start it (`labelloop up` does), or set "
                "LABELLOOP_REDIS_URL"
            ) from error

    def active(self, jobs: Sequence[str]) -> set[str]:
        """Those of the jobs that wait or run."""
        from rq.job import Job, JobStatus
        from rq.serializers import JSONSerializer

        over = {JobStatus.FINISHED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.STOPPED}
        with self._reachable():
            found = Job.fetch_many(list(jobs), connection=self.redis, serializer=JSONSerializer) if jobs else []
            return {job.id for job in found if job is not None and job.get_status(refresh=False) not in over}

    def failure(self, job: str) -> str | None:
        """The last line of what a failed job raised, while Redis still knows it."""
        from rq.exceptions import NoSuchJobError
        from rq.job import Job
        from rq.serializers import JSONSerializer

        with self._reachable():
            try:
                result = Job.fetch(job, connection=self.redis, serializer=JSONSerializer).latest_result()
            except NoSuchJobError:
                return None
        lines = str(result.exc_string or "").strip().splitlines() if result is not None else []
        return lines[-1] if lines else None

    def workers(self, queue: QueueName) -> int:
        """How many workers take jobs of a queue; one that was killed counts for some minutes more."""
        from rq import Queue as RqQueue
        from rq import Worker
        from rq.serializers import JSONSerializer

        with self._reachable():
            return int(Worker.count(queue=RqQueue(queue, connection=self.redis, serializer=JSONSerializer)))

    def enqueue(self, request: JobRequest) -> bool:
        """Enqueue unless a job of that id waits or runs; whether it was enqueued. ServiceDown when Redis is away."""
        with self._reachable():
            return self._enqueue(request)

    def _enqueue(self, request: JobRequest) -> bool:
        from rq import Queue as RqQueue
        from rq.exceptions import DuplicateJobError, NoSuchJobError
        from rq.job import Job, JobStatus
        from rq.serializers import JSONSerializer

        queue = RqQueue(request.queue, connection=self.redis, serializer=JSONSerializer)
        for _ in range(2):
            try:
                queue.enqueue_call(
                    request.function,
                    args=request.args,
                    job_id=request.job_id,
                    timeout=JOB_TIMEOUT_S[request.queue],
                    result_ttl=0,
                    failure_ttl=FAILURE_TTL_S,
                    unique=True,
                )
                return True
            except DuplicateJobError:
                try:
                    job = Job.fetch(request.job_id, connection=self.redis, serializer=JSONSerializer)
                    over = job.get_status() in {
                        JobStatus.FINISHED,
                        JobStatus.FAILED,
                        JobStatus.CANCELED,
                        JobStatus.STOPPED,
                    }
                    if not over:
                        return False
                    # The id of a job that is over stays taken for its time to live; free it and try once more.
                    job.delete()
                except NoSuchJobError:
                    continue
        return False

    def withdraw(self, request: JobRequest) -> bool:
        """Take back a job that still waits; whether one did."""
        from rq.exceptions import NoSuchJobError
        from rq.job import Job, JobStatus
        from rq.serializers import JSONSerializer

        with self._reachable():
            try:
                job = Job.fetch(request.job_id, connection=self.redis, serializer=JSONSerializer)
            except NoSuchJobError:
                return False
            if job.get_status() != JobStatus.QUEUED:
                return False
            job.delete()
            return True

    def request_reconcile(self, project_id: int) -> bool:
        """Ask for a reconcile of one project, once however often it is asked for; the tick asks again when it is too early."""
        return self.may_reconcile(project_id) and self.enqueue(reconcile_request(project_id))

    def request_training(self, project_id: int) -> bool:
        """Ask for a training now, however few labels are new."""
        return self.enqueue(manual_training_request(project_id))

    def request_predictions(self, project_id: int) -> bool:
        """Ask for the predictions that a live request had no time for: reconcile finds what the served version lacks."""
        self.mark_dirty(project_id)
        return self.request_reconcile(project_id)
