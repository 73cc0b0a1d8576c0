"""`python -m benchmarks._slow_worker LOG PAUSE_S QUEUE...`: a worker whose trainings pause wherever they may be killed.

Each training tells in the log, a JSON line each, when it begins, what it does and when it is over.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from backends import BACKENDS, BackendEntry

#: Else every work horse would import them, and most of a training's time, in which it is killed, would be that.
_PRELOADED = (
    "sync.training", "backends.sklearn_text.training", "backends.sklearn_text.artefact", "sklearn.linear_model",
    "sklearn.feature_extraction.text", "skops.io", "threadpoolctl", "mlflow", "mlflow.entities", "mlflow.tracking",
    "mlflow.store.artifact.mlflow_artifacts_repo",
)  # fmt: skip
LOG: Path | None = None
PAUSE_S = 0.0


def tell(event: str, step: str = "") -> None:
    """One line, whole or not at all: several processes write."""
    if LOG is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    line = {"event": event, "step": step, "pid": os.getpid(), "at": time.monotonic(), "nice": nice}
    place = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(place, orjson.dumps(line) + b"\n")
    finally:
        os.close(place)


def pause(step: str) -> None:
    """Stay in a step for a while, and say so often enough that the log shows until when this process lived."""
    end = time.monotonic() + PAUSE_S
    while time.monotonic() < end:
        tell("step", step)
        time.sleep(0.02)


def trainer() -> Any:
    """sklearn_text's trainer, slowed down."""
    from backends.sklearn_text.training import SklearnTrainer

    class SlowTrainer(SklearnTrainer):
        """Pauses at each step of its progress, and before it measures."""

        def fit(self, *args: Any, progress: Callable[[float, str], None], **more: Any) -> Any:
            def slowly(share: float, message: str) -> None:
                progress(share, message)
                pause(message)

            return super().fit(*args, progress=slowly, **more)

        def evaluate(self, *args: Any) -> Any:
            pause("measuring")
            return super().evaluate(*args)

    return SlowTrainer()


def load(version_dir: Path, **options: Any) -> Any:
    """sklearn_text's own."""
    return importlib.import_module("backends.sklearn_text").load(version_dir, **options)


def _slowed(owner: Any, name: str, step: str) -> None:
    real = getattr(owner, name)

    def slow(*args: Any, **more: Any) -> Any:
        pause(f"before {step}")
        done = real(*args, **more)
        pause(f"after {step}")
        return done

    setattr(owner, name, slow)


def slow_down() -> None:
    """Widen every moment at which something is half done: files published and not noted, noted and not registered."""
    from labelloop import folders
    from labelloop.registry import Registry
    from sync import jobs

    _slowed(folders, "publish", "publishing")
    _slowed(Registry, "_run", "logging the run")
    _slowed(Registry, "_version", "registering the version")
    real = jobs.train

    def told(project: int, dataset: str, attempt: int) -> None:
        tell("job")
        real(project, dataset, attempt)

    jobs.train = told
    from sync import training

    run = training._TrainingRun.run

    def run_told(self: Any) -> Any:
        tell("start", self.row.training_id)
        try:
            return run(self)
        finally:
            tell("end", self.row.training_id)

    training._TrainingRun.run = run_told  # type: ignore[method-assign]


def main(log: str, pause_s: str, *queues: str) -> int:
    """Work on these queues."""
    # The trainer is of the module as others import it, not of this one, which runs as `__main__`.
    own: Any = importlib.import_module("benchmarks._slow_worker")
    own.LOG, own.PAUSE_S = Path(log), float(pause_s)
    BACKENDS["sklearn_text"] = BackendEntry("benchmarks._slow_worker", "sklearn", ("sklearn", "skops"))
    own.slow_down()
    for library in _PRELOADED:
        importlib.import_module(library)
    from sync.worker import main as work

    return work(queues)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
