"""How spans that do not overlap are learned: by spaCy's transition-based entity recogniser, `ner`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backends.calibration import LEAST_ANSWERS, fit_temperature
from backends.spacy_nlp.examples import LabelledText, aligned_spans
from backends.spacy_nlp.learning import Judged, hash_embed_cnn
from backends.spacy_nlp.ner_evidence import gather_evidence


@dataclass(frozen=True)
class NerRecipe:
    """An entity recogniser; a span's confidence is the smallest probability of its transitions, scaled."""

    classes: tuple[str, ...]
    component = "ner"
    dropout = 0.35
    effort = 1.0

    def blank(self) -> Any:
        import spacy

        nlp = spacy.blank("en")
        model = {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner", "extra_state_tokens": False, "hidden_width": 64, "maxout_pieces": 2, "use_upper": True,
            "tok2vec": hash_embed_cnn(3),
        }  # fmt: skip
        nlp.add_pipe("ner", config={"model": model})
        return self.continued(nlp)

    def continued(self, earlier: Any) -> Any:
        ner = earlier.get_pipe("ner")
        for name in self.classes:
            ner.add_label(name)
        return earlier

    def mark(self, doc: Any, text: LabelledText) -> int:
        """Of spans that overlap the longest stays."""
        from spacy.util import filter_spans

        spans, moved = aligned_spans(doc, text.spans)
        kept = filter_spans(spans)
        doc.set_ents(kept, default="outside")
        return moved + len(spans) - len(kept)

    def judge(self, nlp: Any, texts: Sequence[LabelledText]) -> Judged:
        held = gather_evidence(nlp, [(text.text, text.spans) for text in texts])
        calibrated = len(held.right) >= LEAST_ANSWERS
        temperature = fit_temperature(held.confidences, held.right) if calibrated else 1.0
        return Judged(held.scored(temperature), temperature, calibrated)

    def settle(self, nlp: Any, judged: Judged) -> None:
        """It says what its parse finds, however sure it is."""
