"""Progress of a long command: a bar on a terminal, silence where a program reads the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable


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
