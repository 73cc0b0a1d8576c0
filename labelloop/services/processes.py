"""The processes of one run: found by family or by the mark in their environment, measured, stopped for good."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

#: Variable that every process started for one run inherits; by it a process whose parent died is still found.
MARK = "LABELLOOP_RUN"


def family(pid: int) -> list[psutil.Process]:
    """The process and its descendants, outermost first; empty when it is gone."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def marked(run: str) -> list[psutil.Process]:
    """Every process that carries the mark of this run, whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == run and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def marked_in_session(run: str, session: int) -> list[psutil.Process]:
    """The run's processes in the session that began with process `session`; they stay in it when their parent dies."""
    found = []
    for process in marked(run):
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found


def is_same(pid: int, created: float) -> bool:
    """Whether the process that had this id at `created` (seconds since 1970) still runs; ids are reused."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _runs(process: psutil.Process) -> bool:
    """Whether it still does anything: a zombie does not, and where nothing reaps orphans it stays for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def still_running(processes: Iterable[psutil.Process], wait_s: float) -> list[psutil.Process]:
    """Those that have not ended within `wait_s` seconds."""
    until = time.monotonic() + wait_s
    left = [process for process in processes if _runs(process)]
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = [process for process in left if _runs(process)]
    return left


def kill(processes: Iterable[psutil.Process], wait_s: float = 5.0) -> None:
    """SIGKILL to each, and wait until they are gone."""
    told = list(processes)
    for process in told:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    still_running(told, wait_s)


def ask_to_end(pid: int, gently: signal.Signals) -> list[psutil.Process]:
    """Send the signal to the process alone; returns its family as it was before, to be waited for."""
    members = family(pid)
    if members:
        with contextlib.suppress(psutil.NoSuchProcess):
            members[0].send_signal(gently)
    return members


def kill_marked(run: str, rounds: int = 5) -> None:
    """Kill every process of the run, again while new ones appear."""
    for _ in range(rounds):
        left = marked(run)
        if not left:
            return
        kill(left)


def memory_mb(pid: int) -> float:
    """PSS in MB (10**6 bytes) of the process and its descendants: shared pages count once (RSS without PSS)."""
    total = 0
    for process in family(pid):
        try:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
        except psutil.Error:
            continue
    return total / 1e6


def listens(pid: int, port: int) -> bool:
    """Whether the process or one of its descendants listens on this TCP port."""
    for process in family(pid):
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return True
    return False
