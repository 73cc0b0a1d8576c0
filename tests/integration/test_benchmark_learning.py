"""The parts of benchmarks.learning, in small: real trainings, rows of the one shape, each bar reached."""

from __future__ import annotations

import json

import pytest

from benchmarks import learning
from benchmarks._comparison import show

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
