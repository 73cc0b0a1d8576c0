"""The supervisor over small real processes: order, health, failures, restarts, and an end that leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from labelloop.errors import ServiceError, UsageError
from labelloop.services.ports import free_port, is_free
from labelloop.services.processes import MARK, is_same, marked
from labelloop.services.readiness import http_ready, log_event_ready, owns_port
from labelloop.services.spec import ServiceSpec
from labelloop.services.state import LOCK_FILE, STATE_FILE, down, read_state
from labelloop.services.supervisor import Supervisor

pytestmark = pytest.mark.integration

READY = 'print(\'{"event": "ready"}\', flush=True)'
SLEEP = "import time\ntime.sleep(600)"
#: Two generations below the service, the last one in a session of its own; the pids go to the log.
FORKING = f"""
import os, subprocess, sys
child = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
child += " start_new_session=True); print(p.pid, flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
{READY}
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def service(folder: Path, name: str, code: str = READY + "\n" + SLEEP, **over: object) -> ServiceSpec:
    log = folder / "logs" / f"{name}.log"
    given: dict[str, object] = {
        "name": name,
        "command": (sys.executable, "-c", code),
        "env": {"PATH": os.defpath},
        "log": log,
        "ready": log_event_ready(log),
        "ready_timeout_s": 30.0,
        "grace_s": 5.0,
        **over,
    }
    return ServiceSpec(**given)  # type: ignore[arg-type]


def web_service(folder: Path, name: str, port: int) -> ServiceSpec:
    code = f"from http.server import *\nHTTPServer(('127.0.0.1', {port}), SimpleHTTPRequestHandler).serve_forever()"
    ready = http_ready(f"http://127.0.0.1:{port}/")
    return service(folder, name, code, ready=ready, port=port, check=owns_port(name, port))


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def nothing_left(supervisor: Supervisor) -> bool:
    return not marked(supervisor.run) and not any(
        (supervisor.folder / name).exists() for name in (STATE_FILE, LOCK_FILE)
    )


def test_services_start_in_the_order_of_their_needs_and_stop_without_a_trace(tmp_path: Path) -> None:
    said: list[str] = []
    port = free_port()
    specs = [
        service(tmp_path, "last", after=("web", "first")),
        web_service(tmp_path, "web", port),
        service(tmp_path, "first"),
    ]
    supervisor = Supervisor(specs, tmp_path, said.append)
    with supervisor:
        ready = [line.split(":")[0] for line in said if "ready after" in line]
        assert ready[-1] == "last" and sorted(ready) == ["first", "last", "web"]
        assert {status.state for status in supervisor.status().values()} == {"ready"}
        state = read_state(tmp_path)
        assert state is not None and state.pid == os.getpid()
        assert all(one.alive() for one in state.services.values())
        by_service = supervisor.memory_mb_by_service()
        assert set(by_service) == {"web", "first", "last"} and all(mb > 1 for mb in by_service.values())
        assert supervisor.memory_mb() > sum(by_service.values())
        assert until(lambda: supervisor.peak_memory_mb() > 0)
    assert nothing_left(supervisor) and is_free(port)
    assert read_state(tmp_path) is None


def test_a_service_that_dies_at_its_start_is_named_with_its_code_its_last_lines_and_its_log(tmp_path: Path) -> None:
    code = "import sys\nprint('no such table: cats', flush=True)\nsys.exit(7)"
    supervisor = Supervisor([service(tmp_path, "good"), service(tmp_path, "bad", code)], tmp_path, lambda line: None)
    with pytest.raises(ServiceError) as caught:
        supervisor.start()
    message = str(caught.value)
    log = str(tmp_path / "logs" / "bad.log")
    assert all(part in message for part in ("bad", "exit code 7", "no such table: cats", log))
    assert nothing_left(supervisor)


def test_a_service_that_is_never_healthy_is_reported_slow_then_fails_and_all_is_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    never = service(tmp_path, "never", SLEEP, ready=lambda: "counting sheep", ready_timeout_s=1.5)
    supervisor = Supervisor([service(tmp_path, "good"), never], tmp_path, said.append, slow_after_s=0.5)
    with pytest.raises(ServiceError, match=r"never was not ready within 2 s \(counting sheep\)"):
        supervisor.start()
    slow = [line for line in said if line.startswith("never: starting")]
    assert slow and "counting sheep" in slow[0] and str(tmp_path / "logs" / "never.log") in slow[0]
    assert nothing_left(supervisor)


def test_a_missing_program_is_one_clear_line(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, "gone", command=("/nowhere/program",))], tmp_path, lambda line: None)
    with pytest.raises(ServiceError, match="gone: the program /nowhere/program does not exist"):
        supervisor.start()
    assert nothing_left(supervisor)


def test_a_death_is_repaired_a_bounded_number_of_times_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor([service(tmp_path, "weak", restarts=1)], tmp_path, said.append)
    with supervisor:
        first = supervisor.status()["weak"].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert until(lambda: supervisor.status()["weak"].pid != first and supervisor.status()["weak"].state == "ready")
        assert any("SIGKILL" in line and "1 of 1 times" in line for line in said)
        assert (tmp_path / "logs" / "weak.log.1").exists()
        supervisor.raise_failure()
        second = supervisor.status()["weak"].pid
        assert second is not None
        os.kill(second, signal.SIGKILL)
        with pytest.raises(ServiceError, match="weak was ended by SIGKILL"):
            supervisor.wait(20)
    assert nothing_left(supervisor)


def test_the_whole_tree_ends_also_when_it_ignores_the_signal(tmp_path: Path) -> None:
    specs = [service(tmp_path, "tree", STUBBORN + FORKING + SLEEP, grace_s=0.5)]
    supervisor = Supervisor(specs, tmp_path, lambda line: None)
    with supervisor:
        assert until(lambda: len(marked(supervisor.run)) == 3)
        members = marked(supervisor.run)
    assert nothing_left(supervisor)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in members)


def test_another_program_on_the_port_is_not_taken_for_the_service(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        spec = service(tmp_path, "web", SLEEP, ready=lambda: None, port=port, check=owns_port("web", port))
        supervisor = Supervisor([spec], tmp_path, lambda line: None)
        with pytest.raises(ServiceError, match=f"web: something else answers on port {port}"):
            supervisor.start()
    assert nothing_left(supervisor)


RUNNER = """
import sys
from pathlib import Path
from labelloop.services.readiness import log_event_ready
from labelloop.services.spec import ServiceSpec
from labelloop.services.supervisor import Supervisor, interrupted_by_terminate

folder, codes = Path(sys.argv[1]), sys.argv[2:]
specs = []
for number, code in enumerate(codes):
    log = folder / f"s{number}.log"
    specs.append(ServiceSpec(f"s{number}", (sys.executable, "-c", code), {}, log, log_event_ready(log), grace_s=3.0))
try:
    with interrupted_by_terminate(), Supervisor(specs, folder, print) as supervisor:
        print("RUN", supervisor.run, flush=True)
        supervisor.wait()
except KeyboardInterrupt:
    sys.exit(130)
"""


def run_supervisor(folder: Path, *codes: str) -> tuple[subprocess.Popen[str], str]:
    """A supervisor in a process of its own, once all its services are ready; and the mark of its run."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUNNER), str(folder), *codes], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("RUN "):
            return process, line.split()[1]
    raise AssertionError(f"the supervisor ended with {process.wait()}")


def listener(port: int) -> str:
    return f"import socket, time\ns = socket.create_server(('127.0.0.1', {port}))\n{READY}\ntime.sleep(600)"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_however_the_supervisor_ends_no_process_port_or_lock_is_left(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    port = free_port()
    process, run = run_supervisor(tmp_path, listener(port), STUBBORN + FORKING + SLEEP)
    assert process.stdout is not None
    with process.stdout:
        assert until(lambda: len(marked(run)) == 4) and not is_free(port)
        os.kill(process.pid, number)
        assert process.wait(30) == code
    assert until(lambda: not marked(run)) and is_free(port)
    assert until(lambda: not (tmp_path / STATE_FILE).exists() and not (tmp_path / LOCK_FILE).exists())


def test_a_second_supervisor_is_refused_and_down_ends_the_first(tmp_path: Path) -> None:
    process, run = run_supervisor(tmp_path, READY + "\n" + SLEEP)
    assert process.stdout is not None
    with process.stdout:
        state = read_state(tmp_path)
        assert state is not None and state.pid == process.pid and state.services["s0"].alive()
        with pytest.raises(UsageError, match=f"in use by labelloop, process {process.pid}"):
            Supervisor([service(tmp_path, "s0")], tmp_path, print).start()
        assert len(marked(run)) == 1  # the refused one has touched nothing
        assert down(tmp_path) is True
        assert process.wait(10) == 130
    assert not marked(run) and down(tmp_path) is False


def test_what_a_dead_run_left_is_ended_by_the_next(tmp_path: Path) -> None:
    """Supervisor and guard killed together: what is left is known by its mark."""
    process, run = run_supervisor(tmp_path, FORKING + SLEEP)
    assert process.stdout is not None
    with process.stdout:
        assert until(lambda: len(marked(run)) == 3)
        guards = [child for child in psutil.Process(process.pid).children() if MARK not in child.environ()]
        assert len(guards) == 1
        guards[0].kill()
        process.kill()
        process.wait(10)
    assert until(lambda: len(marked(run)) == 2)  # the service itself went with its parent, its children did not
    assert read_state(tmp_path) is None
    said: list[str] = []
    with Supervisor([service(tmp_path, "next")], tmp_path, said.append):
        assert not marked(run)
    assert sum("earlier run had left" in line for line in said) == 2


def test_a_reused_process_id_is_not_taken_for_the_service() -> None:
    created = psutil.Process().create_time()
    assert is_same(os.getpid(), created)
    assert not is_same(os.getpid(), created - 3600)
