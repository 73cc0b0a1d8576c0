"""Coefficients of agreement: published worked examples to the digit, independent libraries and plain loops on random data."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import krippendorff
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from qa.measures.chance import NO_UNITS, ONE_VALUE, Level, agreement_of
from qa.measures.rater_pairs import REPEATED, cohens_kappa_mean, rater_pairs
from qa.measures.ratings import Ratings, ratings_of

#: Krippendorff 2011, example C (four observers, twelve units, five values), also Gwet's table of four raters.
C = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
#: Four people, forty units, a quarter missing, drawn at random.
DRAWN = """
4 4 . 4 2 4 3 1 2 1 . 2 3 2 1 1 3 1 1 3 1 3 4 . 1 2 2 4 . 4 . 1 1 3 3 . 2 3 1 .
4 . 1 . . . . 2 . 1 . . . 1 3 . 2 . 1 4 . 4 4 1 2 3 2 4 1 . 4 4 3 2 1 2 1 . 3 .
2 3 1 . 2 3 3 2 3 1 2 . 3 2 1 2 . . 1 2 4 . 2 1 . 1 2 . 4 4 4 4 . 2 3 2 1 1 3 1
. 4 2 . . 2 3 4 . . 2 2 3 2 1 . 1 1 1 . . 3 4 2 . 2 1 . 3 . 1 4 1 . 4 3 . . 3 .
"""
#: Fleiss 1971, table 1: 30 patients, 6 psychiatrists each, by depression, personality disorder, schizophrenia, neurosis, other.
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006
10050 11040 03300 10050 02031 00501 30012 51000 02040 10203
00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
#: Cohen 1968, table 1: 200 patients, proportions of two psychiatrists, and the weights of disagreement.
COHEN = ((0.44, 0.07, 0.09), (0.05, 0.20, 0.05), (0.01, 0.03, 0.06))


def table(text: str) -> Ratings:
    rows = [line.split() for line in text.strip().splitlines()]
    cells = [
        (unit, rater, int(value)) for rater, row in enumerate(rows) for unit, value in enumerate(row) if value != "."
    ]
    return ratings_of(*zip(*cells, strict=True))


def values_of(ratings: Ratings, level: Level = "nominal") -> dict[str, float | None]:
    return {name: each.coefficient.value for name, each in agreement_of(ratings, level, samples=0).items()}


# -- published ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_krippendorffs_example(level: Level, alpha: float) -> None:
    assert values_of(table(C), level)["krippendorff_alpha"] == pytest.approx(alpha, abs=5e-4)


def test_gwets_table_of_four_raters() -> None:
    found = values_of(table(C))
    assert found["gwet_ac1"] == pytest.approx(0.77544, abs=5e-6)
    assert found["fleiss_kappa"] == pytest.approx(0.76117, abs=5e-6)
    assert found["krippendorff_alpha"] == pytest.approx(0.74342, abs=5e-6)


def test_fleiss_example() -> None:
    rows = FLEISS.split()
    cells = [(i, value) for i, row in enumerate(rows) for value, count in enumerate(row) for _ in range(int(count))]
    ratings = ratings_of([i for i, _ in cells], np.arange(len(cells)), [value for _, value in cells])
    found = values_of(ratings)
    assert (len(rows), len(ratings)) == (30, 180)
    assert found["percent_agreement"] == pytest.approx(0.5556, abs=5e-5)
    assert found["fleiss_kappa"] == pytest.approx(0.430, abs=5e-4)
    # All digits as statsmodels 0.14.6 gave them once.
    assert found["fleiss_kappa"] == pytest.approx(0.43024452006014074, abs=1e-9)


def test_cohens_example() -> None:
    cells = [(a, b) for a, row in enumerate(COHEN) for b, share in enumerate(row) for _ in range(round(200 * share))]
    units = [unit for unit in range(200) for _ in range(2)]
    ratings = ratings_of(units, ["ada", "bob"] * 200, [value for pair in cells for value in pair])
    kappa = cohens_kappa_mean(ratings)
    assert (kappa.n_units, kappa.n_pairs) == (200, 1)
    assert kappa.value == pytest.approx(0.492, abs=5e-4)


# -- independent implementations ------------------------------------------------------------------------------------------


def random_ratings(seed: int, units: int = 200, people: int = 5, k: int = 4) -> tuple[np.ndarray[Any, Any], Ratings]:
    source = np.random.default_rng(seed)
    truth = source.integers(k, size=units)
    given = np.where(source.random((people, units)) < 0.6, truth, source.integers(k, size=(people, units))).astype(
        float
    )
    given[source.random((people, units)) < 0.3] = np.nan
    rater, unit = np.nonzero(~np.isnan(given))
    return given, ratings_of(unit, rater, given[rater, unit])


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_the_library(level: Level, seed: int) -> None:
    given, ratings = random_ratings(seed)
    theirs = krippendorff.alpha(given, level_of_measurement=level)
    assert values_of(ratings, level)["krippendorff_alpha"] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
def test_cohens_kappas_are_those_of_scikit_learn(
    weights: Literal["none", "linear", "quadratic"], theirs: str | None
) -> None:
    given, ratings = random_ratings(7)
    pairs = rater_pairs(ratings, weights)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == list(combinations(range(5), 2))
    for a, b, shared, agreeing, kappa in zip(
        pairs.first, pairs.second, pairs.shared, pairs.agreeing, pairs.kappa, strict=True
    ):
        both = ~np.isnan(given[a]) & ~np.isnan(given[b])
        assert (shared, agreeing) == (both.sum(), (given[a][both] == given[b][both]).sum())
        expected = cohen_kappa_score(given[a][both], given[b][both], labels=range(4), weights=theirs)
        assert kappa == pytest.approx(expected, abs=1e-9)


#: Of C and DRAWN by level: AC1 or AC2, alpha, and of names Fleiss' kappa, as irrCAC 0.4.4 gave them in its own environment
#: (pandas 2.3.3, numpy 1.26.4; on pandas 3 it counts nan as a value). Its alpha of ranks has Gwet's weights, not Krippendorff's.
IRRCAC: dict[str, dict[Level, tuple[float, float | None, float | None]]] = {
    C: {
        "nominal": (0.775444068126995, 0.743421052631579, 0.761169275422411),
        "ordinal": (0.898939769907511, None, None),
        "interval": (0.914000723551605, 0.849107142857142, None),
        "ratio": (0.857367557829635, 0.797402774711612, None),
    },
    DRAWN: {
        "nominal": (0.259484064310051, 0.245314803116446, 0.250710294928344),
        "ordinal": (0.348300697175313, None, None),
        "interval": (0.363694497608198, 0.326791555159085, None),
        "ratio": (0.285975311345283, 0.284907115806396, None),
    },
}


@pytest.mark.parametrize("text", IRRCAC, ids=["C", "drawn"])
@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_coefficients_are_those_of_irrcac(text: str, level: Level) -> None:
    found = values_of(table(text), level)
    gwet, alpha, fleiss = IRRCAC[text][level]
    assert found["gwet_ac1" if level == "nominal" else "gwet_ac2"] == pytest.approx(gwet, abs=1e-9)
    assert alpha is None or found["krippendorff_alpha"] == pytest.approx(alpha, abs=1e-9)
    assert fleiss is None or found["fleiss_kappa"] == pytest.approx(fleiss, abs=1e-9)


judgments = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), max_size=40)


def plainly(cells: list[tuple[int, int, int]], level: Level) -> dict[str, float | None]:
    """Fleiss, AC1, AC2 and percent as their papers have them, unit by unit."""
    units: dict[int, list[int]] = {}
    for unit, _, value in cells:
        units.setdefault(unit, []).append(value)
    names = sorted({value for _, _, value in cells})
    k = len(names)
    several = [found for found in units.values() if len(found) > 1]
    if not several:
        return dict.fromkeys(("percent_agreement", "fleiss_kappa", "gwet_ac1", "gwet_ac2"))
    mean = {name: sum(found.count(name) / len(found) for found in units.values()) / len(units) for name in names}

    def weight(a: int, b: int) -> float:
        if level == "nominal" or k < 2:
            return float(a == b)
        if level == "ordinal":
            steps, most = abs(names.index(a) - names.index(b)), k - 1
            return 1 - steps * (steps + 1) / (most * (most + 1))
        if level == "interval":
            return 1 - (a - b) ** 2 / (names[-1] - names[0]) ** 2
        largest = max(((x - y) / (x + y)) ** 2 for x in names for y in names if x + y)
        return 1 - (((a - b) / (a + b)) ** 2 if a + b else 0.0) / largest

    def corrected(observed: float, chance: float) -> float | None:
        return None if chance > 1 - 1e-12 else (observed - chance) / (1 - chance)

    def share(found: list[int], weighted: bool) -> float:
        pairs = [(i, j) for i in range(len(found)) for j in range(len(found)) if i != j]
        return sum(weight(found[i], found[j]) if weighted else found[i] == found[j] for i, j in pairs) / len(pairs)

    plain = sum(share(found, False) for found in several) / len(several)
    weighted = sum(share(found, True) for found in several) / len(several)
    spread = sum(each * (1 - each) for each in mean.values())
    total = sum(weight(a, b) for a in names for b in names)
    equal = sum(found[i] == found[j] for found in several for i, j in combinations(range(len(found)), 2))
    return {
        "percent_agreement": equal / sum(len(found) * (len(found) - 1) / 2 for found in several),
        "fleiss_kappa": corrected(plain, sum(each**2 for each in mean.values())),
        "gwet_ac1": corrected(plain, spread / (k - 1)) if k > 1 else None,
        "gwet_ac2": corrected(weighted, total * spread / (k * (k - 1))) if k > 1 else None,
    }


@given(judgments, st.sampled_from(["nominal", "ordinal", "interval", "ratio"]))
def test_coefficients_are_those_of_plain_loops(cells: list[tuple[int, int, int]], level: Level) -> None:
    columns = list(zip(*cells, strict=True)) or [(), (), ()]
    found = values_of(ratings_of(*columns), level)
    expected = plainly(cells, level)
    for name, value in found.items():
        if name != "krippendorff_alpha":
            assert value == pytest.approx(expected[name], abs=1e-9), name


# -- what is undefined, and intervals --------------------------------------------------------------------------------------


def test_what_is_undefined_says_why() -> None:
    alone = agreement_of(ratings_of([1, 2], [1, 2], ["a", "b"]))
    assert {each.coefficient.reason for each in alone.values()} == {NO_UNITS}
    same = {name: each.coefficient for name, each in agreement_of(ratings_of([1, 1], [1, 2], ["a", "a"])).items()}
    assert same["percent_agreement"].value == 1.0
    assert {same[name].reason for name in same if name != "percent_agreement"} == {ONE_VALUE}
    assert cohens_kappa_mean(ratings_of([1, 1, 1], [1, 2, 2], ["a", "a", "b"])).reason == REPEATED
    assert agreement_of(ratings_of([], [], []))["gwet_ac1"].coefficient.reason == NO_UNITS
    with pytest.raises(ValueError, match="a unit, a rater and a value"):
        ratings_of([1], [1, 2], [1])
    with pytest.raises(ValueError, match="the level interval needs numbers"):
        agreement_of(ratings_of([1, 1], [1, 2], ["a", "b"]), "interval")


def test_missing_values_are_no_judgments_and_names_are_in_order() -> None:
    ratings = ratings_of(
        ["t", "t", "t", "s"], ["bob", "ada", "eve", "ada"], ["no", None, "yes", "no"], possible=["maybe"]
    )
    assert ratings.value_names.tolist() == ["maybe", "no", "yes"]
    assert ratings.unit_names.tolist() == ["s", "t"] and ratings.rater_names.tolist() == ["ada", "bob", "eve"]
    assert len(ratings) == 3


def test_texts_of_every_number_and_order_are_coded_alike() -> None:
    source = np.random.default_rng(2)
    for most, sort in ((20_000, False), (20_000, True), (3, False), (3, True)):
        texts = [f"t{number}" for number in source.integers(most, size=12_000).tolist()]
        texts = sorted(texts) if sort else texts
        ratings = ratings_of(pl.Series(texts), np.zeros(len(texts)), np.zeros(len(texts)))
        names, codes = np.unique(texts, return_inverse=True)
        assert ratings.unit_names.tolist() == names.tolist()
        assert ratings.units.tolist() == codes.tolist()


def test_columns_of_polars_are_coded_like_arrays() -> None:
    units, raters, values = ["t", "t", "s", "r"], [7, 9, 9, 7], ["no", None, "", "yes"]
    for kind in (pl.String, pl.Categorical):
        series = (pl.Series(units, dtype=kind), pl.Series(raters), pl.Series(values, dtype=kind))
        for possible in ([], ["maybe", "no"]):
            ours, theirs = ratings_of(*series, possible=possible), ratings_of(units, raters, values, possible=possible)
            for name in ("units", "raters", "values", "unit_names", "rater_names", "value_names"):
                assert getattr(ours, name).tolist() == getattr(theirs, name).tolist(), name
    numbers = ratings_of(pl.Series([1, 1, 2]), pl.Series([1, 2, 1]), pl.Series([0.5, float("nan"), None]))
    assert (numbers.value_names.tolist(), len(numbers)) == ([0.5], 1)
    nothing = pl.Series([], dtype=pl.String)
    assert len(ratings_of(nothing, nothing, nothing)) == 0
    assert ratings_of(nothing, nothing, nothing, possible=["b", "a"]).value_names.tolist() == ["a", "b"]


def test_intervals_hold_the_value_of_the_whole_population_as_often_as_they_say() -> None:
    _, whole = random_ratings(1, units=40_000)
    truth = values_of(whole)
    held = dict.fromkeys(truth, 0)
    for seed in range(100):
        _, some = random_ratings(100 + seed, units=150)
        for name, each in agreement_of(some, samples=200, seed=seed).items():
            assert each.low is not None and each.high is not None and truth[name] is not None
            held[name] += each.low <= truth[name] <= each.high
    assert all(86 <= count <= 100 for count in held.values()), held
