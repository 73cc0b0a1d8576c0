"""The log file of each service, and how its end reads in words."""

from __future__ import annotations

import signal
from pathlib import Path

_KEPT_LOGS = 3


def last_lines(log: Path, count: int = 15) -> list[str]:
    """The last lines of a log file that are not empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line[:400] for line in text.splitlines() if line.strip()][-count:]


def keep_earlier_log(log: Path) -> None:
    """Move `log` to `log.1`, that to `log.2`, and forget the oldest."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for number in range(_KEPT_LOGS, 0, -1):
        earlier = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if earlier.exists():
            earlier.replace(log.with_name(f"{log.name}.{number}"))


def end_in_words(code: int) -> str:
    """How a process ended, from its return code (negative: the signal that ended it)."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}" + (" (is the machine out of memory?)" if name == "SIGKILL" else "")
