"""The parts of benchmarks.qa in small: each gives rows of the one shape, and finds that both sides say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import qa
from benchmarks._comparison import not_measured, show

#: Not here: the peer of Dawid and Skene comes from a package index; a store and models take longer, in integration.
PARTS = [name for name in qa.PARTS if name not in ("dawid_skene", "changes", "errors", "review")]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_gives_equal_results_in_rows_of_one_shape(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = qa.measure(1, [part], shrink=500)
    show("qa", rows, as_json=True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert len(told["rows"]) == len(rows) > 0
    for row in told["rows"]:
        assert {"what", "ours", "peer", "ratio", "must_be", "ok", "unit", "peer_name"} <= set(row)
        assert row["equal"] is True, row
        assert row["ours"] > 0 and (row["ratio"] is None or row["ratio"] > 0)
    show("qa", rows, as_json=False)
    assert all(row["what"] in capsys.readouterr().out for row in rows[:1])


def test_what_could_not_be_measured_says_why_and_is_not_ok(capsys: pytest.CaptureFixture[str]) -> None:
    row = not_measured("something", "a peer", "no index could be reached")
    show("qa", [row], as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["rows"]
    assert (told["ok"], told["ours"], told["ratio"], told["reason"]) == (False, None, None, "no index could be reached")
    show("qa", [row], as_json=False)
    assert "no index could be reached" in capsys.readouterr().out


def test_without_an_environment_maker_the_row_of_the_peer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks._dawid_skene.shutil.which", lambda *_, **__: None)
    (row,) = qa.measure(1, ["dawid_skene"], shrink=1000)
    assert "no uv" in row["reason"] and row["equal"] is False
