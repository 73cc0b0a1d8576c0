"""How long people wait for a live prediction while a training runs on the same machine, beside when none does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._backend_models import image_dataset, short_text, text_dataset, text_version
from benchmarks._backend_process import RunningBackend, running
from benchmarks._comparison import at_most
from labelloop.services.local import child_environment
from labelloop.settings import ServiceSettings

_ROOT = Path(__file__).resolve().parents[1]
#: While a training runs the 95th percentile may be at most so many times as long.
MOST = 3.0
ROUNDS = 5
#: Seconds between two requests: a person who labels fast, or ten of them.
PACE_S = 0.02
TEXTS = 20_000
DATASETS: dict[str, Callable[[Path], Path]] = {
    "sklearn_text": lambda folder: text_dataset(folder, TEXTS)[0],
    "yolo": lambda folder: image_dataset(folder)[0],
}


def latency_rows(requests: int, kinds: Sequence[str] = tuple(DATASETS)) -> list[dict[str, Any]]:
    """A row for each kind of training beside the same backend of texts; `requests` at rest, and as many in a training.

    Rounds with and without a training take turns, so that both see the same other load of the machine.
    """
    with tempfile.TemporaryDirectory(prefix="labelloop-latency-") as scratch:
        folder = Path(scratch)
        trained = text_version(folder / "served", "sklearn_text", lambda text: None)
        datasets = {kind: DATASETS[kind](folder / f"{kind}-dataset") for kind in kinds}
        data = [{"text": short_text(number)} for number in range(100)]
        threads = ServiceSettings().threads
        with running("sklearn_text", trained.version, trained.config, data, folder, threads=threads) as backend:
            _asked(backend, 50)
            return [_row(backend, name, dataset, folder / name, requests) for name, dataset in datasets.items()]


def _row(backend: RunningBackend, name: str, dataset: Path, folder: Path, requests: int) -> dict[str, Any]:
    services = ServiceSettings()
    seconds: dict[str, list[float]] = {"at rest": [], "training": [], "without nice": []}
    each = max(requests // ROUNDS, 20)
    for number in range(ROUNDS):
        seconds["at rest"] += _asked(backend, each)
        for side, nice in (("training", services.train_nice), ("without nice", 0)):
            with _training(name, dataset, folder / f"{number}-{nice}", nice, services):
                seconds[side] += _asked(backend, each)
    p95 = {side: 1000 * float(np.quantile(found, 0.95)) for side, found in seconds.items()}
    median = {side: 1000 * float(np.median(found)) for side, found in seconds.items()}
    return at_most(
        f"p95 of a live text while {name} trains, times that at rest", p95["training"] / p95["at rest"], MOST, unit="times",
        p95_ms={side: round(ms, 2) for side, ms in p95.items()},
        median_ms={side: round(ms, 2) for side, ms in median.items()}, requests=each * ROUNDS, cores=os.cpu_count(),
        load=[round(value, 1) for value in os.getloadavg()],
    )  # fmt: skip


def _asked(backend: RunningBackend, requests: int) -> list[float]:
    """Seconds of each request with one task, asked at an even pace."""
    found = []
    for _ in range(requests):
        found += backend.latencies(1)
        time.sleep(PACE_S)
    return found


@contextmanager
def _training(name: str, dataset: Path, out: Path, nice: int, services: ServiceSettings) -> Iterator[None]:
    """A process that trains meanwhile, with the priority and the threads of a work horse."""
    told = [name, str(dataset), str(out), str(nice), str(services.threads)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._training_load", *told],
        cwd=_ROOT, env=child_environment(services), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise RuntimeError("the training has no output")
        while line := process.stdout.readline():
            if line.strip() == b"fits":
                break
        else:
            raise RuntimeError(f"the training of {name} ended before it began")
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
