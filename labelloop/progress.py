"""Progress of a long command on standard error: a bar on a terminal, else a line every few seconds; silence where asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO, Protocol

#: Without a terminal a line is written so often, so that a log shows life and stays short.
LINE_EVERY_S = 5.0


def progress_bar(label: str, *, silent: bool) -> Callable[[float, str], None]:
    """A callback (share done in [0, 1], short message); the bar goes away at 1."""
    if silent or not sys.stderr.isatty():
        return lambda _share, _message: None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=1.0)
    bar.start()

    def show(share: float, message: str) -> None:
        bar.update(task, completed=share, description=f"{label}: {message}")
        if share >= 1.0:
            bar.stop()

    return show


class Counting(Protocol):
    """Told how many of a stage's things are done; `total` is None where nobody knows it yet."""

    def __call__(self, stage: str, done: int, total: int | None = None) -> None:
        """Show it."""


def not_counted(stage: str, done: int, total: int | None = None) -> None:
    """Shows nothing."""


def progress_counter(
    label: str, *, silent: bool, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic
) -> Counting:
    """A callback (stage, done, total) that shows count, rate and the time that is left, stage by stage."""
    if silent:
        return not_counted
    return _Counter(label, stream or sys.stderr, clock)


class _Counter:
    """Writes over one line of a terminal, or lines of their own elsewhere; each stage ends with a line that stays."""

    def __init__(self, label: str, stream: IO[str], clock: Callable[[], float]) -> None:
        self._label, self._stream, self._clock = label, stream, clock
        self._stage, self._began, self._shown_at, self._line = "", 0.0, float("-inf"), ""
        self._at_start = 0

    def __call__(self, stage: str, done: int, total: int | None = None) -> None:
        now = self._clock()
        if stage != self._stage:
            self._stage, self._began, self._shown_at, self._at_start = stage, now, float("-inf"), done
        over = total is not None and done >= total
        every = 0.1 if self._stream.isatty() else LINE_EVERY_S
        if over or now - self._shown_at >= every:
            self._shown_at = now
            self._show(_line(self._label, stage, done, total, done - self._at_start, now - self._began), last=over)

    def _show(self, line: str, *, last: bool) -> None:
        if line == self._line:
            return
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[2K{line}" + ("\n" if last else ""))
        else:
            self._stream.write(line + "\n")
        self._line = line
        self._stream.flush()


def _line(label: str, stage: str, done: int, total: int | None, made: int, seconds: float) -> str:
    rate = made / seconds if seconds > 0 and made > 0 else None
    said = [f"{label}: {stage} {done:,}" + (f" of {total:,}" if total is not None else "")]
    if rate is not None:
        said.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
    if total is not None and done >= total:
        said.append(f"took {duration(seconds)}")
    elif total is not None and rate is not None:
        said.append(f"{duration((total - done) / rate)} left")
    return ", ".join(said)


def duration(seconds: float) -> str:
    """ "12 s", "3 min" or "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
