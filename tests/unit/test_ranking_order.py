"""The order of the queue: stable, without ties, most uncertain first, evaluation tasks hidden among the others."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ranking.order import Candidate, Ranked, rank_tasks

CANDIDATES = st.lists(st.sampled_from(["pool", "pool", "pool", "blind", "holdout", "gold"]), max_size=80).map(
    lambda roles: [Candidate(i + 1, role) for i, role in enumerate(roles)]
)


def mixed(pool: int, holdout: int = 0, blind: int = 0) -> list[Candidate]:
    roles = ["pool"] * pool + ["holdout"] * holdout + ["blind"] * blind
    return [Candidate(i + 1, role) for i, role in enumerate(roles)]


def pool_of(candidates: list[Candidate]) -> list[int]:
    """The pool tasks in an order that is not that of their ids."""
    return sorted((c.task_id for c in candidates if c.role == "pool"), key=lambda task: task * 37 % 101)


def of(ranked: list[Ranked], reason: str) -> list[Ranked]:
    return [row for row in ranked if row.reason == reason]


@given(
    candidates=CANDIDATES,
    share=st.floats(0, 1),
    head=st.integers(1, 100),
    seed=st.integers(0, 2**48),
    cold=st.booleans(),
)
def test_every_candidate_has_one_place_of_its_own(
    candidates: list[Candidate], share: float, head: int, seed: int, cold: bool
) -> None:
    ordered = pool_of(candidates)
    ranked = rank_tasks(candidates, ordered, explore_share=share, head=head, seed=seed, cold=cold)
    assert sorted(row.task_id for row in ranked) == [c.task_id for c in candidates]
    keys = [row.order_key for row in ranked]
    assert keys == sorted(set(keys)) and all(0 < key < 1 for key in keys)
    assert ranked == rank_tasks(candidates, ordered, explore_share=share, head=head, seed=seed, cold=cold)
    roles = {c.task_id: c.role for c in candidates}
    for row in ranked:
        role = roles[row.task_id]
        assert row.reason in (({"cold"} if cold else {"strategy", "explore"}) if role == "pool" else {role})


def test_the_order_of_the_strategy_is_kept() -> None:
    candidates = mixed(50)
    for seed in (1, 2):
        ranked = rank_tasks(candidates, pool_of(candidates), explore_share=0.0, head=10, seed=seed)
        assert [row.task_id for row in ranked] == pool_of(candidates)
        assert {row.reason for row in ranked} == {"strategy"}


@pytest.mark.parametrize("ordered", [[1, 2], [1, 2, 2], [1, 2, 4]])
def test_an_order_that_lacks_a_task_is_refused(ordered: list[int]) -> None:
    with pytest.raises(ValueError, match="each of 3 pool tasks once"):
        rank_tasks(mixed(3), ordered, explore_share=0.0, head=10, seed=1)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 1.0])
def test_the_explored_share_is_exact_and_spread_over_the_queue(share: float) -> None:
    ranked = rank_tasks(mixed(400), pool_of(mixed(400)), explore_share=share, head=100, seed=5)
    explored = of(ranked, "explore")
    assert len(explored) == round(share * 400)
    if explored:
        assert statistics.mean(row.order_key for row in explored) == pytest.approx(0.5, abs=0.1)


def test_explored_tasks_are_drawn_without_regard_to_their_place() -> None:
    ordered = pool_of(mixed(1000))
    explored = of(rank_tasks(mixed(1000), ordered, explore_share=0.3, head=100, seed=9), "explore")
    assert statistics.mean(ordered.index(row.task_id) for row in explored) == pytest.approx(500, abs=60)


def test_holdout_tasks_are_spread_within_the_head() -> None:
    candidates = mixed(1000, holdout=50)
    ranked = rank_tasks(candidates, pool_of(candidates), explore_share=0.2, head=200, seed=3)
    places = [place for place, row in enumerate(ranked) if row.reason == "holdout"]
    # 200 of 1000 pool places and the 50 themselves: nobody labels 250 tasks without having met all of them.
    assert len(places) == 50 and max(places) <= 260
    assert statistics.mean(places) == pytest.approx(125, abs=35)
    assert places != list(range(places[0], places[0] + 50))


def test_blind_tasks_are_spread_over_the_whole_queue() -> None:
    candidates = mixed(1000, blind=100)
    ranked = rank_tasks(candidates, pool_of(candidates), explore_share=0.2, head=200, seed=3)
    quarters = [sum(row.reason == "blind" for row in ranked[start : start + 275]) for start in range(0, 1100, 275)]
    assert sum(quarters) == 100 and min(quarters) >= 10
