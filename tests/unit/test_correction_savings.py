"""Seconds that suggestions save, on times whose truth is known: coverage, Simpson's paradox, practice, breaks, few tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa.corrections.savings import LEAST_TASKS, Saving, Times, seconds_saved
from qa.measures.ratings import Floats, Ints

SPREAD = 0.6


def made(source: np.random.Generator, person: Ints, typical: Floats, *, at: float = 1.0, breaks: float = 0.0) -> Times:
    """Labels of tasks of their own, whose times spread about what is typical of their person."""
    seconds = np.exp(np.log(typical[person]) + source.normal(0, SPREAD, len(person)))
    away = source.random(len(person)) < breaks
    return Times(
        np.arange(len(person)),
        person,
        seconds + away * source.uniform(60, 1800, len(person)),
        np.full(len(person), at),
        np.zeros(len(person), np.int64),
    )


def people(*counts: int) -> Ints:
    return np.repeat(np.arange(len(counts)), counts)


def experiment(seed: int, ratio: float, breaks: float = 0.0) -> tuple[Saving, float]:
    """What is found of five people whose work takes `ratio` times as long without suggestions, and the truth."""
    source = np.random.default_rng(seed)
    typical = np.exp(source.normal(3, 0.8, 5))
    few, many = people(*source.integers(5, 12, 5)), people(*source.integers(20, 80, 5))
    found = seconds_saved(made(source, few, typical, breaks=breaks), made(source, many, typical / ratio, breaks=breaks))
    truth = float(np.exp(np.log(typical / ratio)[many].mean()) * (ratio - 1))
    return found, truth


@pytest.mark.parametrize("ratio", [0.6, 1.0, 2.0], ids=["slows", "nothing", "saves"])
def test_the_interval_holds_the_truth_as_often_as_it_says(ratio: float) -> None:
    held = slow = told = 0
    for seed in range(600):
        found, truth = experiment(seed, ratio)
        bounds = found.interval()
        if bounds is not None:
            told += 1
            held += bounds[0] <= truth <= bounds[1]
            slow += found.slows(0.99)
    assert told > 500 and 0.925 <= held / told <= 0.98
    assert slow / told <= 0.02 if ratio >= 1 else slow / told > 0.9


def test_breaks_widen_the_interval_and_fake_no_saving() -> None:
    found = [experiment(seed, 1.0, breaks=0.05)[0] for seed in range(300)]
    bounds = [each.interval() for each in found if each.value is not None]
    held = [low <= 0 <= high for low, high in filter(None, bounds)]
    assert sum(held) / len(held) >= 0.92


def test_a_fast_person_who_saw_more_suggestions_is_no_saving() -> None:
    """Simpson's paradox: taken together the suggested tasks took a third of the time, yet nobody got faster."""
    source = np.random.default_rng(3)
    typical = np.array([10.0, 60.0])
    blind, suggested = made(source, people(20, 200), typical), made(source, people(400, 40), typical)
    assert np.median(suggested.seconds) < 0.4 * np.median(blind.seconds)
    found = seconds_saved(blind, suggested)
    low, high = found.interval() or (1.0, 0.0)
    assert low < 0 < high and high - low < 5 and not found.slows(0.95)
    # And the other way round: both got slower, though together it looks like a saving.
    slower = seconds_saved(blind, replace(suggested, seconds=suggested.seconds * 1.6))
    assert slower.value is not None and slower.value < 0 and slower.slows(0.99)


def test_blind_labels_from_before_the_first_suggestion_are_practice() -> None:
    source = np.random.default_rng(4)
    early, late = (
        made(source, people(50), np.array([60.0]), at=1.0),
        made(source, people(50), np.array([20.0]), at=10.0),
    )
    suggested = made(source, people(200), np.array([20.0]), at=5.0)
    both = early.followed_by(late)
    found = seconds_saved(both, suggested)
    assert found.n_blind == 50 and abs(found.value or 99) < 6
    assert seconds_saved(early, suggested).value is None


@pytest.mark.parametrize(("blind", "suggested"), [(29, 100), (100, 29), (0, 0), (0, 50), (50, 0)])
def test_too_few_tasks_on_a_side_are_unknown_with_a_reason(blind: int, suggested: int) -> None:
    source = np.random.default_rng(5)
    found = seconds_saved(
        made(source, people(blind), np.array([9.0])), made(source, people(suggested), np.array([9.0]))
    )
    told = found.to_json()
    assert (told["value"], told["ci"]) == (None, None) and f"{LEAST_TASKS} are needed" in told["reason"]
    assert not found.slows(0.5)
    enough = seconds_saved(made(source, people(30), np.array([9.0])), made(source, people(30), np.array([9.0])))
    assert enough.value is not None and enough.reason is None


def test_tasks_are_counted_not_labels_and_people_with_both_only() -> None:
    source = np.random.default_rng(6)
    blind, suggested = (
        made(source, people(20, 20), np.full(3, 9.0)),
        made(source, people(50, 50, 50), np.full(3, 9.0)),
    )
    shared = replace(blind, task=np.tile(np.arange(20), 2))
    assert seconds_saved(shared, suggested).n_blind == 20
    found = seconds_saved(blind, suggested)
    assert (found.n_blind, found.n_suggested, found.people) == (40, 100, 2)


def test_one_hard_task_of_several_people_counts_once_in_the_error() -> None:
    source = np.random.default_rng(7)
    hard = np.exp(source.normal(0, 1, 40))
    person = people(40, 40)
    blind = Times(np.tile(np.arange(40), 2), person, 20 * np.tile(hard, 2), np.ones(80), np.zeros(80, np.int64))
    alone = replace(blind, task=np.arange(80))
    suggested = made(source, people(200, 200), np.array([20.0, 20.0]))
    together, apart = (seconds_saved(each, suggested).error for each in (blind, alone))
    assert together is not None and apart is not None and together > 1.3 * apart


def test_hard_tasks_that_were_suggested_first_are_no_loss() -> None:
    """Tasks of kind 1 take three times as long; most of the suggested ones are of that kind, few of the blind ones."""
    source = np.random.default_rng(8)
    kinds = [(source.random(n) < share).astype(np.int64) for n, share in ((150, 0.3), (500, 0.8))]
    blind, suggested = (
        replace(times, seconds=times.seconds * 3**kind, kind=kind)
        for times, kind in zip(
            (made(source, people(75, 75), np.full(2, 9.0)), made(source, people(250, 250), np.full(2, 9.0))),
            kinds,
            strict=True,
        )
    )
    found = seconds_saved(blind, suggested)
    assert not found.slows(0.95) and (found.interval() or (1, 0))[1] > 0
    apart = (replace(times, kind=np.zeros(len(times), np.int64)) for times in (blind, suggested))
    assert seconds_saved(*apart).slows(0.99)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 50))
def test_seconds_are_told_in_the_unit_of_the_times(seed: int, unit: float) -> None:
    source = np.random.default_rng(seed)
    blind, suggested = (
        made(source, people(20, 20), np.array([9.0, 30.0])),
        made(source, people(30, 50), np.array([5.0, 20.0])),
    )
    one = seconds_saved(blind, suggested)
    other = seconds_saved(*(replace(each, seconds=each.seconds * unit) for each in (blind, suggested)))
    assert one.value is not None and other.value == pytest.approx(unit * one.value)
    assert other.error == pytest.approx(unit * (one.error or 0))
    assert one.blind_s is not None and one.suggested_s is not None
    assert one.value == pytest.approx(one.blind_s - one.suggested_s)
