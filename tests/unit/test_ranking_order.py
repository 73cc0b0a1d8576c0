"""The order of the queue: stable, without ties, most uncertain first, evaluation tasks hidden among the others."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ranking.order import Candidate, Ranked, rank_tasks

CANDIDATES = st.lists(
    st.tuples(
        st.sampled_from(["pool", "pool", "pool", "blind", "holdout", "gold"]), st.none() | st.floats(0, 1, width=32)
    ),
    max_size=80,
).map(lambda rows: [Candidate(i + 1, role, value) for i, (role, value) in enumerate(rows)])


def mixed(pool: int, holdout: int = 0, blind: int = 0) -> list[Candidate]:
    roles = ["pool"] * pool + ["holdout"] * holdout + ["blind"] * blind
    return [Candidate(i + 1, role, (i * 37 % 101) / 101) for i, role in enumerate(roles)]


def of(ranked: list[Ranked], reason: str) -> list[Ranked]:
    return [row for row in ranked if row.reason == reason]


@given(candidates=CANDIDATES, share=st.floats(0, 1), head=st.integers(1, 100), seed=st.integers(0, 2**48))
def test_every_candidate_has_one_place_of_its_own(
    candidates: list[Candidate], share: float, head: int, seed: int
) -> None:
    ranked = rank_tasks(candidates, explore_share=share, head=head, seed=seed)
    assert sorted(row.task_id for row in ranked) == [c.task_id for c in candidates]
    keys = [row.order_key for row in ranked]
    assert keys == sorted(set(keys)) and all(0 < key < 1 for key in keys)
    assert ranked == rank_tasks(candidates, explore_share=share, head=head, seed=seed)
    roles = {c.task_id: c.role for c in candidates}
    for row in ranked:
        role = roles[row.task_id]
        assert row.reason in ({"strategy", "explore", "cold"} if role == "pool" else {role})


def test_the_most_uncertain_come_first() -> None:
    candidates = mixed(50)
    ranked = rank_tasks(candidates, explore_share=0.0, head=10, seed=1)
    uncertainty = {c.task_id: c.uncertainty for c in candidates}
    values = [uncertainty[row.task_id] for row in ranked]
    assert values == sorted(values, key=lambda value: -(value or 0.0))
    assert {row.reason for row in ranked} == {"strategy"}


def test_another_seed_is_another_order_only_where_chance_decides() -> None:
    candidates = mixed(50)
    assert rank_tasks(candidates, explore_share=0.0, head=10, seed=1) == rank_tasks(
        candidates, explore_share=0.0, head=10, seed=2
    )
    ties = [Candidate(i, "pool", 0.5) for i in range(50)]
    one, other = (rank_tasks(ties, explore_share=0.0, head=10, seed=seed) for seed in (1, 2))
    assert [row.task_id for row in one] != [row.task_id for row in other]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 1.0])
def test_the_explored_share_is_exact_and_spread_over_the_queue(share: float) -> None:
    ranked = rank_tasks(mixed(400), explore_share=share, head=100, seed=5)
    explored = of(ranked, "explore")
    assert len(explored) == round(share * 400)
    if explored:
        assert statistics.mean(row.order_key for row in explored) == pytest.approx(0.5, abs=0.1)


def test_explored_tasks_are_drawn_without_regard_to_their_uncertainty() -> None:
    candidates = mixed(1000)
    uncertainty = {c.task_id: c.uncertainty or 0.0 for c in candidates}
    explored = of(rank_tasks(candidates, explore_share=0.3, head=100, seed=9), "explore")
    assert statistics.mean(uncertainty[row.task_id] for row in explored) == pytest.approx(0.5, abs=0.06)


def test_holdout_tasks_are_spread_within_the_head() -> None:
    ranked = rank_tasks(mixed(1000, holdout=50), explore_share=0.2, head=200, seed=3)
    places = [place for place, row in enumerate(ranked) if row.reason == "holdout"]
    # 200 of 1000 pool places and the 50 themselves: nobody labels 250 tasks without having met all of them.
    assert len(places) == 50 and max(places) <= 260
    assert statistics.mean(places) == pytest.approx(125, abs=35)
    assert places != list(range(places[0], places[0] + 50))


def test_blind_tasks_are_spread_over_the_whole_queue() -> None:
    ranked = rank_tasks(mixed(1000, blind=100), explore_share=0.2, head=200, seed=3)
    quarters = [sum(row.reason == "blind" for row in ranked[start : start + 275]) for start in range(0, 1100, 275)]
    assert sum(quarters) == 100 and min(quarters) >= 10


def test_before_the_first_model_the_order_is_random_and_says_so() -> None:
    candidates = [Candidate(i + 1, "pool", None) for i in range(100)]
    ranked = rank_tasks(candidates, explore_share=0.2, head=10, seed=4)
    assert {row.reason for row in ranked} == {"cold"}
    assert [row.task_id for row in ranked] != sorted(row.task_id for row in ranked)


def test_a_task_that_the_model_cannot_judge_is_as_uncertain_as_can_be() -> None:
    ranked = rank_tasks(
        [Candidate(1, "pool", 0.9), Candidate(2, "pool", None), Candidate(3, "pool", 0.1)],
        explore_share=0.0, head=1, seed=0,
    )  # fmt: skip
    assert [row.task_id for row in ranked] == [2, 1, 3]
