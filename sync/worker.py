"""`python -m sync.worker QUEUE...`: an RQ worker whose work horses die with it."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labelloop.errors import LabelloopError
from labelloop.lifeline import die_with_parent
from labelloop.logs import configure_logging
from labelloop.settings import load_settings

if TYPE_CHECKING:
    from rq.worker import Worker

log = logging.getLogger("sync.worker")

QUEUES = ("train", "predict", "sync")
#: Imported before the first fork, so that a job does not pay for it. Nothing here starts a thread or opens a connection.
_PRELOADED = ("sync.jobs", "sync.reconcile", "sync.promotion", "labelloop.label_studio", "polars")


def _worker_class(train_nice: int) -> type[Worker]:
    from rq.job import Job
    from rq.queue import Queue
    from rq.worker import Worker

    class LoopWorker(Worker):
        """A worker whose work horse never outlives it: else its job, given to another worker 90 s later, would run twice."""

        def main_work_horse(self, job: Job, queue: Queue) -> None:
            """In the child, before anything else."""
            die_with_parent(self.pid or os.getppid())
            if queue.name == "train":
                # What serves on this host goes first.
                os.nice(train_nice)
            super().main_work_horse(job, queue)

    return LoopWorker


def work(redis_url: str, queues: Sequence[str], *, burst: bool = False, train_nice: int = 0) -> None:
    """Work on these queues, the first one first, until a signal comes (or, in a burst, until they are empty).

    Trainings go with a priority that is lower by `train_nice`, as `nice` counts.
    """
    from redis import Redis
    from rq.serializers import JSONSerializer

    for name in _PRELOADED:
        importlib.import_module(name)
    worker = _worker_class(train_nice)(
        list(queues),
        connection=Redis.from_url(redis_url),
        serializer=JSONSerializer,
        maintenance_interval=60,
        log_job_description=False,
    )
    log.info("ready", extra={"queues": list(queues), "worker": worker.name})
    # RQ's scheduler (nothing here is enqueued for later) would be a process that outlives a killed worker.
    worker.work(burst=burst, with_scheduler=False, logging_level="WARNING")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker; 2 for a wrong setting, with one line that says which."""
    parser = argparse.ArgumentParser(prog="python -m sync.worker", description="Work on labelloop's queues.")
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help=f"in order of precedence; {', '.join(QUEUES)}")
    parser.add_argument("--burst", action="store_true", help="stop when the queues are empty")
    parser.add_argument("--config", type=Path, default=None, help="labelloop.yaml")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.queues if name not in QUEUES]
    if unknown:
        parser.error(f"no queue {unknown[0]!r}; expected some of: {', '.join(QUEUES)}")
    try:
        services = load_settings(arguments.config).services
    except LabelloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    configure_logging(services.log_level)
    queues = arguments.queues or QUEUES
    work(services.redis_url, queues, burst=arguments.burst, train_nice=services.train_nice)
    return 0


if __name__ == "__main__":
    sys.exit(main())
