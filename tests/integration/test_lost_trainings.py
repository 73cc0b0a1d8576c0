"""Trainings whose job or worker was lost: asked for again, given up in the end, and never done twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from labelloop.store import TrainingRow
from labelloop.store.leases import acquire, release
from labelloop.store.tables import trainings
from labelloop.store.trainings import MAX_ATTEMPTS, trainings_of
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop
from training_steps import (
    EVERY,
    attempts,
    grow_older,
    held_out,
    opened,
    pooled,
    reconcile,
    train,
)

from sync.reconcile import recover_training
from sync.training import run_training

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = opened(tmp_path)
    yield made
    made.store.engine.dispose()


def queued(loop: Loop) -> TrainingRow:
    loop.fill(120)
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[:EVERY]])
    reconcile(loop)
    loop.queue.requests.clear()
    return attempts(loop)[-1]


def test_a_training_whose_job_was_lost_is_asked_for_again(loop: Loop) -> None:
    row = queued(loop)
    reconcile(loop)
    assert loop.queue.names("train") == []  # it may still wait in the queue: not yet
    grow_older(loop)
    reconcile(loop)
    assert loop.queue.names("train") == [row.training_id] and len(attempts(loop)) == 1


def start(loop: Loop, row: TrainingRow) -> None:
    with loop.store.begin() as connection:
        connection.execute(
            update(trainings).where(trainings.c.training_id == row.training_id).values(started_at=utc_now())
        )


def test_after_a_worker_died_there_is_another_attempt_and_an_end_of_attempts(loop: Loop) -> None:
    row = queued(loop)
    for number in range(1, MAX_ATTEMPTS + 1):
        last = attempts(loop)[-1]
        assert (last.attempt, last.dataset_id, last.outcome) == (number, row.dataset_id, None)
        start(loop, last)
        grow_older(loop)
        lease = acquire(loop.store, PROJECT, "train", 60)
        assert lease is not None
        reconcile(loop)
        assert attempts(loop)[-1] == trainings_of(loop.store, PROJECT)[-1] and attempts(loop)[-1].attempt == number
        release(loop.store, lease)  # its time ran out: nobody renews it any more
        reconcile(loop)
    rows = attempts(loop)
    assert [r.outcome for r in rows] == ["failed"] * MAX_ATTEMPTS and "worker died" in rows[0].reason
    assert loop.queue.names("train") == [r.training_id for r in rows[1:]]
    grow_older(loop)
    assert reconcile(loop) is None


def test_the_second_attempt_trains(loop: Loop) -> None:
    row = queued(loop)
    start(loop, row)
    grow_older(loop)
    reconcile(loop)
    assert train(loop) is not None
    assert [(r.attempt, r.outcome) for r in attempts(loop)] == [(1, "failed"), (2, "promoted")]


def test_a_training_that_ends_while_it_is_being_given_up_keeps_its_outcome(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sync.reconcile

    row = queued(loop)
    start(loop, row)
    grow_older(loop)
    asked: list[bool] = []

    def ends_just_now(*args: Any) -> bool:
        if not asked:
            asked.append(True)
            train(loop)
        return False

    monkeypatch.setattr(sync.reconcile, "held", ends_just_now)
    recover_training(loop.runtime, loop.project)
    assert asked and [(r.attempt, r.outcome) for r in attempts(loop)] == [(1, "promoted")]


def test_an_attempt_that_was_given_up_is_not_trained_by_its_late_job(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sync.training

    row = queued(loop)
    start(loop, row)
    grow_older(loop)
    real = sync.training.holding
    given_up: list[bool] = []

    def late(*args: Any) -> Any:
        if not given_up:
            given_up.append(True)
            recover_training(loop.runtime, loop.project)
        return real(*args)

    monkeypatch.setattr(sync.training, "holding", late)
    assert run_training(loop.runtime, PROJECT, row.dataset_id, row.attempt) is None
    assert [(r.attempt, r.outcome) for r in attempts(loop)] == [(1, "failed"), (2, None)]
