"""How Choices are learned: by spaCy's text categorizers, `textcat` for one choice and `textcat_multilabel` for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.calibration import LEAST_ANSWERS, fit_temperature, tempered, tempered_each
from backends.spacy_nlp.deciding import LEAST, deciding_score
from backends.spacy_nlp.examples import LabelledText
from backends.spacy_nlp.learning import Judged, hash_embed_cnn

_WORDS = 16_384  # weights of words for each class


@dataclass(frozen=True)
class TextcatRecipe:
    """A text categorizer; a class's confidence is its probability, scaled.

    Of several choices those are given whose probability reaches the score that gives the best F1 on held-out texts.
    """

    classes: tuple[str, ...]
    several: bool
    dropout = 0.0
    effort = 1.0

    @property
    def component(self) -> str:
        return "textcat_multilabel" if self.several else "textcat"

    def blank(self) -> Any:
        import spacy

        nlp = spacy.blank("en")
        model = _words_and_vectors() if self.several else _pooled_vectors()
        textcat = nlp.add_pipe(self.component, config={"model": model})
        for name in self.classes:
            textcat.add_label(name)
        return nlp

    def continued(self, earlier: Any) -> Any:
        return earlier

    def mark(self, doc: Any, text: LabelledText) -> int:
        doc.cats = {name: float(name in text.chosen) for name in self.classes}
        return 0

    def judge(self, nlp: Any, texts: Sequence[LabelledText]) -> Judged:
        docs = list(nlp.pipe([text.text for text in texts]))
        rows = np.array([[doc.cats[name] for name in self.classes] for doc in docs])
        true = np.array([[name in text.chosen for name in self.classes] for text in texts])
        least = None
        said = rows == rows.max(axis=1, keepdims=True)
        if self.several:
            scored_at_all = rows >= LEAST
            least = deciding_score(rows[scored_at_all], true[scored_at_all], int(true.sum()))
            said = rows >= least
        calibrated = int(said.sum()) >= LEAST_ANSWERS
        temperature = fit_temperature(lambda by: self._scaled(rows, by)[said], true[said]) if calibrated else 1.0
        confidence = self._scaled(rows, temperature)
        scored = {
            name: list(zip(confidence[said[:, at], at].tolist(), true[said[:, at], at].tolist(), strict=True))
            for at, name in enumerate(self.classes)
        }
        if least is not None:
            least = float(self._scaled(np.array([least]), temperature)[0])
        return Judged(scored, temperature, calibrated, least)

    def settle(self, nlp: Any, judged: Judged) -> None:
        """It gives every class a probability; which are chosen is decided from these."""

    def _scaled(self, rows: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
        return tempered_each(rows, temperature) if self.several else tempered(rows, temperature)


def _pooled_vectors() -> dict[str, Any]:
    """For one choice: the mean and the maximum of the token vectors, which learn it in the fewest passes."""
    return {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": True, "use_reduce_first": False, "use_reduce_last": False,
        "use_reduce_max": True, "use_reduce_mean": True, "tok2vec": hash_embed_cnn(2),
    }  # fmt: skip


def _words_and_vectors() -> dict[str, Any]:
    """For several choices: weights of single words beside the token vectors, which alone learn rare classes very slowly."""
    words = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": False, "ngram_size": 1, "no_output_layer": True, "length": _WORDS,
    }  # fmt: skip
    return {"@architectures": "spacy.TextCatEnsemble.v2", "tok2vec": hash_embed_cnn(2), "linear_model": words}
