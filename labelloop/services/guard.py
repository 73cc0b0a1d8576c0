"""Outlives the supervisor by a moment: when that dies, however it dies, this ends every process of its run."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

from labelloop.errors import UsageError
from labelloop.services.processes import kill_marked
from labelloop.services.state import FolderLock, clear_state


def main(run: str, folder: Path, supervisor: int) -> None:
    """Wait until standard input closes (the supervisor holds the other end), then clean up after the run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # a process forked from the supervisor may hold the other end too: then the change of parent tells
    while os.getppid() == supervisor and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    kill_marked(run)
    clear_state(folder, run)
    lock = FolderLock(folder)
    with contextlib.suppress(UsageError):  # the next supervisor may have it already
        lock.acquire()
        lock.release()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
