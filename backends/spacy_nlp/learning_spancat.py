"""How spans that overlap or nest are learned: by spaCy's span categorizer, `spancat`, on all runs of a few tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.calibration import LEAST_ANSWERS, fit_temperature, tempered_each
from backends.spacy_nlp.converters.labels import Span
from backends.spacy_nlp.deciding import LEAST, USUAL, deciding_score
from backends.spacy_nlp.examples import LabelledText, aligned_spans
from backends.spacy_nlp.learning import Judged, hash_embed_cnn
from backends.spacy_nlp.pipeline import read_spans

#: From this share of spans that overlap another of the same control, they are learned by `spancat` unless told otherwise.
OVERLAPPING = 0.05
_KEY = "spans"
_COVERED, _LONGEST = 0.98, 12  # of the spans, how many are as short as the longest candidate; tokens at most


@dataclass(frozen=True)
class SpancatRecipe:
    """A span categorizer: each run of up to `longest` tokens is a candidate, with a probability for each class.

    A span's confidence is that probability, scaled. What is said at all is what reaches the score that gives the best
    F1 on held-out texts.
    """

    classes: tuple[str, ...]
    longest: int
    component = "spancat"
    dropout = 0.1

    @property
    def effort(self) -> float:
        return max(1.0, self.longest / 3)

    def blank(self) -> Any:
        import spacy

        nlp = spacy.blank("en")
        model = {
            "@architectures": "spacy.SpanCategorizer.v1",
            "tok2vec": hash_embed_cnn(3),
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128},
            "scorer": {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None},
        }
        suggester = {"@misc": "spacy.ngram_range_suggester.v1", "min_size": 1, "max_size": self.longest}
        config = {"spans_key": _KEY, "threshold": USUAL, "suggester": suggester, "model": model}
        spancat = nlp.add_pipe("spancat", config=config)
        for name in self.classes:
            spancat.add_label(name)
        return nlp

    def continued(self, earlier: Any) -> Any:
        """The weights do not depend on how long candidates are, which may be another length than before."""
        old = earlier.get_pipe("spancat")
        nlp = SpancatRecipe(tuple(old.labels), self.longest).blank()
        nlp.initialize()
        nlp.get_pipe("spancat").model.from_bytes(old.model.to_bytes())
        return nlp

    def mark(self, doc: Any, text: LabelledText) -> int:
        spans, moved = aligned_spans(doc, text.spans)
        doc.spans[_KEY] = spans
        return moved

    def judge(self, nlp: Any, texts: Sequence[LabelledText]) -> Judged:
        spancat = nlp.get_pipe("spancat")
        spancat.cfg["threshold"] = LEAST
        said = read_spans(spancat, [nlp.make_doc(text.text) for text in texts])
        true = [{(span.start, span.end, span.label) for span in text.spans} for text in texts]
        found = [(span, span_key(span) in those) for one, those in zip(said, true, strict=True) for span in one.spans]
        scores = np.array([span.score for span, _ in found], dtype=np.float64)
        right = np.array([hit for _, hit in found], dtype=np.bool_)
        least = deciding_score(scores, right, sum(map(len, true)))
        kept = np.flatnonzero(scores >= least)
        calibrated = len(kept) >= LEAST_ANSWERS
        temperature = fit_temperature(lambda by: tempered_each(scores[kept], by), right[kept]) if calibrated else 1.0
        scored: dict[str, list[tuple[float, bool]]] = {}
        for at, score in zip(kept.tolist(), tempered_each(scores[kept], temperature).tolist(), strict=True):
            scored.setdefault(found[at][0].label, []).append((score, bool(right[at])))
        return Judged(scored, temperature, calibrated, least)

    def settle(self, nlp: Any, judged: Judged) -> None:
        nlp.get_pipe("spancat").cfg["threshold"] = USUAL if judged.least is None else judged.least


def overlapping_share(texts: Sequence[LabelledText]) -> float:
    """The share of the spans that share a character with another of the same text, 0.0 without any span."""
    total = overlapping = 0
    for text in texts:
        spans, reached, before = sorted(text.spans), -1, -1
        marked: set[int] = set()
        for at, span in enumerate(spans):
            if span.start < reached:
                marked |= {before, at}
            if span.end > reached:
                reached, before = span.end, at
        total += len(spans)
        overlapping += len(marked)
    return overlapping / total if total else 0.0


def candidate_length(texts: Sequence[LabelledText]) -> tuple[int, int]:
    """(tokens of the longest candidate, how many of the labelled spans are longer)."""
    import spacy

    nlp = spacy.blank("en")
    lengths = sorted(len(span) for text in texts for span in aligned_spans(nlp.make_doc(text.text), text.spans)[0])
    if not lengths:
        return 1, 0
    longest = min(lengths[math.ceil(_COVERED * len(lengths)) - 1], _LONGEST)
    return longest, sum(length > longest for length in lengths)


def span_key(span: Span) -> tuple[int, int, str]:
    """What makes two spans the same."""
    return span.start, span.end, span.label
