"""What runs in a data folder: a lock that one supervisor holds, and a file that tells others what it started."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from labelloop.errors import ServiceError, UsageError
from labelloop.services.processes import is_same, kill_marked, marked

STATE_FILE = "services.json"
LOCK_FILE = "services.lock"


@dataclass(frozen=True)
class RunningService:
    """One service of a running supervisor; `created` is its process's start in seconds since 1970."""

    pid: int
    created: float
    url: str | None = None
    port: int | None = None
    log: str = ""

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return is_same(self.pid, self.created)


@dataclass(frozen=True)
class RunningState:
    """A supervisor and its services; `run` is the mark that all its processes carry."""

    pid: int
    created: float
    run: str
    services: Mapping[str, RunningService] = field(default_factory=dict)

    def alive(self) -> bool:
        """Whether the supervisor still runs."""
        return is_same(self.pid, self.created)


def write_state(folder: Path, state: RunningState) -> None:
    """Replace the state file in one step."""
    new = folder / (STATE_FILE + ".new")
    new.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    new.replace(folder / STATE_FILE)


def _stored_state(folder: Path) -> RunningState | None:
    try:
        raw = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        services = {name: RunningService(**one) for name, one in raw.pop("services").items()}
        return RunningState(services=services, **raw)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None  # half a file of an older release: nothing in it can be relied on


def read_state(folder: Path) -> RunningState | None:
    """What runs in this data folder; None when nothing does, also when a file is left of a run that is over."""
    state = _stored_state(folder)
    return state if state is not None and state.alive() else None


def clear_state(folder: Path, run: str | None = None) -> None:
    """Remove the state file, if it is that of `run` (None: of any run)."""
    state = _stored_state(folder)
    if run is None or state is None or state.run == run:
        (folder / STATE_FILE).unlink(missing_ok=True)


def end_leftovers(folder: Path) -> list[str]:
    """Kill what a dead supervisor left running in this folder; returns the command lines of what was killed."""
    state = _stored_state(folder)
    if state is None or state.alive():
        return []
    left = [" ".join(process.cmdline()) for process in marked(state.run)]
    kill_marked(state.run)
    clear_state(folder)
    return left


def down(folder: Path, wait_s: float = 60.0) -> bool:
    """Stop what runs in this data folder; False when nothing ran. Raises ServiceError when it does not stop in time."""
    state = read_state(folder)
    if state is None:
        return bool(end_leftovers(folder))
    os.kill(state.pid, signal.SIGTERM)
    until = time.monotonic() + wait_s
    while (state.alive() or marked(state.run)) and time.monotonic() < until:
        time.sleep(0.1)
    if state.alive():
        raise ServiceError(
            f"labelloop (process {state.pid}) did not stop within {wait_s:.0f} s; end it with 'kill -9 {state.pid}', "
            "its services end with it"
        )
    kill_marked(state.run)
    clear_state(folder, state.run)
    return True


class FolderLock:
    """Holds a data folder for this process; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise UsageError that names the process holding it."""
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
                os.close(fd)
                raise UsageError(
                    f"{self.path.parent} is in use by labelloop, process {holder}; stop that one first "
                    "('labelloop down' or Ctrl-C in its terminal), or set LABELLOOP_DATA to another folder"
                ) from None
            if self._is_current(fd):
                os.ftruncate(fd, 0)
                os.write(fd, str(os.getpid()).encode())
                self._fd = fd
            else:
                os.close(fd)

    def _is_current(self, fd: int) -> bool:
        """Whether the path still names the file that was locked: its last holder removes it."""
        try:
            return os.fstat(fd).st_ino == os.stat(self.path).st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the file and let go."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def own_identity() -> tuple[int, float]:
    """This process's id and start time."""
    return os.getpid(), psutil.Process().create_time()
