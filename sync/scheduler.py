"""`python -m sync.scheduler`: one tick, under a lease, that marks projects dirty and asks for their reconcile."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from labelloop.errors import LabelloopError, LeaseLost
from labelloop.logs import configure_logging, error_fields
from labelloop.settings import load_settings
from labelloop.store.leases import HeldLease, holding
from labelloop.store.promotions import unserved
from labelloop.store.trainings import running_training
from sync.runtime import Runtime

log = logging.getLogger("sync.scheduler")

#: The tick's lease belongs to no project.
NO_PROJECT = 0
LEASE_TTL_S = 15.0
TICK_S = 1.0
#: A project with an unfinished training or promotion is looked at this often, however quiet Label Studio is.
UNFINISHED_EVERY_S = 10.0


class Ticker:
    """What one tick remembers: when each project was last marked."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._marked: dict[int, float] = {}

    def tick(self) -> None:
        """Mark the projects whose time has come, and ask for a reconcile of the dirty ones."""
        queue, now = self.runtime.queue, time.monotonic()
        for project in self.runtime.store.projects():
            project_id = project.project_id
            quiet = now - self._marked.get(project_id, -1e9)
            if quiet >= self.runtime.services.sweep_every_s or (
                quiet >= UNFINISHED_EVERY_S and self._unfinished(project_id)
            ):
                queue.mark_dirty(project_id)
                self._marked[project_id] = now
            if queue.is_dirty(project_id):
                queue.request_reconcile(project_id)

    def _unfinished(self, project_id: int) -> bool:
        store = self.runtime.store
        return running_training(store, project_id) is not None or bool(unserved(store, project_id))


def run(runtime: Runtime, stop: threading.Event) -> None:
    """Tick until `stop` is set; of several schedulers one ticks and the others wait for its lease."""
    log.info("ready")
    while not stop.is_set():
        try:
            with holding(runtime.store, NO_PROJECT, "tick", LEASE_TTL_S) as lease:
                if lease is not None:
                    _tick_while_held(Ticker(runtime), lease, stop)
        except (RedisError, SQLAlchemyError, LabelloopError) as error:
            log.warning("tick failed", extra=error_fields(error))
        stop.wait(TICK_S)


def _tick_while_held(ticker: Ticker, lease: HeldLease, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            lease.check()
        except LeaseLost:
            return
        ticker.tick()
        stop.wait(TICK_S)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scheduler; 2 for a wrong setting, with one line that says which."""
    parser = argparse.ArgumentParser(prog="python -m sync.scheduler", description="Mark projects dirty, once.")
    parser.add_argument("--config", type=Path, default=None, help="labelloop.yaml")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings(arguments.config)
    except LabelloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    configure_logging(settings.services.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(Runtime(settings), stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
