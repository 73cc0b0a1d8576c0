"""What replays say: labels to a score, areas and savings by hand, and a plot that a browser can draw."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from labelloop.errors import UsageError
from sync.simulating.figures import area, labels_to, report_of, told
from sync.simulating.plot import learning_curves
from sync.simulating.replay import Run
from sync.simulating.running import checked_strategies

FAST = Run("hybrid", 0, ((100, 0.5), (200, 0.8), (300, 0.9)))
SLOW = Run("random", 0, ((100, 0.4), (200, 0.6), (300, 0.7), (400, 0.9)))


@pytest.mark.parametrize(
    ("score", "labels"), [(0.5, 100), (0.65, 150), (0.8, 200), (0.85, 250), (0.3, 100), (0.91, None)]
)
def test_labels_to_a_score_lie_on_a_line_between_rounds(score: float, labels: float | None) -> None:
    assert labels_to(FAST, score) == (None if labels is None else pytest.approx(labels))


def test_a_score_that_falls_again_was_reached() -> None:
    assert labels_to(Run("x", 0, ((10, 0.9), (20, 0.5))), 0.8) == 10
    assert labels_to(Run("x", 0, ((10, 0.2), (20, 0.9), (30, 0.5), (40, 0.95))), 0.9) == 20


def test_areas_are_of_the_labels_that_all_runs_have() -> None:
    assert area(FAST, 100, 300) == pytest.approx((0.65 + 0.85) / 2)
    assert area(SLOW, 150, 250) == pytest.approx((0.55 + 0.625) / 2)
    report = report_of([SLOW, FAST], 1.0)
    assert report["random"]["aulc"] == pytest.approx((0.5 + 0.65) / 2) and report["random"]["aulc_range"] == [100, 300]


def test_savings_pair_runs_of_one_seed() -> None:
    runs = [FAST, SLOW, Run("hybrid", 1, ((100, 0.9),)), Run("random", 1, ((100, 0.5), (300, 0.9)))]
    report = report_of(runs, 1.0)
    saving = report["hybrid"]["saving_vs_random"]["90"]
    assert saving["n"] == 2 and saving["mean"] == pytest.approx((1 - 300 / 400 + 1 - 100 / 300) / 2)
    half = 12.7062 * (abs(0.25 - 2 / 3) / 2**0.5) / 2**0.5
    assert saving["ci"] == pytest.approx([saving["mean"] - half, saving["mean"] + half], abs=1e-3)
    assert report["random"]["saving_vs_random"] == {} and report["hybrid"]["labels_to"]["90"] == 200
    assert report["hybrid"]["labels_to"]["95"] is None
    assert report["hybrid"]["saving_vs_random"]["95"] == {"mean": None, "ci": None, "n": 0, "reason": "not_reached"}
    assert "not reached" in told(report) and "not reached" not in told({"random": report["random"]})


def test_one_seed_has_no_interval() -> None:
    assert report_of([FAST, SLOW], 1.0)["hybrid"]["saving_vs_random"]["90"]["ci"] is None


def test_the_plot_has_a_line_and_a_band_for_each_strategy() -> None:
    root = ElementTree.fromstring(learning_curves(report_of([FAST, SLOW], 1.0), "a <title> & more"))  # noqa: S314 - our own
    names = [each.tag.rpartition("}")[2] for each in root.iter()]
    assert names.count("polyline") == names.count("polygon") == 2
    assert {"hybrid", "random", "a <title> & more"} <= {each.text for each in root.iter()}


def test_random_is_always_there_and_others_must_be_known() -> None:
    assert checked_strategies(["hybrid", "hybrid"]) == ["hybrid", "random"]
    with pytest.raises(UsageError, match="guess"):
        checked_strategies(["guess"])
