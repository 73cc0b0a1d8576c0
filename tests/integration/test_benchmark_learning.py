"""The parts of benchmarks.learning, in small: real trainings, rows of the one shape, each bar reached."""

from __future__ import annotations

import json

import pytest

from benchmarks import learning
from benchmarks._comparison import show
from benchmarks._latency_in_training import latency_rows

pytestmark = pytest.mark.integration


def test_poisoned_candidates_are_refused_and_improved_ones_let_in(capsys: pytest.CaptureFixture[str]) -> None:
    rows = learning.measure(["poison"], shrink=10)
    show("learning", rows, as_json=True)
    told = json.loads(capsys.readouterr().out)["rows"]
    assert [row["ours"] for row in told] == [2, 2, 2] and all(row["ok"] for row in told)
    poisoned, improved, lopsided = told
    assert poisoned["difference"][1] < 0 < improved["difference"][0]
    assert set(lopsided["outcomes"]) == {"rejected"} and lopsided["better"] > 0
    assert all(row["gate_s"] < 30 for row in told)


def test_orders_are_whole_and_quick(capsys: pytest.CaptureFixture[str]) -> None:
    show("learning", learning.measure(["order"], shrink=20), as_json=True)
    told = json.loads(capsys.readouterr().out)["rows"]
    assert all(row["ok"] for row in told) and [row["what"] for row in told] == [
        "order of 50000 tasks by uncertainty",
        "order of 5000 tasks by hybrid",
    ]


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_latency_is_measured_at_rest_and_while_a_training_runs(capsys: pytest.CaptureFixture[str]) -> None:
    show("learning", latency_rows(20, ["sklearn_text"]), as_json=True)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["requests"] == 100 and min(row["p95_ms"].values()) > 0 < min(row["median_ms"].values())
    assert set(row["p95_ms"]) == {"at rest", "training", "without nice"}
    assert row["ours"] == pytest.approx(row["p95_ms"]["training"] / row["p95_ms"]["at rest"], rel=0.01)


def test_the_part_of_the_real_loop_asks_for_images(capsys: pytest.CaptureFixture[str]) -> None:
    show("learning", learning.measure(["loop"]), as_json=True)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert not row["ok"] and "--data names no folder" in row["reason"]
