"""A near copy of a holdout task never trains, whichever way it came."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT
from training_steps import EVERY, attempts, held_out, opened, pooled, reconcile, train

from sync.freezing import lay_out, open_dataset
from sync.leaking_copies import leave_out_copies

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

LONG = "the ship left the harbour at dawn with nine people, two horses and a crate of lamps that nobody had asked for"


def test_a_copy_that_was_imported_later_is_left_out_of_the_training(tmp_path: Path) -> None:
    loop = opened(tmp_path)
    loop.fill(400)
    reconcile(loop)
    # Somebody imports texts in Label Studio itself: no ingest saw them. Several, as some may be held out too.
    for number in range(60):
        loop.remote.add_task(1001 + number, {"text": f"{LONG} {'!' * number}"})
    reconcile(loop)
    roles = {task.task_id: task.role for task in loop.store.tasks(PROJECT)}
    family = [1001 + number for number in range(60)]
    assert {roles[task] == "holdout" for task in family} == {True, False}, "on both sides, as their texts differ"
    ours = [task for task in family if roles[task] != "holdout"]
    loop.label([*held_out(loop), *pooled(loop)[:EVERY], *ours])
    assert reconcile(loop) is not None
    train(loop)
    [row] = attempts(loop)
    told = {int(task): reason for task, reason in row.metrics["left_out"].items()}
    # Other texts may be near by chance: they are of six words among eight.
    assert set(ours) <= set(told)
    copied = min(task for task in family if roles[task] == "holdout")
    assert {told[task] for task in ours} == {f"shows nearly the same as holdout task {copied}"}

    # What the trainer sees holds none of their labels, and all the others.
    frozen = open_dataset(loop.runtime.services.artifacts, row.dataset_id, tmp_path / "cache")
    folder, _ = lay_out(frozen, tmp_path / "laid", None, lambda: None)
    before = pl.read_parquet(folder / "labels.parquet")
    copies = leave_out_copies(folder)
    assert copies.keys() == told.keys() and {copies[task] for task in ours} == {copied}
    after = pl.read_parquet(folder / "labels.parquet")
    assert set(before["task_id"]) - set(after["task_id"]) == set(told)
    assert not set(pl.read_parquet(folder / "regions.parquet")["task_id"]) & set(told)
    assert row.metrics["labels"] == EVERY + len(ours) - len(told)
    assert leave_out_copies(folder) == {}
    loop.store.engine.dispose()
