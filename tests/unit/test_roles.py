"""Roles and overlaps: sizes, stability, groups kept together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.roles import RolePolicy, holdout_size, holdout_unit, overlap_of, role_of, role_threshold, salted_unit


def policy(threshold: float, **changes: float | int) -> RolePolicy:
    values = {"blind_share": 0.1, "overlap_share": 0.15} | changes
    return RolePolicy(salt="pepper", holdout_below=threshold, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "share", "min_items", "wanted"),
    [(1000, 0.1, 100, 100), (800, 0.1, 100, 100), (300, 0.1, 100, 75), (5000, 0.1, 100, 500), (40, 0.1, 100, 10)],
)
def test_holdout_size_follows_the_share_the_minimum_and_the_quarter(
    n: int, share: float, min_items: int, wanted: int
) -> None:
    assert holdout_size(n, share, min_items) == wanted


def test_no_share_holds_nothing_out() -> None:
    assert role_threshold([0.1, 0.2], 0.0, 100) == 0.0
    assert role_threshold([], 0.1, 100) == 0.0


@given(st.integers(1, 400), st.integers(0, 50))
def test_first_import_gets_exactly_the_wanted_number(n: int, seed: int) -> None:
    groups = [f"{seed}-{i}" for i in range(n)]
    threshold = role_threshold([holdout_unit("pepper", g) for g in groups], 0.1, 100)
    held = [g for g in groups if role_of(g, policy(threshold)) == "holdout"]
    assert len(held) == holdout_size(n, 0.1, 100)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=1, max_size=40))
def test_tasks_of_one_group_stay_on_one_side(hashes: list[float]) -> None:
    threshold = role_threshold(hashes, 0.2, 4)
    below = sum(h < threshold for h in hashes)
    wanted = holdout_size(len(hashes), 0.2, 4)
    assert below >= wanted
    if wanted:
        largest_below = max(h for h in hashes if h < threshold)
        assert below - hashes.count(largest_below) < wanted


def test_a_role_does_not_depend_on_what_else_is_imported() -> None:
    fixed = policy(0.12)
    assert [role_of(f"g{i}", fixed) for i in range(50)] == [role_of(f"g{i}", fixed) for i in range(100)][:50]
    other = RolePolicy("salt", 0.12, 0.1, 0.15)
    assert [role_of(f"g{i}", fixed) for i in range(200)] != [role_of(f"g{i}", other) for i in range(200)]


def test_shares_come_out_about_right_and_independent() -> None:
    fixed = policy(0.1)
    roles = {f"g{i}": role_of(f"g{i}", fixed) for i in range(20000)}
    counts = Counter(roles.values())
    assert 1800 < counts["holdout"] < 2200
    assert 1600 < counts["blind"] < 2000
    pool = [g for g, role in roles.items() if role == "pool"]
    assert 0.13 < sum(overlap_of(g, "pool", fixed) == 2 for g in pool) / len(pool) < 0.17


def test_holdout_and_gold_always_get_several_people() -> None:
    none_else = policy(0.1, overlap_share=0.0, people=3)
    assert {overlap_of(f"c{i}", role, none_else) for i in range(50) for role in ("holdout", "gold")} == {3}
    assert {overlap_of(f"c{i}", role, none_else) for i in range(50) for role in ("pool", "blind")} == {1}


def test_hash_is_pinned() -> None:
    """Stored thresholds and roles depend on this function for ever."""
    assert salted_unit("salt", "holdout", "key") == pytest.approx(PINNED, abs=1e-12)


PINNED = 0.35583556522636073
