"""What the next labels will add: against curves whose truth is known, and what people are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from labelloop.store import TrainingRow
from sync.learning_curve import Point, advice, curve_report, forecast, points_of

AT = datetime(2026, 1, 1, tzinfo=UTC)


def truth(labels: float, top: float = 0.9, fall: float = 3.0, exponent: float = 0.6) -> float:
    return top - fall * labels**-exponent


def measured(labels: list[int], deviation: float, seed: int, **curve: float) -> list[Point]:
    drawn = np.random.default_rng(seed).normal(0, deviation, len(labels))
    values = [truth(n, **curve) + d for n, d in zip(labels, drawn, strict=True)]
    half = 1.645 * deviation
    return [Point(n, value, value - half, value + half) for n, value in zip(labels, values, strict=True)]


def test_a_curve_without_noise_is_continued_to_the_digit() -> None:
    points = measured([100, 200, 300, 400, 500], 1e-9, 0)
    found = forecast(points, 200)
    assert found is not None
    assert found.gain == pytest.approx(truth(700) - truth(500), abs=2e-3)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    labels = list(range(200, 1800, 200))
    wanted = truth(1800) - truth(1600)
    found = [forecast(measured(labels, 0.01, seed), 200, seed=seed) for seed in range(200)]
    inside = np.mean([each is not None and each.low <= wanted <= each.high for each in found])
    assert inside >= 0.8


def test_a_forecast_needs_four_trainings_and_never_passes_one() -> None:
    assert forecast(measured([100, 200, 300], 0.01, 0), 100) is None
    steep = [Point(n, v, v - 0.001, v + 0.001) for n, v in ((10, 0.2), (20, 0.5), (30, 0.8), (40, 0.99))]
    found = forecast(steep, 1000)
    assert found is not None and found.low >= 0 and found.high <= 0.02


def test_a_curve_that_falls_is_expected_to_stay() -> None:
    falling = [Point(n, v, v - 0.001, v + 0.001) for n, v in ((100, 0.8), (200, 0.7), (300, 0.6), (400, 0.5))]
    found = forecast(falling, 100)
    assert found is not None and (found.gain, found.low, found.high) == (0, 0, 0)


def test_people_are_told_what_to_expect_and_when_to_stop() -> None:
    rising = measured([100, 200, 300, 400], 0.002, 1)
    told = advice(forecast(rising, 200), rising, "macro_f1", 0.95)
    assert told.startswith("the next 200 labels are expected to add ") and told.endswith(" points of macro_f1")
    flat = [Point(n, 0.9, 0.8999, 0.9001) for n in (100, 200, 300, 400)]
    found = forecast(flat, 100)
    assert advice(found, flat, "f1", None).endswith(": a plateau")
    assert advice(found, flat, "f1", 0.995).endswith("99.5% of the open tasks: labelling may stop")
    assert advice(found, flat, "f1", 0.9).endswith("still differ on 10.0% of the open tasks")
    assert advice(None, flat[:3], "f1", None) == "3 trainings so far; a forecast needs 1 more"


def row(number: int, metrics: dict[str, Any]) -> TrainingRow:
    values: dict[str, Any] = {name: None for name in TrainingRow.__dataclass_fields__}
    return TrainingRow(**values | {"training_id": str(number), "number": number, "queued_at": AT, "metrics": metrics})


def test_points_are_of_trainings_that_were_measured() -> None:
    candidate = {"name": "macro_f1", "value": 0.5}
    rows = [
        row(1, {}),
        row(2, {"candidate": candidate, "labels": 200, "interval": [0.4, 0.6]}),
        row(3, {"candidate": candidate, "labels": 100}),
        row(4, {"candidate": {**candidate, "value": 0.7}, "labels": 200, "interval": None}),
        row(5, {"candidate": candidate}),
    ]
    assert points_of(rows) == [Point(100, 0.5), Point(200, 0.7)]
    report = curve_report(rows, 100, None)
    assert report["forecast"] is None and not report["may_stop"] and "needs 2 more" in report["advice"]
