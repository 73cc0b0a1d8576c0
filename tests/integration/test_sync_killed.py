"""A sync that is killed (kill -9) at each of its commits, before and after it: the next sync has what a clean one has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

#: Every place where a sync commits: a new one is added here, and with that tried. A sync writes nothing to Label Studio:
#: what it finds to be done is noted in the store first, and done by jobs (see test_promotion_steps.py).
PLACES = {
    "reconcile_project > acquire",
    "reconcile_project > follow_config",
    "reconcile_project > read > _read_all",
    "reconcile_project > read > _read_all > _put",
    "reconcile_project > read > _read_changes > _put",
    "reconcile_project > read > _settle",
    "reconcile_project > read > _settle > _compare > _put",
    "reconcile_project > sweep > _compare > _put",
    "reconcile_project > release",
    "reconcile_project > start_cold > plan_cold_start",
    "reconcile_project > trigger_training > acquire",
    "reconcile_project > trigger_training > release",
}


@pytest.fixture
def results(database_url: str, tmp_path: Path) -> list[dict[str, Any]]:
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sync_killed_process.py")), database_url, str(tmp_path)],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(process.stdout)
    return found


def test_nothing_is_lost_and_nothing_doubled(results: list[dict[str, Any]]) -> None:
    assert {found["place"] for found in results} == PLACES
    assert {found["status"] for found in results} == {-9}, "a child was not killed where it should have been"
    assert [found for found in results if found["again"] or found["differing"]] == []
