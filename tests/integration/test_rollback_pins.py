"""A version that was rolled back to stays until enough labels came after that, or somebody lifts the pin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from labelloop.errors import UsageError
from labelloop.store.tables import trainings
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import Loop
from training_steps import EVERY, attempts, first_round, opened, planned, pooled, reconcile, train

from sync.overview import countdown_text, models_report
from sync.promotion import plan_ranking, run_promotion
from sync.waiting_labels import pin_of, unpin, waiting

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A project whose first model is served."""
    made = opened(tmp_path)
    first = first_round(made)
    assert first is not None and run_promotion(made.runtime, first)
    yield made
    made.store.engine.dispose()


def label(loop: Loop, first: int, count: int) -> None:
    """Label more of the pool, `first` places behind what trained the first model."""
    loop.label(pooled(loop)[EVERY + first : EVERY + first + count])


def roll_back(loop: Loop) -> str:
    version = attempts(loop)[0].candidate
    assert version is not None
    promotion = plan_ranking(loop.runtime, loop.project, version, pinned=True)
    loop.remote.now = utc_now() + timedelta(minutes=1)  # what people do next comes after it
    return promotion


def test_labels_from_before_a_rollback_count_no_longer(loop: Loop) -> None:
    label(loop, 0, EVERY - 10)
    assert reconcile(loop) is None and waiting(loop.runtime, loop.project).labels == EVERY - 10
    promotion = roll_back(loop)
    label(loop, EVERY - 10, 20)
    assert reconcile(loop) is None
    found = waiting(loop.runtime, loop.project)
    assert (found.labels, found.holds) == (20, True)
    report = models_report(loop.runtime, loop.project)
    assert report["pinned_version"] == attempts(loop)[0].candidate
    assert (
        countdown_text(report) == f"20 of {EVERY} labels until the next training ({report['pinned_version']} is pinned)"
    )
    # The order is made anew with the pinned version: the pin goes on from when it began.
    pin = pin_of(loop.store, loop.project.project_id)
    again = plan_ranking(loop.runtime, loop.project, report["pinned_version"])
    kept = pin_of(loop.store, loop.project.project_id)
    assert pin is not None and kept is not None and (kept.promotion_id, kept.at) == (again, pin.at) != promotion
    label(loop, EVERY + 10, EVERY - 20)
    assert reconcile(loop) is not None
    assert models_report(loop.runtime, loop.project)["pinned_version"] is None


def test_a_pin_can_be_lifted(loop: Loop) -> None:
    label(loop, 0, EVERY)
    roll_back(loop)
    assert reconcile(loop) is None
    assert unpin(loop.store, loop.project) == attempts(loop)[0].candidate
    assert reconcile(loop) is not None
    with pytest.raises(UsageError, match="pinned"):
        unpin(loop.store, loop.project)


def test_a_training_from_before_a_rollback_is_judged_and_not_served(loop: Loop) -> None:
    label(loop, 0, EVERY)
    assert reconcile(loop) is not None
    roll_back(loop)
    before = planned(loop)
    promotion = train(loop)
    row = attempts(loop)[-1]
    assert promotion is None and planned(loop) == before
    assert row.outcome in ("undecided", "rejected") and row.candidate is not None
    assert row.outcome == "rejected" or "is pinned since" in row.reason


def test_a_schedule_trains_with_the_few_labels_that_came(tmp_path: Path) -> None:
    loop = opened(tmp_path, ACTIVE_LEARNING__RETRAIN_EVERY_HOURS="24")
    assert first_round(loop) is not None
    assert reconcile(loop) is None
    with loop.store.begin() as connection:
        connection.execute(update(trainings).values(finished_at=utc_now() - timedelta(hours=25)))
    assert reconcile(loop) is None  # nothing new: the same model once more would be no use
    label(loop, 0, 1)
    assert reconcile(loop) is not None and attempts(loop)[-1].label_count == 1
    loop.store.engine.dispose()
