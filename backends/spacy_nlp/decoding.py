"""Runs spaCy's entity recogniser step by step and keeps what it throws away: how sure each transition was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.spacy_nlp.converters.labels import Span


@dataclass
class Decoded:
    """A text's entities, each with the smallest probability of its transitions, and the doubt of every transition."""

    spans: list[Span] = field(default_factory=list)
    doubts: list[float] = field(default_factory=list)
    missed: dict[str, float] = field(default_factory=dict)
    """The largest probability with which an entity of a label began anywhere, also where none did."""
    embedding: tuple[float, ...] = ()


def decode(ner: Any, docs: Sequence[Any]) -> list[Decoded]:
    """The greedy parse of each Doc (the same entities as `ner` itself sets), with probabilities.

    A transition's probability is the softmax over the moves that are valid in its state; its doubt is 1 minus the
    margin over the best move of another outcome.
    """
    from thinc.api import set_dropout_rate

    decoded = [Decoded() for _ in docs]
    if not any(len(doc) for doc in docs):
        return decoded
    moves = [ner.moves.get_class_name(index) for index in range(ner.moves.n_moves)]
    set_dropout_rate(ner.model, 0.0)
    steps = ner.model.predict(list(docs))
    _embed(decoded, docs, steps.tokvecs)
    parses = [_Parse(doc, result) for doc, result in zip(docs, decoded, strict=True)]
    states = ner.moves.init_batch(list(docs))
    open_ones = [(state, parse) for state, parse in zip(states, parses, strict=True) if not state.is_final()]
    while open_ones:
        scores = np.ascontiguousarray(steps.predict([state for state, _ in open_ones]), dtype=np.float32)
        for (state, parse), row in zip(open_ones, scores, strict=True):
            valid = [index for index, move in enumerate(moves) if ner.moves.is_valid(state, move)]
            parse.step(int(state.B(0)), [moves[index] for index in valid], _softmax(row[valid]))
        ner.transition_states([state for state, _ in open_ones], scores)
        open_ones = [(state, parse) for state, parse in open_ones if not state.is_final()]
    steps.clear_memory()
    return decoded


class _Parse:
    """Collects the transitions of one Doc."""

    def __init__(self, doc: Any, result: Decoded) -> None:
        self._doc, self._result = doc, result
        self._first, self._least = 0, 1.0

    def step(self, token: int, moves: Sequence[str], chances: NDArray[np.float64]) -> None:
        best = int(np.argmax(chances))
        action, _, label = moves[best].partition("-")
        for move, chance in zip(moves, chances, strict=True):
            if move[:2] in ("B-", "U-") and move[2:]:
                self._result.missed[move[2:]] = max(self._result.missed.get(move[2:], 0.0), float(chance))
        rest = np.delete(chances, best)
        self._result.doubts.append(1.0 - float(chances[best] - (rest.max() if len(rest) else 0.0)))
        if action in ("B", "U"):
            self._first, self._least = token, 1.0
        if action != "O":
            self._least = min(self._least, float(chances[best]))
        if action in ("L", "U") and label:
            found = self._doc[self._first : token + 1]
            self._result.spans.append(Span(found.start_char, found.end_char, label, self._least))


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(scores.astype(np.float64) - float(scores.max()))
    chances: NDArray[np.float64] = powers / powers.sum()
    return chances


def _embed(decoded: Sequence[Decoded], docs: Sequence[Any], token_vectors: Any) -> None:
    """Each text's mean token vector, as long as the model's token vectors are wide, to length 1."""
    at = 0
    for result, doc in zip(decoded, docs, strict=True):
        mean = np.asarray(token_vectors[at : at + len(doc)], dtype=np.float64).mean(axis=0) if len(doc) else None
        at += len(doc)
        if mean is not None:
            norm = float(np.linalg.norm(mean)) or 1.0
            result.embedding = tuple(float(v) for v in mean / norm)
