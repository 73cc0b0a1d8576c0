"""How Choices are learned: by spaCy's text categorizers, `textcat` for one choice and `textcat_multilabel` for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.calibration import LEAST_ANSWERS, fit_temperature, tempered, tempered_each
from backends.spacy_nlp.converters.choices import CHOSEN
from backends.spacy_nlp.examples import LabelledText
from backends.spacy_nlp.learning import Judged, hash_embed_cnn


@dataclass(frozen=True)
class TextcatRecipe:
    """A text categorizer on the mean and the maximum of the token vectors; a class's confidence is its probability."""

    classes: tuple[str, ...]
    several: bool
    dropout = 0.2
    effort = 1.0

    @property
    def component(self) -> str:
        return "textcat_multilabel" if self.several else "textcat"

    def blank(self) -> Any:
        import spacy

        nlp = spacy.blank("en")
        model = {
            "@architectures": "spacy.TextCatReduce.v1",
            "exclusive_classes": not self.several, "use_reduce_first": False, "use_reduce_last": False,
            "use_reduce_max": True, "use_reduce_mean": True, "tok2vec": hash_embed_cnn(2),
        }  # fmt: skip
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
        said = rows >= CHOSEN if self.several else rows == rows.max(axis=1, keepdims=True)
        calibrated = int(said.sum()) >= LEAST_ANSWERS
        temperature = fit_temperature(lambda by: self._scaled(rows, by)[said], true[said]) if calibrated else 1.0
        confidence = self._scaled(rows, temperature)
        scored = {
            name: list(zip(confidence[said[:, at], at].tolist(), true[said[:, at], at].tolist(), strict=True))
            for at, name in enumerate(self.classes)
        }
        return Judged(scored, temperature, calibrated)

    def settle(self, nlp: Any, judged: Judged) -> None:
        """It gives every class a probability; which are chosen is decided from these."""

    def _scaled(self, rows: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
        return tempered_each(rows, temperature) if self.several else tempered(rows, temperature)
