"""`python -m benchmarks._training_load BACKEND DATASET OUT NICE THREADS`: trains again and again, as a work horse would."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from pathlib import Path

from backends import backend_module
from labelloop.values import Budget


def main(backend: str, dataset: str, out: str, nice: str, threads: str) -> None:
    """Train until killed; a line "fits" when the first training computes."""
    os.nice(int(nice))
    trainer = backend_module(backend).trainer()
    said = False

    def progress(share: float, message: str) -> None:
        nonlocal said
        if share > 0 and not said:
            print("fits", flush=True)
            said = True

    for number in itertools.count():
        folder = Path(out) / str(number)
        folder.mkdir(parents=True)
        trainer.fit(
            Path(dataset), folder, start=None, budget=Budget(seed=number, threads=int(threads)), progress=progress
        )
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
