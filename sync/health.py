"""`python -m sync.health worker [QUEUE...]` or `scheduler`: whether they are alive, for a container's health check."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

from labelloop.errors import LabelloopError, ServiceDown
from labelloop.settings import ServiceSettings, load_settings


def worker_problem(services: ServiceSettings, queues: Sequence[str]) -> str | None:
    """Why no worker of this host is known to work on all these queues, or None; RQ forgets one that stops beating."""
    from redis import Redis
    from redis.exceptions import RedisError
    from rq import Worker
    from rq.serializers import JSONSerializer

    host = socket.gethostname()
    try:
        workers = Worker.all(connection=Redis.from_url(services.redis_url), serializer=JSONSerializer)
    except RedisError as error:
        raise ServiceDown(f"Redis does not answer: {error}") from error
    if any(worker.hostname == host and set(queues) <= set(worker.queue_names()) for worker in workers):
        return None
    return f"no worker of {host} on {', '.join(queues) or 'any queue'} is known to Redis; see its log"


def scheduler_problem(services: ServiceSettings) -> str | None:
    """Why nobody is ticking, or None; of several schedulers one holds the lease and answers for all."""
    from labelloop.store import open_store
    from labelloop.store.leases import held
    from sync.scheduler import NO_PROJECT

    store = open_store(services.database)
    try:
        return None if held(store, NO_PROJECT, "tick") else "no scheduler holds the tick's lease; see its log"
    finally:
        store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """0 when it is alive, 1 with one line that says why it is not taken to be."""
    parser = argparse.ArgumentParser(prog="python -m sync.health", description="Tell whether a process is alive.")
    parser.add_argument("of", choices=["worker", "scheduler"])
    parser.add_argument("queues", nargs="*", metavar="QUEUE")
    arguments = parser.parse_args(argv)
    try:
        services = load_settings().services
        problem = (
            worker_problem(services, arguments.queues) if arguments.of == "worker" else scheduler_problem(services)
        )
    except LabelloopError as error:
        problem = str(error)
    if problem is not None:
        print(problem, file=sys.stderr)
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
