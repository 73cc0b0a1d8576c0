"""Labelled tasks that show nearly what a holdout task shows: a model that learned them would be judged by what it knows."""

from __future__ import annotations

from pathlib import Path

from labelloop.datasets import read_dataset
from sync.folds import groups_of


def leave_out_copies(folder: Path) -> dict[int, int]:
    """Take the labels of such tasks out of a materialised dataset's training part; each task with the holdout task it copies.

    Ingest gives copies one role. These came in some other way, as by a person's import in Label Studio, or were near by
    another measure when they came.
    """
    import polars as pl

    dataset = read_dataset(folder)
    labelled = set(dataset.labels.filter(pl.col("is_truth"))["task_id"].to_list())
    split = dict(dataset.tasks.select("task_id", "split").iter_rows())
    groups = groups_of(dataset)
    held = {groups[task]: task for task in sorted(labelled, reverse=True) if split.get(task) == "holdout"}
    copies = {
        task: held[groups[task]]
        for task in sorted(labelled)
        if split.get(task) != "holdout" and groups.get(task) in held
    }
    if copies:
        for name, table in (("labels", dataset.labels), ("regions", dataset.regions)):
            table.filter(~pl.col("task_id").is_in(list(copies))).write_parquet(folder / f"{name}.parquet")
    return copies
