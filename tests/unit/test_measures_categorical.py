"""Alpha and percent agreement: the published worked example, the krippendorff library, and the undefined cases."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qa.measures import Coefficient, krippendorff_alpha, measured, percent_agreement, undefined
from qa.measures.categorical import NO_UNITS, ONE_VALUE, Level

# Krippendorff 2011, section C: four observers, twelve units, "." is a missing judgment.
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def worked_example() -> tuple[list[int], list[int]]:
    cells = [(unit, int(v)) for row in OBSERVERS for unit, v in enumerate(row) if v != "."]
    return [unit for unit, _ in cells], [value for _, value in cells]


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_of_the_published_example(level: Level, published: float) -> None:
    found = krippendorff_alpha(*worked_example(), level)
    assert found.value == pytest.approx(published, abs=0.0005)
    # The twelfth unit has one judgment only: 40 of the 41 values are pairable.
    assert found.n_units == 11


def test_percent_agreement_counts_pairs() -> None:
    units, values = [1, 1, 1, 2, 2, 3], ["a", "a", "b", "c", "c", "a"]
    assert percent_agreement(units, values) == measured(2 / 4, 2, 4)


def test_undefined_has_a_reason_and_no_number() -> None:
    assert krippendorff_alpha([], []) == undefined(NO_UNITS)
    assert krippendorff_alpha([1, 2], ["a", "b"]) == undefined(NO_UNITS)
    assert krippendorff_alpha([1, 1, 2, 2], ["a"] * 4) == undefined(ONE_VALUE, 2, 2)
    assert percent_agreement([1], ["a"]) == undefined(NO_UNITS)


def test_a_coefficient_cannot_have_both_or_neither() -> None:
    with pytest.raises(ValueError, match="value or a reason"):
        Coefficient(None, None, 0, 0)
    with pytest.raises(ValueError, match="value or a reason"):
        Coefficient(0.5, "but why", 0, 0)


def test_ratio_refuses_negative_values() -> None:
    with pytest.raises(ValueError, match="zero or more"):
        krippendorff_alpha([1, 1, 2, 2], [-1, 2, 3, 3], "ratio")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=12),
    st.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
def test_alpha_equals_the_krippendorff_library(table: list[list[int]], level: Level) -> None:
    """0 is a missing judgment; the columns are people."""
    cells = [(unit, v) for unit, row in enumerate(table) for v in row if v]
    pairable = [v for row in table if sum(map(bool, row)) > 1 for v in row if v]
    assume(len(set(pairable)) > 1)
    data = np.array([[float(v) if v else np.nan for v in row] for row in table]).T
    expected = krippendorff.alpha(reliability_data=data, level_of_measurement=level)
    found = krippendorff_alpha([u for u, _ in cells], [v for _, v in cells], level)
    assert found.value == pytest.approx(float(expected), abs=1e-9)
