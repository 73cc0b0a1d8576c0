"""Scores by weights are, of every trainer, the metric of the resample that the weights describe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.protocols import Trainer
from backends.rules.training import RulesTrainer
from backends.sklearn_text.training import SklearnTrainer
from backends.spacy_nlp.training import SpacyTrainer
from backends.yolo.training import YoloTrainer

NAMES = st.sampled_from(["a", "b", "c"])
COUNTS = st.dictionaries(NAMES, st.integers(1, 3), max_size=3)
COUNTED = st.fixed_dictionaries({"tp": COUNTS, "fp": COUNTS, "fn": COUNTS})
TEXTS = st.fixed_dictionaries({"truth": NAMES, "predicted": st.none() | NAMES})
RULED = st.fixed_dictionaries(
    {
        "choices": st.fixed_dictionaries({}, optional={"topic": COUNTED, "tone": COUNTED}),
        "spans": st.fixed_dictionaries({}, optional={"label": COUNTED}),
    }
)


@st.composite
def images(draw: st.DrawFn) -> dict[str, Any]:
    """A task's matches by kind of network; of some kinds it may have none."""
    kinds = draw(st.sets(st.sampled_from(["detect", "segment"])))
    found = {kind: draw(matches()) for kind in sorted(kinds)}
    if draw(st.booleans()):
        truth, said = draw(NAMES), draw(st.none() | NAMES)
        found["classify"] = {
            "label": [said] if said else [], "score": [draw(st.integers(0, 10**9)) / 10**9] if said else [],
            "hit": [int(said == truth)] if said else [], "truths": {truth: 1},
        }  # fmt: skip
    return {"kinds": found}


@st.composite
def matches(draw: st.DrawFn) -> dict[str, Any]:
    """One image's matches; scores differ by chance, as two of one score may stand in either order."""
    said = draw(st.lists(st.tuples(NAMES, st.integers(0, 10**9), st.integers(0, 1)), max_size=6))
    missed = draw(COUNTS)
    hits = Counter(label for label, _, hit in said if hit)
    return {
        "label": [label for label, _, _ in said],
        "score": [score / 10**9 for _, score, _ in said],
        "hit": [hit for _, _, hit in said],
        "truths": {name: hits[name] + missed.get(name, 0) for name in {*hits, *missed}},
    }


def distinct(items: Sequence[Mapping[str, Any]]) -> bool:
    scores = [score for item in items for match in item["kinds"].values() for score in match["score"]]
    return len(set(scores)) == len(scores)


@pytest.mark.parametrize(
    ("trainer", "item"),
    [
        (SklearnTrainer(), TEXTS),
        (SpacyTrainer(), RULED),
        (RulesTrainer(), RULED),
        (YoloTrainer(), images()),
    ],
    ids=["sklearn_text", "spacy_nlp", "rules", "yolo"],
)
def test_scores_by_weights_are_those_of_the_resample(trainer: Trainer, item: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(item, min_size=1, max_size=8), st.data())
    def holds(items: list[Any], data: st.DataObject) -> None:
        if isinstance(trainer, YoloTrainer) and not distinct(items):
            return
        drawn = data.draw(st.lists(st.integers(0, len(items) - 1), min_size=1, max_size=12))
        weights = np.array([[1.0] * len(items), np.bincount(drawn, minlength=len(items))])
        found = trainer.scores(items, weights)
        assert found.headline[0] == pytest.approx(trainer.headline(items), abs=1e-12)
        assert found.headline[1] == pytest.approx(trainer.headline([items[at] for at in drawn]), abs=1e-12)
        assert found.classes.keys() == found.items.keys()
        assert all(len(each) == 2 and each.min() >= 0 and each.max() <= 1 for each in found.classes.values())

    holds()


def test_the_items_of_a_class_are_those_where_it_is_true() -> None:
    ones = np.ones((1, 2))
    texts = [{"truth": "a", "predicted": "b"}, {"truth": "a", "predicted": "a"}]
    assert SklearnTrainer().scores(texts, ones).items == {"a": 2}
    assert SklearnTrainer().scores(texts, ones).classes["a"].tolist() == pytest.approx([2 / 3])
    spans = [{"tp": {"a": 3}, "fp": {"c": 1}, "fn": {}}, {"tp": {}, "fp": {}, "fn": {"b": 1}}]
    texts_with_spans = [{"choices": {}, "spans": {"l": each}} for each in spans]
    assert SpacyTrainer().scores(texts_with_spans, ones).items == {"a": 1, "b": 1}
    ruled = [{"choices": {"topic": spans[0], "tone": spans[1]}, "spans": {}}, {"choices": {}, "spans": {}}]
    assert RulesTrainer().scores(ruled, ones).items == {"tone/b": 1, "topic/a": 1}
    nothing: dict[str, Any] = {"label": [], "score": [], "hit": [], "truths": {}}
    box = {"label": ["a"], "score": [0.5], "hit": [1], "truths": {"a": 2}}
    boxes: list[dict[str, Any]] = [{"kinds": {"detect": box}}, {"kinds": {"detect": nothing}}]
    assert YoloTrainer().scores(boxes, ones).items == {"a": 1}
    assert YoloTrainer().scores(boxes, ones).classes["a"].tolist() == pytest.approx([51 / 101])
    chosen = {"label": ["c"], "score": [0.9], "hit": [1], "truths": {"c": 1}}
    both = [
        {"kinds": {"detect": box, "classify": chosen}},
        {"kinds": {"classify": chosen | {"label": ["d"], "hit": [0]}}},
    ]
    found = YoloTrainer().scores(both, ones)
    assert found.items == {"detect/a": 1, "classify/c": 2}
    assert found.headline.tolist() == pytest.approx([(51 / 101 + 2 / 3) / 2])
