"""Whether a stock Label Studio serves a long queue in the order that it is given: Kendall's tau over every first serving."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._comparison import at_least
from labelloop.label_studio import LabelStudio
from labelloop.services.local import up
from labelloop.settings import ServiceSettings
from sync.order_probe import probe_server

AT_LEAST = 0.99
_ENVS = Path(__file__).parents[1] / ".labelloop" / "envs"


def serving_rows(tasks: int) -> list[dict[str, Any]]:
    """One person asks for each task of a project of that many, and labels it."""
    with (
        tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as name,
        up(ServiceSettings(data=Path(name)), lambda line: None, names=("label-studio",), envs=_ENVS) as run,
        LabelStudio(run.services.label_studio_url, run.services.token()) as client,
    ):
        begun = time.perf_counter()
        probe = probe_server(client, tasks)
        took = time.perf_counter() - begun
    return [
        at_least(
            f"first servings of {tasks} tasks in order", probe.tau, AT_LEAST, f"at least {AT_LEAST:g}", unit="tau",
            equal=len(probe.served) == tasks, seconds=round(took, 1),
        )
    ]  # fmt: skip
