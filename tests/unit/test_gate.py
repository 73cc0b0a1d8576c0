"""The gate: what is better is promoted, what is worse is not, a fallen class is named, and too little decides nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.sklearn_text.training import SklearnTrainer
from labelloop.errors import DataError
from labelloop.values import Metrics
from sync.gate import CLASS_ITEMS, MARGIN, MIN_ITEMS, Minimum, Verdict, judge

TRAINER = SklearnTrainer()
CLASSES = ("billing", "delivery", "technical", "account")
Item = dict[str, Any]


def metrics(items: Sequence[Item], baseline: float | None = 0.5) -> Metrics:
    return Metrics("macro_f1", TRAINER.headline(items), len(items), len(items), tuple(items), baseline)


def answers(n: int, wrong: float, seed: int = 0, classes: Sequence[str] = CLASSES) -> list[Item]:
    """What a model says of `n` texts, as many of each class; a share of them, other texts for each seed, is wrong."""
    source = random.Random(seed)
    missed = set(source.sample(range(n), round(n * wrong)))
    return [
        {
            "task_id": at,
            "truth": classes[at % len(classes)],
            "predicted": classes[(at + (at in missed)) % len(classes)],
        }
        for at in range(n)
    ]


def judged(candidate: Sequence[Item], champion: Sequence[Item] | None, **options: Any) -> Verdict:
    return judge(metrics(candidate), None if champion is None else metrics(champion), TRAINER.scores, **options)


# -- how much evidence ------------------------------------------------------------------------------------------------


def test_few_items_decide_nothing_even_for_a_perfect_candidate() -> None:
    few = MIN_ITEMS - 1
    for champion in (None, answers(few, 1.0)):
        verdict = judged(answers(few, 0.0), champion)
        assert verdict.outcome == "undecided" and str(MIN_ITEMS) in verdict.reason and verdict.headline is None


def test_below_a_hundred_items_the_champion_stays_and_the_figures_are_told() -> None:
    better, worse = answers(99, 0.0), answers(99, 0.5)
    for pair in ((better, worse), (worse, better)):
        verdict = judged(*pair)
        assert verdict.outcome == "undecided" and "99 labelled holdout tasks, and 100 are needed" in verdict.reason
        assert verdict.headline is not None and verdict.headline.low <= verdict.headline.difference
    assert judged(answers(100, 0.0), answers(100, 0.5)).outcome == "promoted"
    assert judged(better, worse, minimum=Minimum(tasks=99)).outcome == "promoted"


def test_a_detector_is_judged_by_its_objects() -> None:
    def boxes(wrong: float, objects: int) -> Metrics:
        return replace(metrics(answers(60, wrong)), n_objects=objects, unit="objects")

    few = judge(boxes(0.0, 149), boxes(0.5, 149), TRAINER.scores)
    assert few.outcome == "undecided" and "149 labelled objects" in few.reason and "150" in few.reason
    assert judge(boxes(0.0, 150), boxes(0.5, 150), TRAINER.scores).outcome == "promoted"
    assert judge(boxes(0.0, 40), boxes(0.5, 40), TRAINER.scores, Minimum(objects=40)).outcome == "promoted"


# -- a first model ----------------------------------------------------------------------------------------------------


def test_the_first_model_must_beat_the_baseline() -> None:
    for wrong, baseline, outcome in ((0.4, 0.5, "promoted"), (0.6, 0.5, "rejected"), (0.0, 1.0, "rejected")):
        first = judge(metrics(answers(20, wrong), baseline), None, TRAINER.scores)
        assert first.outcome == outcome and first.headline is None
    useless = [{**item, "predicted": None} for item in answers(20, 0.0)]
    assert judge(metrics(useless, baseline=None), None, TRAINER.scores).outcome == "rejected"


# -- the rule ---------------------------------------------------------------------------------------------------------


def test_a_better_candidate_is_promoted_and_a_worse_one_rejected() -> None:
    good, bad = answers(200, 0.1), answers(200, 0.3, seed=1)
    up, down = judged(good, bad), judged(bad, good)
    assert (up.outcome, down.outcome) == ("promoted", "rejected")
    assert up.headline is not None and down.headline is not None
    assert up.headline.low > 0 > down.headline.high
    assert up.headline.difference == pytest.approx(-down.headline.difference)
    assert (up.headline.low, up.headline.high) == pytest.approx((-down.headline.high, -down.headline.low))
    assert f"{down.headline.difference:+.3f}" in down.reason and f"{down.headline.low:+.3f}" in down.reason
    assert judged(answers(200, 0.12, seed=1), answers(200, 0.02)).reason.startswith("fell beyond doubt: ")
    one_class = [Item(task_id=at, truth="a", predicted="a" if at % 9 else None) for at in range(300)]
    perfect = [{**item, "predicted": "a"} for item in one_class]
    assert judged(one_class, perfect).reason.startswith("worse: macro_f1 0.940 against 1.000: -0.060")


def test_the_same_answers_again_are_promoted_as_nothing_can_get_worse() -> None:
    verdict = judged(answers(150, 0.2), answers(150, 0.2))
    assert verdict.outcome == "promoted"
    assert verdict.headline is not None and (verdict.headline.difference, verdict.headline.low) == (0.0, 0.0)


def test_better_as_it_seems_but_perhaps_much_worse_is_undecided() -> None:
    # Both are wrong on a third of the texts, on different ones: the difference is one text, the doubt is dozens.
    champion, candidate = answers(120, 0.35, seed=1), answers(120, 0.34, seed=2)
    verdict = judged(candidate, champion)
    assert verdict.headline is not None and verdict.headline.difference >= 0 and verdict.headline.low < -MARGIN
    assert verdict.outcome == "undecided" and "cannot tell" in verdict.reason


def test_a_little_worse_is_not_promoted_however_sure_it_is() -> None:
    champion = answers(1000, 0.2)
    candidate = [dict(item) for item in champion]
    right = next(item for item in candidate if item["truth"] == item["predicted"])
    right["predicted"] = None
    verdict = judged(candidate, champion)
    assert verdict.headline is not None and -MARGIN < verdict.headline.low < verdict.headline.difference < 0
    assert verdict.outcome == "rejected" and verdict.reason.startswith("not better")


def test_the_verdict_is_the_same_every_time_and_whatever_the_order() -> None:
    ours, theirs = answers(120, 0.2), answers(120, 0.25, seed=3)
    assert judged(ours, theirs) == judged(ours, theirs) == judged(ours, theirs[::-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(100, 160), st.floats(0, 0.6), st.floats(0, 0.6), st.integers(0, 99))
def test_every_verdict_follows_from_its_figures(n: int, ours: float, theirs: float, seed: int) -> None:
    verdict = judged(answers(n, ours, seed), answers(n, theirs, seed + 1), rounds=200)
    whole = verdict.headline
    assert whole is not None and whole.low <= whole.high
    fell = any(each.items >= CLASS_ITEMS and each.high < -0.05 for each in verdict.classes.values())
    if fell or whole.difference < 0:
        assert verdict.outcome == "rejected"
    else:
        assert verdict.outcome == ("promoted" if whole.low >= -0.02 else "undecided")
    record = verdict.to_json()
    assert record["difference"] == whole.difference and set(record["classes"]) == set(CLASSES)


# -- floors of classes ------------------------------------------------------------------------------------------------


def rare(count: int, right: bool) -> list[Item]:
    """300 texts of a common class and `count` of a rare one; the better model of the common class may miss the rare one."""
    common = [
        {"task_id": at, "truth": "common", "predicted": "common" if not right or at % 2 else "other"}
        for at in range(300)
    ]
    others = [{"task_id": 300 + at, "truth": "other", "predicted": "other"} for at in range(300)]
    lost = [{"task_id": 600 + at, "truth": "rare", "predicted": "rare" if right else "common"} for at in range(count)]
    return [*common, *others, *lost]


def test_a_class_that_falls_beyond_doubt_is_named_even_when_the_headline_is_better() -> None:
    def forgets(count: int) -> Verdict:
        champion = [{**item, "predicted": None} if item["task_id"] % 3 else item for item in rare(count, True)]
        champion = [{**item, "predicted": "rare"} if item["truth"] == "rare" else item for item in champion]
        kept = [
            {**item, "predicted": "common" if item["task_id"] % 2 else "rare"} if item["truth"] == "rare" else item
            for item in rare(count, False)
        ]
        return judged(kept, champion)

    verdict = forgets(CLASS_ITEMS)
    assert verdict.headline is not None and verdict.headline.low > 0
    assert verdict.outcome == "rejected" and "fell beyond doubt: rare 0.667 against 1.000" in verdict.reason
    assert verdict.classes["rare"].items == CLASS_ITEMS and verdict.classes["rare"].high < -0.05
    assert verdict.to_json()["classes"]["rare"]["interval"] == [
        verdict.classes["rare"].low,
        verdict.classes["rare"].high,
    ]
    assert forgets(CLASS_ITEMS - 1).outcome == "promoted"


# -- the same items ---------------------------------------------------------------------------------------------------


def test_different_tasks_cannot_be_compared_however_many_they_are() -> None:
    ours, theirs = answers(120, 0.1), answers(120, 0.1)
    theirs[7]["task_id"] = 999
    with pytest.raises(DataError, match=r"2 that only one of them has \(7, 999\)"):
        judged(ours, theirs)
    with pytest.raises(DataError, match="got 120 and 121"):
        judged(ours, [*answers(120, 0.1), answers(120, 0.1)[3]])


def test_different_truths_cannot_be_compared() -> None:
    other = [{**item, "truth": "billing"} if item["task_id"] == 1 else item for item in answers(120, 0.1)]
    with pytest.raises(DataError, match="same truth"):
        judged(answers(120, 0.1), other)


def test_two_thousand_items_take_seconds() -> None:
    began = time.perf_counter()
    judged(answers(2000, 0.1), answers(2000, 0.12, seed=1))
    assert time.perf_counter() - began < 20  # it takes a third of a second; the bar is for a busy machine
