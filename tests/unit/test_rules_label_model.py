"""The label model: votes into probabilities, accuracies counted or estimated, evidence cooled where rules repeat another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.rules.items import NO_ENTITY, Items, items_of, truth_of
from backends.rules.label_model import (
    STRENGTH,
    Floats,
    LabelModel,
    Voter,
    declared_model,
    fitted_temperature,
    learned_from_agreement,
    learned_from_gold,
)
from backends.rules.rule_file import RuleFile
from backends.rules.voting import Vote


def model_of(classes: str, voters: str, accuracy: float = 0.7, exclusive: bool = True) -> LabelModel:
    """A model with one-letter classes, and a voter of each letter of `voters`."""
    said = [Voter(f"r{at}", label, accuracy, accuracy) for at, label in enumerate(voters)]
    return declared_model(tuple(classes), said, exclusive, None)


def simulated(
    classes: str, per_class: int, count: int, seed: int, exclusive: bool = True
) -> tuple[LabelModel, Floats, Floats]:
    """(model, fired, truth) of `count` items, with voters of known quality that err independently of one another."""
    rng = np.random.default_rng(seed)
    model = model_of(classes, "".join(name * per_class for name in classes), exclusive=exclusive)
    priors = rng.dirichlet(np.full(len(classes), 8.0))
    truth = (
        np.eye(len(classes))[rng.choice(len(classes), count, p=priors)]
        if exclusive
        else (rng.random((count, len(classes))) < 0.3).astype(float)
    )
    columns = []
    for column in model.columns:
        is_true = truth[:, column] > 0
        inside, outside = rng.uniform(0.3, 0.6), rng.uniform(0.01, 0.15)
        columns.append(rng.random(count) < np.where(is_true, inside, outside))
    return model, np.array(columns, dtype=float).T, truth


def right_share(model: LabelModel, fired: Floats, truth: Floats) -> Floats:
    share: Floats = (fired * truth[:, model.columns]).sum(axis=0) / fired.sum(axis=0)
    return share


def test_one_vote_has_the_probability_of_its_accuracy_and_silence_that_of_the_classes() -> None:
    model = declared_model(("a", "b", "c"), [Voter("r", "a", 0.8, 0.8)], True, {"a": 0.2})
    fired, silent = model.probabilities(np.array([[1.0], [0.0]]))
    assert fired.tolist() == pytest.approx([0.8, 0.1, 0.1])
    assert silent.tolist() == pytest.approx([0.2, 0.4, 0.4])


def test_votes_add_up_and_contradict_and_weights_weaken_them() -> None:
    model = model_of("ab", "aab", 0.8)
    both, split, three = model.probabilities(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    assert both[0] == pytest.approx(16 / 17)  # odds 4 times 4
    assert split[0] == pytest.approx(0.5)
    assert three[0] == pytest.approx(0.8)
    weak = replace(model, voters=(replace(model.voters[0], weight=0.0), *model.voters[1:]))
    assert weak.probabilities(np.array([[1.0, 0.0, 0.0]]))[0].tolist() == pytest.approx([0.5, 0.5])
    cool = replace(model, temperature=2.0).probabilities(np.array([[1.0, 1.0, 0.0]]))
    assert cool[0, 0] == pytest.approx(0.8)


def test_classes_that_do_not_exclude_one_another_are_judged_by_themselves() -> None:
    model = model_of("ab", "aab", 0.8, exclusive=False)
    (row,) = model.probabilities(np.array([[1.0, 1.0, 1.0]]))
    assert row.tolist() == pytest.approx([16 / 17, 0.8])


def test_priors_are_completed() -> None:
    assert declared_model(("a", "b", "c"), [], True, {"a": 0.5}).priors.tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert declared_model(("a", "b"), [], False, {"a": 0.1}).priors.tolist() == pytest.approx([0.1, 0.5])
    assert declared_model(("a", "b"), [], True, {"a": 0.9, "b": 0.9}).priors.tolist() == pytest.approx([0.5, 0.5])


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=8),
    st.lists(st.floats(0.01, 0.99), min_size=4, max_size=4),
    st.booleans(),
)
def test_probabilities_are_probabilities(rows: list[list[float]], accuracies: list[float], exclusive: bool) -> None:
    voters = [Voter(f"r{at}", "aabc"[at], accuracy, accuracy) for at, accuracy in enumerate(accuracies)]
    chances = declared_model(("a", "b", "c"), voters, exclusive, None).probabilities(np.array(rows))
    assert chances.shape == (len(rows), 3) and (chances >= 0).all() and (chances <= 1).all()
    if exclusive:
        assert chances.sum(axis=1).tolist() == pytest.approx([1.0] * len(rows))


def test_counted_accuracies_are_drawn_to_the_declared_ones() -> None:
    model = model_of("ab", "ab", 0.6)
    fired = np.array([[1.0, 0.0]] * 10 + [[0.0, 0.0]] * 10)
    truth = np.array([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 12)
    learned = learned_from_gold(model, fired, truth)
    first, second = learned.voters
    assert first.accuracy == pytest.approx((8 + STRENGTH * 0.6) / (10 + STRENGTH))
    assert (first.votes, second.votes, second.accuracy) == (10, 0, pytest.approx(0.6))
    assert learned.priors.tolist() == pytest.approx([9 / 22, 13 / 22])
    assert learned.source == "gold"
    kept = learned_from_gold(model, fired, truth, keep_priors=True)
    assert kept.priors.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("classes", "exclusive"), [("abc", True), ("abcde", True), ("ab", False)])
def test_accuracies_are_found_without_labels(classes: str, exclusive: bool) -> None:
    model, fired, truth = simulated(classes, 5, 3000, 4, exclusive)
    learned = learned_from_agreement(model, fired)
    real = right_share(model, fired, truth)
    found = np.array([voter.accuracy for voter in learned.voters])
    assert learned.source == "agreement"
    assert np.abs(found - real).mean() < 0.06
    assert np.abs(found - real).mean() < 0.5 * np.abs(0.7 - real).mean()
    assert np.corrcoef(found, real)[0, 1] > 0.8


def test_what_is_estimated_predicts_better_than_counting_votes() -> None:
    model, fired, truth = simulated("abc", 4, 4000, 7)
    fired[:, 0] = np.random.default_rng(1).random(4000) < 0.4  # a rule that fires at random
    seen = fired.any(axis=1)
    learned = learned_from_agreement(model, fired)

    def right(used: LabelModel) -> float:
        return float((used.probabilities(fired[seen]).argmax(axis=1) == truth[seen].argmax(axis=1)).mean())

    assert right(learned) > right(model) + 0.05
    assert learned.voters[0].accuracy < 0.5


def test_rules_that_never_meet_keep_their_declared_accuracy() -> None:
    model = model_of("ab", "ab", 0.9)
    fired = np.zeros((400, 2))
    fired[:20, 0] = fired[20:40, 1] = 1.0
    learned = learned_from_agreement(model, fired)
    assert [voter.accuracy for voter in learned.voters] == pytest.approx([0.9, 0.9], abs=0.08)
    none = learned_from_agreement(model, np.zeros((5, 2)))
    assert [voter.accuracy for voter in none.voters] == pytest.approx([0.9, 0.9])


def test_copies_of_a_rule_are_cooled() -> None:
    rng = np.random.default_rng(3)
    truth = np.eye(2)[rng.integers(0, 2, 2000)]
    said = rng.random(2000) < np.where(truth[:, 0] > 0, 0.6, 0.2)
    model = model_of("ab", "aaaab")
    fired = np.column_stack([said] * 4 + [rng.random(2000) < 0.3]).astype(float)
    learned = learned_from_gold(model, fired[:1000], truth[:1000])
    held = fired[1000:], truth[1000:]
    temperature = fitted_temperature([(learned, *held)])
    assert 3.0 < temperature < 5.0  # four copies say what one knows
    copied = held[0][:, 0] > 0
    calibrated = replace(learned, temperature=temperature).probabilities(held[0][copied])[:, 0]
    share = held[1][copied, 0].mean()
    assert abs(calibrated.mean() - share) < 0.05 < learned.probabilities(held[0][copied])[:, 0].mean() - share


def test_items_are_tasks_or_the_spans_that_were_found() -> None:
    rules = [{"name": name, "version": 1, "kind": "keyword", "keywords": ["x"], "label": "a"} for name in ("r0", "r1")]
    file = RuleFile.model_validate({"version": 1, "control": "c", "target": "spans", "rules": rules})
    voters = [Voter("r0", "a", 0.7, 0.7), Voter("r1", "a", 0.7, 0.7), Voter("r1", "b", 0.7, 0.7)]
    cast = [[Vote(0, "a", 0, 3), Vote(1, "a", 0, 3), Vote(1, "b", 5, 6)], [], [Vote(1, "z", 1, 2)]]
    items = items_of(cast, file, voters, spans=True)
    assert items.tasks == (0, 0, 2) and items.places == ((0, 3), (5, 6), (1, 2))
    assert items.fired.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    truths = [frozenset({(0, 3, "b")}), frozenset(), frozenset({(1, 9, "a")})]
    assert truth_of(items, truths, ("a", "b", NO_ENTITY)).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    whole = items_of([[Vote(0, "a")], []], file, voters, spans=False)
    assert whole.tasks == (0, 1) and whole.fired.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert truth_of(whole, [frozenset({"b"}), frozenset()], ("a", "b")).tolist() == [[0, 1], [0, 0]]
    empty = items_of([], file, voters, spans=True)
    assert isinstance(empty, Items) and empty.fired.shape == (0, 3)
