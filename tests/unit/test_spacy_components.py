"""Which components of a pipeline are left out, and the temperature that is fitted on entities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from backends.calibration import fit_temperature
from backends.spacy_nlp.components import unused

LISTENER = {"model": {"tok2vec": {"@architectures": "spacy.Tok2VecListener.v1"}}}
OWN = {"model": {"tok2vec": {"@architectures": "spacy.HashEmbedCNN.v2"}}}


def pipeline(*names: str, ner: Mapping[str, object] = OWN) -> dict[str, dict[str, object]]:
    return {name: {"factory": name, **(ner if name == "ner" else {})} for name in names}


def test_s1_components_that_nobody_reads_are_left_out() -> None:
    usual = pipeline("tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "ner")
    assert set(unused(usual)) == {"tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer"}
    listening = pipeline("tok2vec", "tagger", "ner", ner=LISTENER)
    assert unused(listening) == ["tagger"]
    assert unused(pipeline("sentencizer", "span_finder", "spancat")) == []


def test_rules_may_read_tags_so_everything_stays_with_them() -> None:
    assert unused(pipeline("tagger", "lemmatizer", "entity_ruler", "ner")) == []
    assert unused(pipeline("tagger", "something_else", "ner")) == []


def test_what_answers_for_no_control_is_left_out() -> None:
    assert unused(pipeline("ner", "textcat"), frozenset({"textcat"})) == ["ner"]
    assert unused(pipeline("ner", "entity_ruler", "textcat"), frozenset({"ner"})) == ["textcat"]


def sharpened(chances: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    odds = np.log(chances / (1 - chances)) / temperature
    return np.asarray(1 / (1 + np.exp(-odds)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_undoes_what_made_a_model_too_sure(temperature: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.uniform(0.05, 0.95, 4000)
    right = rng.uniform(size=4000) < honest
    said = sharpened(honest, 1 / temperature)
    assert fit_temperature(lambda t: sharpened(said, t), right) == pytest.approx(temperature, rel=0.15)


def test_few_entities_hold_the_temperature_near_one() -> None:
    said = np.full(3, 0.9)
    assert 0.7 < fit_temperature(lambda t: sharpened(said, t), np.ones(3, dtype=np.bool_)) < 1.4
    assert fit_temperature(lambda t: np.zeros(0), np.zeros(0, dtype=np.bool_)) == 1.0
