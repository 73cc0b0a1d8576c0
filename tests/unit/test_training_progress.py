"""How far a training is, in figures and words: the share, and the time that is left once that can be said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from labelloop.queueing import Report
from labelloop.settings import ServiceSettings
from labelloop.store import TrainingRow
from sync.devices import bound_gpu_memory, gpu_name, lease_kind
from sync.training_progress import progress_of, progress_text, seconds_left

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
ROW = TrainingRow(1, "t", "d1", 1, 1, 10, None, None, None, None, None, "", AT, None, None, None, {})


class Told:
    """A queue that was told so much."""

    def __init__(self, report: Report | None) -> None:
        self.report = report

    def last_report(self, job: str) -> Report | None:
        assert job == "t"
        return self.report


def progress(row: TrainingRow, report: Report | None, after_s: float) -> Any:
    return progress_of(Told(report), row, AT + timedelta(seconds=after_s))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "taken", "ago", "left"),
    [
        (0.0, 9, 0, None),
        (0.05, 9, 0, None),
        (0.06, 6, 0, 94),
        (0.5, 10, 0, 10),
        (0.5, 10, 4, 6),
        (0.9, 9, 5, 0),
        (1, 9, 0, 0),
    ],
)
def test_what_is_left_is_told_from_the_share(share: float, taken: float, ago: float, left: float | None) -> None:
    assert seconds_left(share, taken, ago) == (None if left is None else pytest.approx(left))


def test_a_training_that_waits_says_what_for() -> None:
    waits = progress(ROW, None, 5).to_json()
    assert (waits["state"], waits["share"], waits["elapsed_s"], waits["left_s"]) == ("waits", None, None, None)
    assert progress_text(waits) == "training t waits for a worker"
    away = progress(replace(ROW, reason="waits: S3 is away"), None, 5)
    assert progress_text(away.to_json()) == "training t waits: S3 is away"


def test_a_training_that_runs_tells_share_and_time() -> None:
    row = replace(ROW, started_at=AT)
    silent = progress(row, None, 5).to_json()
    assert progress_text(silent) == "training t: has not told how far it is; 5 s so far, time left unknown"
    early = progress(row, Report(0.04, "reading", AT + timedelta(seconds=4)), 5).to_json()
    assert progress_text(early) == "training t: 4%, reading; 5 s so far, time left unknown"
    half = progress(row, Report(0.25, "epoch 3", AT + timedelta(seconds=60)), 90).to_json()
    assert (half["elapsed_s"], half["left_s"]) == (90, 150)
    assert progress_text(half) == "training t: 25%, epoch 3; 2 min so far, about 2 min left"


def test_a_training_that_is_to_end_says_so() -> None:
    row = replace(ROW, started_at=AT, cancel_asked="cancelled by anna")
    assert "is being cancelled; epoch 3" in progress_text(progress(row, Report(0.5, "epoch 3", AT), 1).to_json())


def test_a_device_is_a_gpu_by_its_name_and_each_gpu_of_each_host_has_a_lease() -> None:
    assert [gpu_name(device) for device in ("cpu", "cuda", "cuda:0", "cuda:1")] == [None, "cuda:0", "cuda:0", "cuda:1"]
    kinds = {lease_kind(gpu, host) for gpu in ("cuda:0", "cuda:1") for host in ("a", "b")}
    assert len(kinds) == 4 and all(len(kind) == 16 for kind in kinds)  # as much as the column holds


def test_a_cpu_has_no_memory_to_bound() -> None:
    bound_gpu_memory("cpu", 0.8, ("torch",))
    bound_gpu_memory("cuda", 1.0, ("torch",))
    assert 0 < ServiceSettings().train_gpu_memory < 1 and ServiceSettings().train_nice > 0
