"""The parts of benchmarks.qa that need a store or train models, in small."""

from __future__ import annotations

import pytest

from benchmarks import qa

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("part", ["changes", "errors", "review"])
def test_part_gives_equal_results(part: str) -> None:
    rows = qa.measure(1, [part], shrink=500)
    assert rows
    for row in rows:
        assert row["equal"] is True, row
        assert row["ours_s"] > 0 and row["peer_s"] > 0 and row["ratio"] > 0
    if part == "errors":
        assert {row["peer"] for row in rows} == {"at least 0.8", "at least 0.5"}
        assert all(0 < row["injected"] <= row["labels"] * 10 for row in rows)
