"""Starts services in the order of their needs, watches them, and stops all of them, whatever happens to itself.

A small one of our own: the kept libraries start processes, but none has order by need, health checks, a log per process
and an end that survives SIGKILL together.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType

import psutil

from labelloop.errors import ServiceError
from labelloop.services import launch, processes
from labelloop.services.service_logs import end_in_words, keep_earlier_log, last_lines
from labelloop.services.spec import ServiceSpec, ServiceStatus, State, start_order
from labelloop.services.state import (
    FolderLock,
    RunningService,
    RunningState,
    clear_state,
    end_leftovers,
    own_identity,
    write_state,
)
from labelloop.settings import inherited_environment

Report = Callable[[str], None]

_RESTART_WINDOW_S = 600.0
_SAMPLE_S = 3.0


class _Service:
    """A spec and its process at this moment."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.state: State = "waiting"
        self.since = time.monotonic()
        self.process: subprocess.Popen[bytes] | None = None
        self.created = 0.0
        self.detail = ""
        self.deaths: list[float] = []
        self.was_ready = False
        self.next_word_s = 0.0

    def enter(self, state: State, detail: str = "") -> None:
        self.state, self.detail, self.since = state, detail, time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.since


class Supervisor:
    """Runs the services of one data folder. Use it as a context: leaving it stops everything.

    One thread of its own starts, watches and stops the processes: Linux sends the parent-death signal when the THREAD
    that started a process ends, so that must not be a passing one.
    """

    def __init__(
        self,
        specs: Sequence[ServiceSpec],
        folder: Path,
        report: Report,
        *,
        slow_after_s: float = 10.0,
        lock: FolderLock | None = None,
    ) -> None:
        self._levels = start_order(specs)
        self._services = {spec.name: _Service(spec) for spec in specs}
        self.folder = folder.absolute()
        self._report = report
        self._slow_after_s = slow_after_s
        self.run = uuid.uuid4().hex
        self.failure: ServiceError | None = None
        self._lock = lock or FolderLock(self.folder)
        self._guard: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._sampler: threading.Thread | None = None
        self._peak_mb = 0.0

    # -- for the caller -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until all are ready.

        Raises UsageError when another supervisor has the folder, ServiceError when a service fails (then all stop).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            for line in end_leftovers(self.folder):
                self._report(f"ended a process that an earlier run had left: {line[:120]}")
            self._start_guard()
            self._thread = threading.Thread(target=self._loop, name="labelloop-services", daemon=True)
            self._thread.start()
            self._sampler = threading.Thread(target=self._sample_memory, name="labelloop-memory", daemon=True)
            self._sampler.start()
            with self._wake:
                while not self.failure and not all(s.state == "ready" for s in self._services.values()):
                    self._wake.wait(0.5)
            self.raise_failure()
        except BaseException:
            self.stop()
            raise

    def raise_failure(self) -> None:
        """Raise the ServiceError of a service that failed for good, if one did."""
        if self.failure is not None:
            raise self.failure

    def wait(self, timeout_s: float | None = None) -> None:
        """Return after `timeout_s` (None: never) while all is well; ServiceError once a service fails for good."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._wake:
            while not self._stopping.is_set() and (until is None or time.monotonic() < until):
                self.raise_failure()
                self._wake.wait(0.5 if until is None else min(0.5, max(0.0, until - time.monotonic())))
        self.raise_failure()

    def stop(self) -> None:
        """Stop everything, last started first; afterwards no process, port, lock or state file of this run is left.

        An interrupt meanwhile (a second Ctrl-C) shortens the wait for services that are slow to end.
        """
        self._stopping.set()
        while True:
            try:
                self._finish()
                return
            except KeyboardInterrupt:
                self._hurry.set()

    def _finish(self) -> None:
        for thread in (self._thread, self._sampler):
            if thread is not None:
                thread.join()
        processes.kill_marked(self.run)
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()
        clear_state(self.folder, self.run)
        self._lock.release()

    def status(self) -> dict[str, ServiceStatus]:
        """Where each service stands, in the order of their start."""
        return {
            s.spec.name: ServiceStatus(
                s.state, s.seconds(), s.process.pid if s.process else None, s.detail, len(s.deaths)
            )
            for s in self._services.values()
        }

    def memory_mb(self) -> float:
        """PSS in MB (10**6 bytes) of all services, of this process and of everything else that it started."""
        return processes.memory_mb(own_identity()[0])

    def memory_mb_by_service(self) -> dict[str, float]:
        """PSS in MB of each running service with its descendants."""
        running = {s.spec.name: s.process for s in self._services.values() if s.process is not None}
        return {name: processes.memory_mb(process.pid) for name, process in running.items()}

    def peak_memory_mb(self) -> float:
        """The largest `memory_mb()` seen so far, sampled every few seconds."""
        return self._peak_mb

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- the thread that owns the processes -------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while not self._stopping.is_set():
                for service in self._services.values():
                    if not self._stopping.is_set() and self.failure is None:
                        self._step(service)
                with self._wake:
                    self._wake.notify_all()
                starting = any(s.state != "ready" for s in self._services.values())
                self._stopping.wait(0.1 if starting else 0.5)
        except Exception as error:  # a fault of ours must reach the caller, who waits for this thread
            self.failure = ServiceError(f"the supervisor failed: {type(error).__name__}: {error}")
            with self._wake:
                self._wake.notify_all()
            self._stopping.wait()
        finally:
            self._stop_all()

    def _step(self, service: _Service) -> None:
        try:
            if service.state == "waiting":
                if all(self._services[need].state == "ready" for need in service.spec.after):
                    self._spawn(service)
            elif service.state == "restarting":
                if service.seconds() >= 2.0 ** (len(service.deaths) - 1):
                    self._spawn(service)
            elif service.state == "starting":
                self._watch_start(service)
            elif service.state == "ready" and service.process is not None:
                code = service.process.poll()
                if code is not None:
                    self._died(service, end_in_words(code))
        except ServiceError as error:
            self._fail(service, str(error))

    def _spawn(self, service: _Service) -> None:
        spec = service.spec
        if shutil.which(spec.command[0], path=spec.env.get("PATH")) is None:
            raise ServiceError(f"{spec.name}: the program {spec.command[0]} does not exist or cannot be executed")
        keep_earlier_log(spec.log)
        own_pid = own_identity()[0]
        with spec.log.open("wb") as log:
            service.process = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, str(own_pid), *spec.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**spec.env, processes.MARK: self.run},
                cwd=spec.cwd,
                start_new_session=True,
            )
        with contextlib.suppress(psutil.NoSuchProcess):
            service.created = psutil.Process(service.process.pid).create_time()
        service.enter("starting")
        service.next_word_s = self._slow_after_s
        self._write_state()

    def _watch_start(self, service: _Service) -> None:
        spec, process = service.spec, service.process
        if process is None:
            return
        code = process.poll()
        if code is not None:
            self._died(service, end_in_words(code) + " before it was ready")
            return
        waits_for = spec.ready()
        if waits_for is None:
            if spec.check is not None:
                spec.check(process.pid)
            self._report(
                f"{spec.name}: ready after {service.seconds():.1f} s" + (f" at {spec.url}" if spec.url else "")
            )
            service.was_ready = True
            service.enter("ready")
            return
        service.detail = waits_for
        if service.seconds() > spec.ready_timeout_s:
            self._kill(service)
            self._died(service, f"was not ready within {spec.ready_timeout_s:.0f} s ({waits_for})")
        elif service.seconds() >= service.next_word_s:
            self._report(f"{spec.name}: starting {service.seconds():.0f} s, {waits_for}; log: {spec.log}")
            service.next_word_s += 1.5 * self._slow_after_s

    def _died(self, service: _Service, how: str) -> None:
        """Restart it where that is allowed, else fail."""
        spec, now = service.spec, time.monotonic()
        if service.process is not None:
            self._kill(service)  # what it started itself must not run beside its successor
        service.deaths = [at for at in service.deaths if now - at < _RESTART_WINDOW_S]
        if not service.was_ready or len(service.deaths) >= spec.restarts:
            tail = "\n  ".join(last_lines(spec.log)) or "(empty)"
            raise ServiceError(f"{spec.name} {how}; the last lines of its log {spec.log}:\n  {tail}")
        service.deaths.append(now)
        wait_s = 2.0 ** (len(service.deaths) - 1)
        self._report(
            f"{spec.name}: {how}; starting it again in {wait_s:.0f} s "
            f"({len(service.deaths)} of {spec.restarts} times in ten minutes); log: {spec.log}"
        )
        service.enter("restarting", how)

    def _fail(self, service: _Service, message: str) -> None:
        service.enter("failed", message)
        if self.failure is None:
            self.failure = ServiceError(message)
            self._report(message)
        with self._wake:
            self._wake.notify_all()

    def _kill(self, service: _Service) -> None:
        if service.process is None:
            return
        pid = service.process.pid
        # once it is reaped its id may be another's, so only what carries our mark is touched
        members = processes.family(pid) if service.process.poll() is None else []
        processes.kill({*members, *processes.marked_in_session(self.run, pid)})
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.process.wait(5)

    def _stop_all(self) -> None:
        for level in reversed(self._levels):
            members = {name: self._ask_to_end(self._services[name]) for name in level}
            until = {name: time.monotonic() + self._services[name].spec.grace_s for name in level}
            while any(members.values()) and not self._hurry.is_set():
                members = {
                    name: processes.still_running(left, 0.0) if time.monotonic() < until[name] else []
                    for name, left in members.items()
                }
                self._hurry.wait(0.05)
            for name in level:
                self._kill(self._services[name])
                self._services[name].enter("stopped")

    def _ask_to_end(self, service: _Service) -> list[psutil.Process]:
        if service.process is None or service.process.poll() is not None:
            return []
        return processes.ask_to_end(service.process.pid, service.spec.stop_signal)

    def _write_state(self) -> None:
        pid, created = own_identity()
        running = {
            s.spec.name: RunningService(s.process.pid, s.created, s.spec.url, s.spec.port, str(s.spec.log))
            for s in self._services.values()
            if s.process is not None
        }
        write_state(self.folder, RunningState(pid, created, self.run, running))

    def _start_guard(self) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "labelloop.services.guard", self.run, str(self.folder), str(own_identity()[0])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=inherited_environment(),
            start_new_session=True,
        )

    def _sample_memory(self) -> None:
        while not self._stopping.is_set():
            self._peak_mb = max(self._peak_mb, self.memory_mb())
            self._stopping.wait(_SAMPLE_S)


@contextlib.contextmanager
def interrupted_by_terminate() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP act as Ctrl-C does, so that `labelloop down` ends a run well. Main thread only."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    # SIGINT too: a shell that starts labelloop in the background leaves it ignored
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
