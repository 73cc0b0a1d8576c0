"""Consensus of several people's answers: votes and ties, the result of 1979, raters that err on purpose, broken input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.consensus import dawid_skene, majority, one_coin, weighted
from qa.measures.ratings import Ratings, ratings_of

#: Dawid and Skene 1979, table 1: 45 patients; observer 1 three times, then observers 2 to 5.
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""
OBSERVERS = (1, 1, 1, 2, 3, 4, 5)


def patients() -> Ratings:
    cells = [
        (n, who, int(said)) for n, row in enumerate(PATIENTS.split()) for who, said in zip(OBSERVERS, row, strict=True)
    ]
    return ratings_of(*zip(*cells, strict=True))


def crowd(
    seed: int, rights: list[float], units: int = 400, k: int = 3
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Ratings]:
    """(the truth, judgments of raters who are right with these probabilities)"""
    source = np.random.default_rng(seed)
    truth = source.integers(k, size=units)
    said = [
        np.where(source.random(units) < right, truth, (truth + source.integers(1, k, size=units)) % k)
        for right in rights
    ]
    return truth, ratings_of(
        np.tile(np.arange(units), len(rights)), np.repeat(np.arange(len(rights)), units), np.concatenate(said)
    )


def test_the_result_of_1979() -> None:
    found = dawid_skene(patients(), smoothing=0.0)
    assert found.prior is not None and found.confusion is not None
    assert found.prior.round(2).tolist() == [0.4, 0.42, 0.11, 0.07]
    assert found.confusion[0].round(2).tolist() == [
        [0.89, 0.11, 0, 0],
        [0.07, 0.88, 0.05, 0],
        [0, 0.34, 0.66, 0],
        [0, 0, 0.56, 0.44],
    ]
    # The patient whom most call 3, and whom the observers' errors make a 4.
    assert (majority(patients()).labels[1], found.labels[1]) == (2, 3)


def test_votes_and_their_ties() -> None:
    ratings = ratings_of(list("aaabbccc"), [1, 2, 3, 1, 2, 1, 2, 3], list("xxyyzzzz"))
    found = majority(ratings)
    assert ratings.value_names[found.labels].tolist() == [
        "x",
        "z",
        "z",
    ]  # z is as common as y on b, and more common at all
    assert found.probability.tolist() == pytest.approx([2 / 3, 1 / 2, 1])
    assert found.support.tolist() == [2, 1, 3]
    heard = weighted(ratings, np.array([3.0, 0.0, 0.0]))
    assert ratings.value_names[heard.labels].tolist() == ["x", "y", "z"]
    assert weighted(ratings, np.zeros(3)).labels.tolist() == found.labels.tolist()
    with pytest.raises(ValueError, match="3 finite weights"):
        weighted(ratings, np.array([1.0, -1.0, np.nan]))


@pytest.mark.parametrize("method", [dawid_skene, one_coin])
def test_raters_who_guess_are_told_from_those_who_know(method: object) -> None:
    truth, ratings = crowd(3, [0.9, 0.85, 0.4, 0.35, 0.35])
    found = method(ratings)  # type: ignore[operator]
    right = (found.labels == truth).mean()
    assert right >= (majority(ratings).labels == truth).mean() + 0.05
    assert right >= 0.88
    skill = np.diagonal(found.confusion, axis1=1, axis2=2).mean(axis=1)
    assert skill.argsort()[::-1].tolist()[:2] in ([0, 1], [1, 0])
    assert skill == pytest.approx([0.9, 0.85, 0.4, 0.35, 0.35], abs=0.1)


def test_a_rater_who_swaps_two_values_is_understood() -> None:
    truth, ratings = crowd(5, [0.9, 0.9, 0.9])
    swapped = np.where(ratings.raters == 2, np.array([1, 0, 2])[ratings.values], ratings.values)
    found = dawid_skene(ratings_of(ratings.units, ratings.raters, swapped))
    assert found.confusion is not None
    assert found.confusion[2].argmax(axis=1).tolist() == [1, 0, 2]
    assert (found.labels == truth).mean() >= 0.93


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=30))
def test_every_method_gives_probabilities_and_keeps_what_all_agree_on(cells: list[tuple[int, int, str]]) -> None:
    ratings = ratings_of(*zip(*cells, strict=True))
    for found in (majority(ratings), dawid_skene(ratings), dawid_skene(ratings, smoothing=0.0), one_coin(ratings)):
        assert found.posterior == pytest.approx(found.posterior.clip(0, 1))
        assert found.posterior.sum(axis=1) == pytest.approx(np.ones(len(ratings.unit_names)))
        assert found.labels.min() >= 0 and (found.support <= ratings.sizes).all()
    voted = majority(ratings)
    agreed = voted.support == ratings.sizes
    assert (voted.probability[agreed] == 1.0).all()


def test_no_judgments_have_no_consensus() -> None:
    for found in (
        majority(ratings_of([], [], [])),
        dawid_skene(ratings_of([], [], [])),
        one_coin(ratings_of([], [], [])),
    ):
        assert len(found.labels) == 0
