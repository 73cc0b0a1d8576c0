"""What the tests of trainings do with a loop on a Label Studio in memory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from fake_label_studio import PROJECT, Loop, make_loop
from sqlalchemy import update

from labelloop.store import TrainingRow
from labelloop.store.promotions import promotions_of
from labelloop.store.tables import trainings
from labelloop.store.trainings import trainings_of
from sync.reconcile import LOST_AFTER, reconcile_project
from sync.training import run_training

EVERY = 60


def opened(tmp_path: Path, **options: Any) -> Loop:
    return make_loop(
        tmp_path, ACTIVE_LEARNING__RETRAIN_EVERY_N_LABELS=str(EVERY), ACTIVE_LEARNING__BLIND_SHARE="0.05", **options
    )


def attempts(loop: Loop) -> list[TrainingRow]:
    return trainings_of(loop.store, PROJECT)


def reconcile(loop: Loop) -> str | None:
    done = reconcile_project(loop.runtime, PROJECT)
    assert done is not None
    return done.training_id


def train(loop: Loop) -> str | None:
    """Run the training that was queued last, as its job would."""
    row = attempts(loop)[-1]
    return run_training(loop.runtime, PROJECT, row.dataset_id, row.attempt)


def pooled(loop: Loop) -> list[int]:
    return [task.task_id for task in loop.store.tasks(PROJECT) if task.role in ("pool", "blind")]


def held_out(loop: Loop) -> list[int]:
    return [task.task_id for task in loop.store.tasks(PROJECT) if task.role == "holdout"]


def first_round(loop: Loop, wrong: float = 0.0) -> str | None:
    """A project with enough labels for one training, and that training done."""
    loop.fill(400)  # a third is held out: enough for the gate
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[:EVERY]], wrong)
    assert reconcile(loop) is not None
    return train(loop)


def grow_older(loop: Loop, by: timedelta = LOST_AFTER) -> None:
    """As if the last trainings had been queued that long ago."""
    with loop.store.begin() as connection:
        for row in attempts(loop):
            connection.execute(
                update(trainings).where(trainings.c.training_id == row.training_id).values(queued_at=row.queued_at - by)
            )


def planned(loop: Loop) -> list[str]:
    """Promotions of models; the first order, which is there before any model, is left out."""
    found = [steps[0].detail for steps in promotions_of(loop.store, PROJECT)]
    return [detail["serving_id"] for detail in found if detail["digest"]]


def traces(loop: Loop) -> tuple[list[str], list[str]]:
    """(models below the artifacts, folders left in the scratch folder)."""
    data = loop.runtime.services.data
    models = sorted(p.name for p in (data / "artifacts" / "models").glob("*"))
    scratch = sorted(p.name for p in (data / "scratch").glob("train-*"))
    return models, scratch
