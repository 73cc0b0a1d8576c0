"""The gate: clear wins pass, clear losses do not, and too little evidence decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from labelloop.values import Metrics
from sync.gate import MIN_ITEMS, judge


def accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    return sum(item["right"] for item in items) / len(items)


def metrics(rights: Sequence[int], baseline: float | None = 0.5) -> Metrics:
    items = tuple({"right": right} for right in rights)
    value = accuracy(items) if items else 0.0
    return Metrics("accuracy", value, len(items), len(items), items, baseline)


def test_few_items_decide_nothing_even_for_a_perfect_candidate() -> None:
    few = MIN_ITEMS - 1
    for champion in (None, metrics([0] * few)):
        verdict = judge(metrics([1] * few), champion, accuracy)
        assert verdict.outcome == "undecided" and str(MIN_ITEMS) in verdict.reason


def test_the_first_model_must_beat_the_baseline() -> None:
    assert judge(metrics([1] * 12 + [0] * 8), None, accuracy).outcome == "promoted"
    assert judge(metrics([1] * 10 + [0] * 10), None, accuracy).outcome == "rejected"  # as good is not better
    assert judge(metrics([1] * 8 + [0] * 12), None, accuracy).outcome == "rejected"
    assert judge(metrics([0] * 20, baseline=None), None, accuracy).outcome == "rejected"


def test_a_better_candidate_is_promoted_and_a_worse_one_rejected() -> None:
    good, bad = metrics([1] * 18 + [0] * 2), metrics([1] * 10 + [0] * 10)
    up, down = judge(good, bad, accuracy), judge(bad, good, accuracy)
    assert (up.outcome, down.outcome) == ("promoted", "rejected")
    assert up.share_better is not None and down.share_better is not None
    assert up.share_better > 0.95
    assert down.share_better == pytest.approx(1 - up.share_better)


def test_the_same_model_again_is_undecided() -> None:
    same = metrics([1] * 15 + [0] * 5)
    verdict = judge(same, same, accuracy)
    assert verdict.outcome == "undecided" and verdict.share_better == 0.5


def test_one_more_right_answer_is_weak_evidence_and_ten_are_not() -> None:
    champion = [1, 0] * 20
    one_better = champion.copy()
    one_better[0] = one_better[2] = one_better[4] = one_better[6] = 0  # four lost ...
    one_better[1] = one_better[3] = one_better[5] = one_better[7] = one_better[9] = 1  # ... and five won
    assert judge(metrics(one_better), metrics(champion), accuracy).outcome == "undecided"
    ten_more = [1 if i < 20 else right for i, right in enumerate(champion)]
    assert judge(metrics(ten_more), metrics(champion), accuracy).outcome == "promoted"


def test_the_verdict_is_the_same_every_time() -> None:
    ours, theirs = metrics([1, 1, 0] * 10), metrics([1, 0, 1] * 10)
    assert judge(ours, theirs, accuracy) == judge(ours, theirs, accuracy)


def test_different_items_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="20 and 21"):
        judge(metrics([1] * 20), metrics([1] * 21), accuracy)
