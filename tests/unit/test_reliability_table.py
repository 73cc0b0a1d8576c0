"""Reliability tables give the coefficients that lists of the same judgments give, whatever their values are."""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from qa.measures import patterns_of_table
from qa.measures.chance import NO_UNITS, Level, agreement_in, agreement_of
from qa.measures.ratings import Patterns, ratings_of

values = st.one_of(st.just(np.nan), st.integers(0, 3).map(float), st.sampled_from([0.5, 7.0, 3e5, 2.0**53]))
tables = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=values)


def listed(table: np.ndarray[Any, Any], level: Level) -> dict[str, Any]:
    """Every coefficient by way of a list of judgments."""
    people, units = np.nonzero(~np.isnan(table))
    found = agreement_of(ratings_of(units, people, table[people, units]), level, samples=0)
    return {name: each.coefficient for name, each in found.items()}


def described(patterns: Patterns) -> dict[tuple[int, ...], int]:
    """How many units have which values, as codes in order."""
    spans = zip(patterns.starts.tolist(), patterns.sizes.tolist(), patterns.counts.tolist(), strict=True)
    found = {tuple(patterns.values[start:][:size].tolist()): count for start, size, count in spans}
    assert len(found) == len(patterns.counts), "one pattern stands there twice"
    return found


@given(tables, st.sampled_from(["nominal", "ordinal", "interval", "ratio"]))
def test_a_table_is_the_list_of_its_judgments(table: np.ndarray[Any, Any], level: Level) -> None:
    patterns, names = patterns_of_table(table)
    people, units = np.nonzero(~np.isnan(table))
    ratings = ratings_of(units, people, table[people, units])
    assert names.tolist() == ratings.value_names.tolist()
    assert described(patterns) == described(ratings.patterns)
    for name, each in agreement_in(patterns, names, level, samples=0).items():
        expected = listed(table, level)[name]
        assert (each.coefficient.n_units, each.coefficient.n_pairs) == (expected.n_units, expected.n_pairs)
        assert each.coefficient.reason == expected.reason
        assert each.coefficient.value == pytest.approx(expected.value, abs=1e-12)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
@pytest.mark.parametrize(("people", "k"), [(5, 4), (3, 300), (40, 3)])
def test_alpha_of_a_table_of_several_blocks_is_that_of_the_library(level: Level, people: int, k: int) -> None:
    source = np.random.default_rng(people)
    truth = source.integers(k, size=40_000)
    table = np.where(source.random((people, 40_000)) < 0.6, truth, source.integers(k, size=(people, 40_000)))
    table = np.where(source.random(table.shape) < 0.3, np.nan, table)
    if k > 100:
        table = table[:, :400]
    theirs = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    ours = agreement_in(*patterns_of_table(table), level, samples=0)["krippendorff_alpha"].coefficient.value
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64, np.float32, np.bool_])
def test_tables_of_every_type_of_number(kind: Any) -> None:
    high = np.bool_(1) if kind is np.bool_ else kind(100)
    patterns, names = patterns_of_table(np.array([[0, high, high], [0, 0, high]], dtype=kind))
    assert names.tolist() == [0, high] and names.dtype == kind
    assert described(patterns) == {(0, 0): 1, (0, 1): 1, (1, 1): 1}


def test_texts_beside_nothing_and_nan() -> None:
    rows: list[list[object]] = [["b", "a", None], ["b", float("nan"), "a"], ["a", "a", "a"]]
    patterns, names = patterns_of_table(rows)
    assert names.tolist() == ["a", "b"]
    assert described(patterns) == {(0, 1, 1): 1, (0, 0): 2}
    assert described(patterns_of_table([["b", "a"], ["nan", "a"]])[0]) == {(0, 0): 1, (1, 2): 1}


def test_nobody_judged_anything() -> None:
    for table in (np.full((2, 3), np.nan), np.zeros((0, 0)), np.zeros((2, 0))):
        found = agreement_in(*patterns_of_table(table), samples=0)
        assert found["krippendorff_alpha"].coefficient.reason == NO_UNITS
    with pytest.raises(ValueError, match="people x units"):
        patterns_of_table([1, 2])
