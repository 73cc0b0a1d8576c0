"""How one tells that a service works: each function returns a question that answers None, or what it waits for."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from labelloop.errors import ServiceError
from labelloop.services.processes import listens

Ready = Callable[[], str | None]


def http_status(url: str, headers: dict[str, str] | None = None, timeout_s: float = 1.0) -> tuple[int, bytes]:
    """Status and body of a GET without any proxy; status 0 and the reason when nothing answers."""
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(Request(url, headers=headers or {}), timeout=timeout_s) as answer:  # noqa: S310
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()
    except (URLError, OSError, ValueError) as error:
        return 0, str(error).encode()


def http_ready(url: str) -> Ready:
    """Ready when a GET of `url` answers 200."""

    def ask() -> str | None:
        status, _ = http_status(url)
        if status == 200:
            return None
        return f"waiting for {url}" + (f" (it answers {status})" if status else "")

    return ask


def redis_ready(port: int) -> Ready:
    """Ready when the Redis on this port of 127.0.0.1 answers PING."""

    def ask() -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as line:
                line.sendall(b"PING\r\n")
                answer = line.recv(200)
        except OSError:
            return f"waiting for port {port}"
        if answer.startswith(b"+PONG"):
            return None
        return "loading its data" if b"LOADING" in answer else f"it answers {answer[:60]!r} to PING"

    return ask


def log_event_ready(log: Path, event: str = "ready") -> Ready:
    """Ready when a line of the log is a JSON object with this `event`."""

    def ask() -> str | None:
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return None if any(_event(line) == event for line in lines) else f"waiting for its first {event!r} line"

    return ask


def _event(line: str) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return str(record.get("event")) if isinstance(record, dict) else None


def owns_port(name: str, port: int) -> Callable[[int], None]:
    """A check that the process (or a child of it) is what listens on the port, and not another program."""

    def check(pid: int) -> None:
        if not listens(pid, port):
            raise ServiceError(
                f"{name}: something else answers on port {port}; end that program, or give {name} another port"
            )

    return check
