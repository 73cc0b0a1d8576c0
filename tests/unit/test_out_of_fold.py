"""Out-of-fold probabilities of texts: duplicates stay together, classes are spread, nothing is told of what was seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._injected_errors import measure_boxes, measure_spans, measure_texts
from labelloop.demo.texts import generate_classification
from labelloop.errors import NotReady
from sync.ingesting.fingerprints import text_fingerprint
from sync.near_groups import near_groups
from sync.out_of_fold import Example, group_folds, text_chances


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), min_size=1, max_size=60), st.integers(0, 9))
def test_a_group_is_in_one_fold(items: list[tuple[str, int]], seed: int) -> None:
    fold = group_folds([label for label, _ in items], [group for _, group in items], 5, seed)
    assert fold.min() >= 0 and fold.max() < 5
    assert len({(group, at) for (_, group), at in zip(items, fold.tolist(), strict=True)}) == len({g for _, g in items})


def test_classes_are_spread_evenly_over_the_folds() -> None:
    labels = ["a"] * 50 + ["b"] * 25 + ["c"] * 10
    fold = group_folds(labels, range(85), 5, 0)
    counts = Counter(zip(labels, fold.tolist(), strict=True))
    assert {counts[("a", at)] for at in range(5)} == {10}
    assert {counts[("b", at)] for at in range(5)} == {5} and {counts[("c", at)] for at in range(5)} == {2}


def test_a_text_is_not_judged_by_a_model_that_saw_its_twin() -> None:
    """A nonsense text and its twin, both wrongly labelled: held out together, the model knows nothing of them."""
    rows = [Example(at, each.text, each.label, at) for at, each in enumerate(generate_classification(60))]
    twins = [Example(100 + at, "zzqx vvkw jjyu ppfh", "billing", 100 + at) for at in range(2)]
    apart = text_chances([*rows, *twins])
    together = text_chances([*rows, *(Example(e.task, e.text, e.label, "twins") for e in twins)])
    assert set(together) == set(apart) == {each.task for each in (*rows, *twins)}
    assert together[100]["billing"] < apart[100]["billing"] - 0.1
    assert all(sum(each.values()) == pytest.approx(1) for each in together.values())


def test_too_little_to_learn_from_says_so() -> None:
    few = [Example(at, f"text {at}", "ab"[at % 2], at) for at in range(19)]
    one_class = [Example(at, f"text {at}", "a", at) for at in range(30)]
    one_group = [Example(at, "text", "ab"[at % 2], 1) for at in range(30)]
    for examples in (few, one_class, one_group):
        with pytest.raises(NotReady, match="out-of-fold predictions need 20 labelled texts"):
            text_chances(examples)


def test_near_texts_make_groups_across_chains() -> None:
    base = "the parcel was left with a neighbour who does not know anything about it and nobody answers the telephone"
    texts = {1: base, 2: base.upper(), 3: base + "!", 4: "an entirely different message about an invoice", 5: "hello"}
    assert near_groups({task: text_fingerprint(text) for task, text in texts.items()}) == [[1, 2, 3]]
    zeros, close, far = "phash256:" + "0" * 64, "phash256:" + "0" * 62 + "ff", "phash256:" + "f" * 64
    assert near_groups({1: zeros, 2: close, 3: far}) == [[1, 2]]
    assert near_groups({}) == near_groups({1: zeros}) == []


def test_injected_errors_are_found_far_above_chance() -> None:
    pairs = [(each.text, each.label) for each in generate_classification(400)]
    uniform, confusable = measure_texts(pairs)
    assert uniform["injected"] == confusable["injected"] == 40
    assert uniform["precision"] >= 0.7 and confusable["precision"] >= 0.5, (uniform, confusable)
    for each in (*measure_boxes(100), *measure_spans(200)):
        assert each["precision"] >= 0.7, each
        assert len(each["found"]) == 3, each


def test_chance_finds_what_chance_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With probabilities drawn at random nothing is found beyond chance: the measurement has no leak of the truth."""

    def at_random(examples: list[Example]) -> dict[int, dict[str, float]]:
        names = sorted({each.label for each in examples})
        rows = np.random.default_rng(len(names)).dirichlet(np.ones(len(names)), len(examples))
        return {
            each.task: dict(zip(names, row, strict=True)) for each, row in zip(examples, rows.tolist(), strict=True)
        }

    monkeypatch.setattr("benchmarks._injected_errors.text_chances", at_random)
    for each in measure_texts([(each.text, each.label) for each in generate_classification(240)]):
        assert each["precision"] <= 0.35, each
