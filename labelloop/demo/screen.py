"""What a person sees while the demo runs: the stages, one line per project, and a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from labelloop.services.local import LocalRun

#: Without a terminal a project's line is repeated at most this often.
PLAIN_EVERY_S = 15.0


class Screen:
    """Progress on a terminal (redrawn in place) or as plain lines where there is none."""

    def __init__(self, *, live: bool) -> None:
        self.console = Console(highlight=False)
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()
        self._projects: dict[str, dict[str, Any]] = {}
        self._printed: dict[str, tuple[float, str]] = {}
        self._stage = ""
        live = live and sys.stdout.isatty()
        self._live = Live(console=self.console, refresh_per_second=2, transient=True) if live else None

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """One line, with the time since the start."""
        self.console.print(f"[{time.monotonic() - self._began:6.1f} s] {line}", markup=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage: announced, and timed into `seconds`."""
        began = time.monotonic()
        self._stage = name
        self.say(f"== {name}")
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - began, 1)

    def project(self, title: str, *, labels: int, goal: int, version: str, state: str) -> None:
        """Where one project stands."""
        self._projects[title] = {"labels": labels, "goal": goal, "version": version, "state": state}
        if self._live:
            self._live.update(self._picture())
            return
        line = f"{title}: {labels} of {goal} training labels, serves {version}, {state}"
        at, printed = self._printed.get(title, (0.0, ""))
        told = line.partition(" of ")[2]
        if time.monotonic() - at >= PLAIN_EVERY_S or told != printed:
            self._printed[title] = (time.monotonic(), told)
            self.say(line)

    def _picture(self) -> Group:
        table = Table("project", "training labels", "", "serves", "now", box=None, pad_edge=False)
        for title, row in self._projects.items():
            done = min(row["labels"], row["goal"])
            bar = ProgressBar(total=row["goal"], completed=done, width=24)
            table.add_row(title, f"{row['labels']}/{row['goal']}", bar, row["version"], row["state"])
        return Group(Text(f"stage: {self._stage}"), table)

    def table(self, summary: Mapping[str, Any], running: LocalRun) -> None:
        """The end: a table of projects, the checks that failed, addresses and the login."""
        table = Table(title="what the demo showed")
        for head in ("project", "labels", "versions", "holdout", "order (tau)", "agreement", "exported"):
            table.add_column(head)
        for row in summary["projects"].values():
            metric, agreement = row["holdout_metric"], row["agreement"]
            table.add_row(
                row["title"], str(row["labels"]), str(row["model_versions"]),
                f"{metric['name']} {_short(metric['first'])} -> {_short(metric['last'])}",
                _short(row["next_order_kendall_tau"]), f"{agreement['name']} {_short(agreement['value'])}",
                f"{row['exported']['items']} in {row['exported']['format']}",
            )  # fmt: skip
        self.console.print(table)
        failed = [check for check in summary["checks"] if not check["ok"]]
        for check in failed:
            self.say(f"FAILED  {check['name']}: {check['value']}, must be {check['must_be']}")
        held = len(summary["checks"]) - len(failed)
        self.say(f"{held} of {len(summary['checks'])} checks hold; {summary['seconds']:.0f} s, "
                 f"{summary['peak_memory_mb']:.0f} MB at most")  # fmt: skip
        self.say(f"Label Studio: {running.services.label_studio_url}   MLflow: {running.services.mlflow_uri}")
        if running.credentials is not None:
            self.say(
                f"log in as {running.credentials.username}; the password is in {running.services.data}/credentials.json"
            )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
