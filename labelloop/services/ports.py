"""TCP ports on 127.0.0.1: given ones checked, free ones chosen, the last run's taken again."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from labelloop.errors import UsageError

PORTS_FILE = "ports.json"
#: Below the ports that the kernel gives to outgoing connections, one of which could take what was just found free.
_RANGE = range(20000, 32000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now, and nothing listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port of a server that has just ended is free
        try:
            line.bind(("127.0.0.1", port))
        except OSError:
            return False
    return all(_refuses(address, family, port) for address, family in _LOCAL)


_LOCAL = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))


def _refuses(address: str, family: socket.AddressFamily, port: int) -> bool:
    """Nothing answers there; a listener on all addresses may let a bind to one of them through."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as line:
            line.settimeout(0.5)
            return line.connect_ex((address, port)) != 0
    except OSError:
        return True  # no IPv6 here


def free_port(preferred: int | None = None, *, service: str = "the service", taken: Sequence[int] = ()) -> int:
    """`preferred` where it is free, else a free port. Raises UsageError when `preferred` is busy or no port number."""
    if preferred is not None:
        if not 1 <= preferred <= 65535:
            raise UsageError(f"port {preferred} for {service} is no port number; give one from 1 to 65535")
        if preferred in taken:
            raise UsageError(f"port {preferred} is given to two services; give {service} another one")
        if not is_free(preferred):
            raise UsageError(
                f"port {preferred} for {service} is busy; end the program that has it, or give another port or none"
            )
        return preferred
    for port in random.sample(_RANGE, 200):
        if port not in taken and is_free(port):
            return port
    raise UsageError(f"no free port for {service} among 200 tried from {_RANGE.start} to {_RANGE.stop - 1}")


def wanted_ports(given: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """ "SERVICE=PORT" texts as a mapping; UsageError for another shape or a service that is not `known`."""
    wanted: dict[str, int] = {}
    for text in given:
        name, _, number = text.partition("=")
        if name not in known or not number.isdigit():
            raise UsageError(
                f"--port {text!r}: expected SERVICE=PORT, as label-studio=8080; services: {', '.join(known)}"
            )
        wanted[name] = int(number)
    return wanted


def choose_ports(names: Sequence[str], given: Mapping[str, int | None], folder: Path) -> dict[str, int]:
    """Distinct ports for `names`: the given one, else that of the last run in `folder` while free, else any free one.

    Addresses in Label Studio (backends, webhooks) and bookmarks outlive a run, so ports are kept. Raises UsageError.
    """
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise UsageError(f"a port is given for {', '.join(unknown)}; known services: {', '.join(names)}")
    chosen: dict[str, int] = {}
    for name in names:  # given ones first, so that no chosen one takes them
        if given.get(name) is not None:
            chosen[name] = free_port(given[name], service=name, taken=list(chosen.values()))
    last = _last_ports(folder)
    for name in names:
        if name not in chosen:
            again = last.get(name)
            usable = again is not None and again not in chosen.values() and is_free(again)
            chosen[name] = again if again is not None and usable else free_port(taken=list(chosen.values()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PORTS_FILE).write_text(json.dumps({**last, **chosen}, indent=1), encoding="utf-8")
    return {name: chosen[name] for name in names}


def _last_ports(folder: Path) -> dict[str, int]:
    try:
        raw = json.loads((folder / PORTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(raw, dict):
        return {}
    return {name: port for name, port in raw.items() if isinstance(port, int) and 1 <= port <= 65535}
