"""The published label-studio-ml beside labelloop, in an environment made once, and its server as docs/plugin.md starts it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

import httpx
from uv import find_uv_bin

from labelloop.settings import ServiceSettings, inherited_environment, service_environment

ROOT = Path(__file__).resolve().parents[2]
ENVS = Path(os.environ.get("LABELLOOP_DATA", ROOT / ".labelloop")).absolute() / "envs"
GUIDE = (ROOT / "docs" / "plugin.md").read_text(encoding="utf-8")
#: What label-studio-ml 1.0.9 pins to versions of its own time; everything else is as in this environment.
PINNED_BY_IT = {"flask", "jinja2", "itsdangerous", "werkzeug", "labelloop"}


def command_of_the_guide(start: str) -> list[str]:
    """The words of the command in docs/plugin.md that begins like this."""
    [found] = re.findall(rf"^{re.escape(start)}.*$", GUIDE, re.MULTILINE)
    return shlex.split(found)


def model_of_the_guide() -> str:
    """The model.py of docs/plugin.md."""
    [found] = re.findall(r"```python\n(from backends\.plugin .*?)```", GUIDE, re.DOTALL)
    return str(found)


def plugin_environment() -> Path:
    """The folder of an environment in which the guide's installation was made, resolved with this interpreter."""
    wanted = command_of_the_guide("pip install")[2:]
    here = {dist.name: dist.version for dist in distributions() if dist.name.lower() not in PINNED_BY_IT}
    constraints = "".join(f"{name}=={here[name]}\n" for name in sorted(here))
    stamp = hashlib.sha256(
        "\n".join(
            [*wanted, constraints, (ROOT / "pyproject.toml").read_text(encoding="utf-8"), str(ROOT), sys.version]
        ).encode()
    ).hexdigest()
    folder = ENVS / "label-studio-ml-1.0.9"
    ENVS.mkdir(parents=True, exist_ok=True)
    with (ENVS / "label-studio-ml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "labelloop-complete"
        if not (done.is_file() and done.read_text(encoding="utf-8") == stamp):
            shutil.rmtree(folder, ignore_errors=True)
            _run([find_uv_bin(), "venv", "--no-project", "--python", sys.executable, str(folder)])
            file = folder / "constraints.txt"
            file.write_text(constraints, encoding="utf-8")
            target = ["--python", str(folder / "bin" / "python"), "--constraint", str(file)]
            _run([find_uv_bin(), "pip", "install", "--no-progress", *target, *wanted])
            done.write_text(stamp, encoding="utf-8")
    return folder


def _run(command: list[str], **where: str | dict[str, str]) -> None:
    ran = subprocess.run(
        command,
        cwd=where.get("cwd", ROOT),
        env=where.get("env") or {k: v for k, v in inherited_environment().items() if k != "VIRTUAL_ENV"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert ran.returncode == 0, f"{shlex.join(command)}\n{ran.stdout}\n{ran.stderr}"


@contextmanager
def published_server(folder: Path, services: ServiceSettings, port: int, preface: str = "") -> Iterator[httpx.Client]:
    """The real server of label-studio-ml 1.0.9, on the guide's model.py with `preface` before it; log: server.log."""
    programs = plugin_environment() / "bin"
    environment = inherited_environment() | service_environment(services)
    environment |= {"PATH": f"{programs}{os.pathsep}{environment['PATH']}", "PYTHONNOUSERSITE": "1"}
    (folder / "model.py").write_text(preface + model_of_the_guide(), encoding="utf-8")
    program = str(programs / "label-studio-ml")
    _run([program, *command_of_the_guide("label-studio-ml init")[1:]], cwd=str(folder), env=environment)
    log = folder / "server.log"
    with log.open("wb") as stream:
        running = subprocess.Popen(
            [program, *command_of_the_guide("label-studio-ml start")[1:], "--port", str(port)],
            cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False, auth=services.backend_login
    ) as client:
        try:
            end = time.monotonic() + 240
            while not _answers(client):
                assert running.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
                time.sleep(0.2)
            yield client
        finally:  # the command starts its server through a shell, so the whole group has to go
            os.killpg(running.pid, signal.SIGTERM)
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False
