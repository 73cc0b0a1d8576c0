"""What an entity recogniser says of texts that it has not seen, scored by its transitions: what its temperature is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.spacy_nlp.converters.labels import Span
from backends.spacy_nlp.decoding import Parse, parses

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Entities that a recogniser found in texts that it had not seen: their labels, whether each is right, the parses."""

    parses: Sequence[Parse]
    labels: tuple[str, ...]
    right: NDArray[np.bool_]

    def confidences(self, temperature: float) -> Floats:
        """(entities,) in [0, 1]."""
        found = [parse.confidences(parse.chances(temperature)) for parse in self.parses]
        return np.concatenate([np.zeros(0), *found]).astype(np.float64)

    def scored(self, temperature: float) -> Mapping[str, list[tuple[float, bool]]]:
        """(confidence, right) of each entity, by label."""
        pairs: dict[str, list[tuple[float, bool]]] = {}
        for label, score, right in zip(self.labels, self.confidences(temperature), self.right, strict=True):
            pairs.setdefault(label, []).append((float(score), bool(right)))
        return pairs


def gather_evidence(nlp: Any, texts: Sequence[tuple[str, Sequence[Span]]]) -> Evidence:
    """What the component "ner" finds in (text, true spans); right means same start, end and label."""
    docs = [nlp.make_doc(text) for text, _ in texts]
    truths = {
        id(doc): {(span.start, span.end, span.label) for span in spans}
        for doc, (_, spans) in zip(docs, texts, strict=True)
    }
    parsed = parses(nlp.get_pipe("ner"), docs)
    labels: list[str] = []
    right: list[bool] = []
    for parse in parsed:
        for doc, edges, label in zip(parse.owners(), parse.edges, parse.labels, strict=True):
            labels.append(label)
            right.append((*edges, label) in truths[id(doc)])
    return Evidence(parsed, tuple(labels), np.array(right, dtype=np.bool_))
