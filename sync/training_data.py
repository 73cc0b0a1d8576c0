"""What a trainer is given of a frozen dataset: its media, one truth for each task, and no copy of a holdout task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labelloop.datasets import Dataset
from labelloop.task_items import Fetch
from sync.freezing import lay_out
from sync.fused_truths import Fusing, fuse_truths
from sync.leaking_copies import leave_out_copies


@dataclass(frozen=True)
class TrainingData:
    """A materialised dataset, the tasks that are left out with their reason, and what came of several people's labels."""

    folder: Path
    left_out: dict[int, str]
    fusing: Fusing


def lay_out_to_train(frozen: Dataset, folder: Path, fetch: Fetch | None, check: Callable[[], None]) -> TrainingData:
    """Materialise a dataset version into `folder` for a training or an evaluation; `check` may raise LeaseLost."""
    folder, failed = lay_out(frozen, folder, fetch, check)
    copies = leave_out_copies(folder)
    check()
    fusing = fuse_truths(folder)
    check()
    said = {task: f"shows nearly the same as holdout task {held}" for task, held in copies.items()}
    return TrainingData(folder, failed | said, fusing)
