"""Entities with confidence are the entities that spaCy itself finds, and their scores are those that it chose by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from spacy_pipelines import random_recogniser

from backends.spacy_nlp.decoding import decode, parses
from backends.spacy_nlp.moves import Moves

pytestmark = pytest.mark.integration

WORDS = [
    "Ann Lee",
    "Bob",
    "saw",
    ".",
    "\n",
    "\r\n",
    " ",
    "🙂",
    "👩‍🔬",
    "漢字",
    "Zoë's",
    "U.K.",
    "...",
    "x",
    "!",
    "12:30",
]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join), min_size=1, max_size=8)
KINDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "sentences": {"before": ("sentencizer",)},
    "six features": {"extra_state_tokens": True},
    "no upper layer": {"use_upper": False},
    "one piece": {"maxout_pieces": 1},  # here spaCy's fast parse and its step model score differently themselves
    "beam": {"factory": "beam_ner"},
    "entities set before": {"before": ("entity_ruler",)},
}


@lru_cache
def recogniser(kind: str, seed: int) -> Any:
    return random_recogniser(seed, **KINDS[kind])


def docs_before(nlp: Any, given_texts: Sequence[str]) -> list[Any]:
    """The Docs as they come to the recogniser."""
    docs = [nlp.make_doc(text) for text in given_texts]
    for _, component in nlp.pipeline[:-1]:
        docs = [component(doc) for doc in docs]
    return docs


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_entities_are_those_of_spacy(kind: str, data: st.DataObject) -> None:
    nlp, given_texts = recogniser(kind, data.draw(st.integers(0, 2))), data.draw(texts)
    theirs = [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in nlp.pipe(given_texts)]
    ours = decode(nlp.get_pipe("ner"), docs_before(nlp, given_texts), want=frozenset({"probs", "embedding"}))
    assert [[(s.start, s.end, s.label) for s in said.spans] for said in ours] == theirs
    for said, text in zip(ours, given_texts, strict=True):
        assert all(0.0 <= (span.score or 0.0) <= 1.0 for span in said.spans)
        assert all(0.0 <= doubt <= 1.0 for doubt in said.doubts)
        assert list(said.doubts) == sorted(said.doubts, reverse=True)
        assert bool(said.doubts) == bool(said.embedding) == bool(said.chances) == bool(text)
        for span in said.spans:
            assert (span.score or 0.0) <= said.chances[span.label] + 1e-6


@pytest.mark.parametrize("kind", ["usual", "sentences", "six features", "no upper layer"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_each_transition_is_the_best_valid_one_by_the_scores(kind: str, data: st.DataObject) -> None:
    nlp = recogniser(kind, data.draw(st.integers(0, 2)))
    for parse in parses(nlp.get_pipe("ner"), docs_before(nlp, data.draw(texts))):
        made = parse.scores[np.arange(len(parse.chosen)), parse.chosen]
        assert np.allclose(made, parse.scores.max(axis=1), atol=1e-4)
        assert np.allclose(parse.chances(2.0).sum(axis=1), 1.0, atol=1e-4)


def test_validity_is_that_of_spacy_step_by_step() -> None:
    nlp = recogniser("sentences", 1)
    ner, moves = nlp.get_pipe("ner"), Moves.of(nlp.get_pipe("ner"))
    names = [ner.moves.get_class_name(column) for column in range(ner.moves.n_moves)]
    (doc,) = docs_before(nlp, ["Ann Lee saw Bob . \n 🙂 saw U.K. x ! Ann Lee 12:30 Zoë's Bob ... saw \r\n x Bob"])
    (parse,) = parses(ner, [doc])
    (state,) = ner.moves.init_batch([docs_before(nlp, [doc.text])[0]])
    for row, column in zip(parse.scores, parse.chosen, strict=True):
        valid = [ner.moves.is_valid(state, name) for name in names]
        assert np.isfinite(row).tolist() == valid
        ner.moves.apply_transition(state, names[column])
    assert state.is_final() and len(parse.first) > 2 and moves.labels


def test_a_higher_temperature_makes_every_entity_less_sure() -> None:
    nlp = recogniser("usual", 0)
    docs = docs_before(nlp, ["Ann Lee saw Bob . x 12:30 Zoë's"] * 3)
    warm = decode(nlp.get_pipe("ner"), docs, 4.0)
    cold = decode(nlp.get_pipe("ner"), docs_before(nlp, [doc.text for doc in docs]), 0.5)
    scores = [[span.score or 0.0 for said in which for span in said.spans] for which in (warm, cold)]
    assert len(scores[0]) == len(scores[1]) > 0
    assert all(low < high or high > 0.99 for low, high in zip(*scores, strict=True))


def test_the_recogniser_is_left_as_it_was_also_when_it_fails() -> None:
    nlp = random_recogniser(0)
    ner = nlp.get_pipe("ner")
    model = ner.model
    with pytest.raises(AttributeError):
        decode(ner, ["no doc"])
    assert ner.model is model
    assert decode(ner, []) == []
    assert [said.spans for said in decode(ner, [nlp.make_doc("")])] == [[]]


def test_several_threads_find_the_same() -> None:
    nlp = recogniser("usual", 0)
    source = np.random.default_rng(0)
    many = [" ".join(source.choice(WORDS, source.integers(0, 30))) for _ in range(200)]
    alone, together = (
        decode(nlp.get_pipe("ner"), [nlp.make_doc(text) for text in many], threads=threads) for threads in (1, 3)
    )
    theirs = [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in nlp.pipe(many)]
    assert [[(s.start, s.end, s.label) for s in said.spans] for said in together] == theirs
    for one, other in zip(alone, together, strict=True):
        assert [s.score for s in one.spans] == pytest.approx([s.score for s in other.spans], abs=1e-5)
        assert one.doubts == pytest.approx(other.doubts, abs=1e-5)
