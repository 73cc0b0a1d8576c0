"""kill -9 of a worker, of its work horse, of both, at random moments of real trainings on a real Redis and MLflow.

Once each; `python -m benchmarks.learning --only kills` does it ten times each. And a training in a worker is
cancelled from another process.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks._killed_trainings import KINDS, KilledTrainings, killed_trainings, until
from sync.cancelling import cancel_training

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(
        sys.platform != "linux", reason="work horses die with their worker by a promise of Linux's kernel"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str, mlflow_uri: str) -> Iterator[KilledTrainings]:
    folder: Path = tmp_path_factory.mktemp("killed")
    with killed_trainings(folder, redis_url, mlflow_uri) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_leaves_one_version_and_nothing_half_written(site: KilledTrainings, kind: str) -> None:
    assert site.kill_one(kind, random.Random(f"1 {kind}")).wrong == []


def test_a_training_gives_way_to_other_processes(site: KilledTrainings) -> None:
    started = [line["nice"] for line in site.lines() if line["event"] == "start"]
    wanted = min(os.getpriority(os.PRIO_PROCESS, 0) + site.runtime.services.train_nice, 19)
    assert started and set(started) == {wanted}


def test_a_training_of_a_worker_is_cancelled_by_another_process(site: KilledTrainings) -> None:
    site.start_worker()
    seen = len(site.lines())
    dataset_id = site.ask()
    until(lambda: any(line["event"] == "step" for line in site.lines()[seen:]))
    asked = cancel_training(site.runtime, site.project, "anna@desk", "old labels")
    assert asked is not None and asked.outcome is None  # it runs: its worker ends it
    until(lambda: site.attempts(dataset_id)[0].outcome is not None)
    until(lambda: site.lines()[-1]["event"] == "end")
    (row,) = site.attempts(dataset_id)
    assert row.outcome == "cancelled" and row.candidate is None and row.reason.endswith("old labels")
    steps = {line["step"] for line in site.lines()[seen:]}
    assert "trained" not in steps and "before publishing" not in steps
    until(lambda: site.half_written() == [])  # its scratch folder goes right after its outcome
