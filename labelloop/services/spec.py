"""What a service is: its command, how one tells that it works, and what must run before it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["waiting", "starting", "ready", "restarting", "failed", "stopped"]


@dataclass(frozen=True)
class ServiceSpec:
    """One process to run.

    `ready()` answers None when the service works, else in a few words what it waits for; it is asked several times
    a second, must return within about a second, and may raise ServiceError when waiting is useless. `check(pid)` is
    called once when ready and raises ServiceError when the service is not what it should be. `restarts` deaths in ten
    minutes are repaired; one more (or any before it was ready) is a failure. `log` holds the output of the current
    process only; earlier ones are `log.1` ...
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    log: Path
    ready: Callable[[], str | None]
    after: tuple[str, ...] = ()
    cwd: Path | None = None
    ready_timeout_s: float = 120.0
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    restarts: int = 0
    url: str | None = None
    port: int | None = None
    check: Callable[[int], None] | None = None


@dataclass(frozen=True)
class ServiceStatus:
    """Where one service stands; `seconds` since it entered `state`, `detail` what it waits for."""

    state: State
    seconds: float
    pid: int | None
    detail: str
    restarts: int


def start_order(specs: Sequence[ServiceSpec]) -> list[list[str]]:
    """Names in levels: all that a level needs is in earlier ones. Raises ValueError for an unknown need or a circle."""
    needs = {spec.name: set(spec.after) for spec in specs}
    if len(needs) != len(specs):
        raise ValueError("two services have the same name")
    unknown = {need for after in needs.values() for need in after} - set(needs)
    if unknown:
        raise ValueError(f"services are needed that are not there: {', '.join(sorted(unknown))}")
    levels: list[list[str]] = []
    done: set[str] = set()
    while len(done) < len(needs):
        level = [name for name, after in needs.items() if name not in done and after <= done]
        if not level:
            raise ValueError(f"these services need each other in a circle: {', '.join(sorted(set(needs) - done))}")
        levels.append(level)
        done |= set(level)
    return levels
