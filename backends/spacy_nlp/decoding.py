"""Runs spaCy's entity recogniser at its own speed and reads off what it throws away: how sure each transition was.

The recogniser parses as always. Every token takes one transition, and what that is scored by depends only on the token
and on the first and last token of the entity that is open; all of it is known once the parse is there. So the scores of
a whole batch are computed again in one pass, from the token vectors that the parse has used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.spacy_nlp.converters.labels import Span
from backends.spacy_nlp.moves import BLANK, FREE, SINGLE, Moves, Numbers, Truths

TOP = 3
_LEAST_FOR_THREAD = 32
_INSIDE, _BEGIN = 1, 3  # spaCy's ENT_IOB
_SENTENCE_BEGINS = 1  # spaCy's SENT_START
_ATTRIBUTES = ("ENT_IOB", "ENT_TYPE", "IDX", "LENGTH", "IS_SPACE", "SENT_START")
Floats = NDArray[np.float32]


@dataclass
class Said:
    """What one component says of one text: spans with confidences, and its largest doubts.

    Of a recogniser: a span's confidence is the smallest probability of its transitions; a transition's doubt is 1 minus
    its margin over the best other one that was valid, so a token that nearly began an entity is in doubt like one that
    nearly did not. `chances` are the largest probability with which an entity of a label began anywhere, also where none
    did; of a classifier, the probability of each class.
    """

    spans: list[Span] = field(default_factory=list)
    doubts: tuple[float, ...] = ()
    chances: dict[str, float] = field(default_factory=dict)
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True)
class Parse:
    """A parsed batch: one row per token of its docs, in order; entities by their first and last row.

    `scores` (rows, moves) are -inf where a move was not valid; `chosen` is the column of the move that was made;
    `edges` are the entities' places in their texts in code points.
    """

    docs: list[Any]
    moves: Moves
    vectors: Any
    scores: Floats
    chosen: Numbers
    first: Numbers
    last: Numbers
    labels: list[str]
    edges: list[tuple[int, int]]

    def chances(self, temperature: float) -> Floats:
        """(rows, moves) probabilities over the valid moves; a temperature above 1 makes them more alike."""
        powers: Floats = self.scores / np.float32(temperature)
        powers -= powers.max(axis=1, keepdims=True)
        np.exp(powers, out=powers)
        powers /= powers.sum(axis=1, keepdims=True)
        return powers

    def owners(self) -> list[Any]:
        """The Doc of each entity."""
        ends = np.cumsum([len(doc) for doc in self.docs])
        return [self.docs[number] for number in np.searchsorted(ends, self.first, side="right")]

    def confidences(self, chances: Floats) -> Floats:
        """(entities,): the smallest probability of the transitions of each."""
        if not len(self.first):
            return np.zeros(0, dtype=np.float32)
        made = chances[np.arange(len(self.chosen)), self.chosen]
        edges = np.stack([self.first, self.last + 1], axis=1).ravel()
        padded = np.append(made, np.float32(1.0))
        return np.asarray(np.minimum.reduceat(padded, edges)[::2], dtype=np.float32)


def decode(
    ner: Any, docs: Sequence[Any], temperature: float = 1.0, *, want: frozenset[str] = frozenset(), threads: int = 1
) -> list[Said]:
    """What `ner` finds in each Doc, with probabilities; it also sets the Docs' entities as it always does.

    `want` may hold "probs" and "embedding", which fill `chances` and `embedding`.
    """
    found: dict[int, Said] = {}
    for parse in parses(ner, docs, threads):
        for doc, decoded in zip(parse.docs, _decoded(parse, temperature, want), strict=True):
            found[id(doc)] = decoded
    return [found.get(id(doc)) or Said() for doc in docs]


def parses(ner: Any, docs: Sequence[Any], threads: int = 1) -> list[Parse]:
    """Parse the Docs, in batches as spaCy makes them, by length; Docs without a token are in none.

    Many Docs go through the model in several threads at once: it changes nothing but the Docs, and most of its time is
    spent in code that lets other threads run.
    """
    parts = max(1, min(threads, len(docs) // _LEAST_FOR_THREAD))
    with _watched(ner) as seen:
        if parts == 1:
            _pass(ner, docs)
        else:
            with ThreadPoolExecutor(parts, thread_name_prefix="entities") as pool:
                list(pool.map(lambda number: _pass(ner, docs[number::parts]), range(parts)))
    moves = Moves.of(ner)
    return [_parse(batch, steps, moves) for batch, steps in seen]


def _pass(ner: Any, docs: Sequence[Any]) -> None:
    for _ in ner.pipe(list(docs)):
        pass


@dataclass(frozen=True)
class _Steps:
    """What a parse computed once for its batch."""

    token_vectors: Any
    state_vectors: Any
    output: Any
    seen_moves: Truths

    def scores(self, features: NDArray[np.int32]) -> Floats:
        """(rows, moves) from the token numbers (rows, features) that each transition looks at."""
        raw = self.state_vectors.predict(features)
        raw = raw if self.output is None else self.output.predict(raw)
        scores: Floats = np.array(raw.get() if hasattr(raw, "get") else raw, dtype=np.float32)
        scores = scores.reshape(len(scores), -1)
        if not self.seen_moves.all():
            scores[:, ~self.seen_moves] = scores.min()
        return scores


@contextmanager
def _watched(ner: Any) -> Iterator[list[tuple[list[Any], _Steps]]]:
    """While it is open, `ner` leaves what it computes for each batch in the list."""
    from thinc.api import Model

    inner = ner.model
    seen: list[tuple[list[Any], _Steps]] = []

    def forward(model: Any, docs: Any, is_train: bool) -> Any:
        steps, backward = model.layers[0](docs, is_train)
        known = np.asarray(steps._class_mask, dtype=np.bool_)
        seen.append(
            ([doc for doc in docs if len(doc)], _Steps(steps.tokvecs, steps.state2vec, steps.vec2scores, known))
        )
        return steps, backward

    def resize(_: Any, width: int) -> None:
        inner.attrs["resize_output"](inner, width)

    ner.model = Model("watched_parser", forward, layers=[inner], attrs={**inner.attrs, "resize_output": resize})
    try:
        yield seen
    finally:
        ner.model = inner


def _parse(docs: list[Any], steps: _Steps, moves: Moves) -> Parse:
    rows = np.concatenate([doc.to_array(_ATTRIBUTES) for doc in docs])
    iob, kind, places, lengths, blank, sentence = rows.T
    lasts = np.cumsum([len(doc) for doc in docs]) - 1
    follows = (iob == _INSIDE) & (kind != 0)
    first = np.flatnonzero((iob == _BEGIN) & (kind != 0))
    ends = np.append(~follows[1:], True)
    last = np.flatnonzero(ends & (follows | ((iob == _BEGIN) & (kind != 0))))
    numbers = moves.numbers(kind[first])
    scores = steps.scores(_features(len(rows), first, last, steps.state_vectors.nF))
    must_end = np.append(sentence[1:].astype(np.int64) == _SENTENCE_BEGINS, True)
    must_end[lasts] = True
    chosen, state = _path(first, last, numbers, must_end, blank, moves)
    kept = np.arange(len(rows)), chosen
    made = scores[kept]
    scores[~moves.valid[state]] = -np.inf
    scores[kept] = made  # entities that were set before may take a move that is not valid by these rules
    begins, stops = places[first].tolist(), (places[last] + lengths[last]).tolist()
    return Parse(
        docs, moves, steps.token_vectors, scores, chosen, first, last,
        [moves.labels[number] for number in numbers], list(zip(begins, stops, strict=True)),
    )  # fmt: skip


def _features(rows: int, first: Numbers, last: Numbers, width: int) -> NDArray[np.int32]:
    """(rows, width) token numbers that spaCy scores a transition by: its token, then those of the open entity, or -1.

    With 3 they are the entity's first token and the token before; with 6 its first five tokens.
    """
    features = np.full((rows, width), -1, dtype=np.int32)
    features[:, 0] = np.arange(rows)
    inner, opened = _inner_rows(first, last)
    if width == 3:
        features[inner, 1] = opened
        features[inner, 2] = inner - 1
    else:
        for column in range(1, width):
            token = opened + column - 1
            features[inner, column] = np.where(token < inner, token, -1)
    return features


def _inner_rows(first: Numbers, last: Numbers) -> tuple[Numbers, Numbers]:
    """(rows of the entities' tokens but their first, the first row of the entity of each)."""
    lengths = last - first
    opened = np.repeat(first, lengths)
    steps = np.arange(len(opened)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return opened + 1 + steps, opened


def _path(
    first: Numbers, last: Numbers, numbers: Numbers, must_end: Truths, blank: Any, moves: Moves
) -> tuple[Numbers, Numbers]:
    """(column of the move that was made, state in which it was made) of each row."""
    chosen = np.full(len(must_end), moves.out, dtype=np.int64)
    state = np.where(must_end, SINGLE, FREE)
    state[blank != 0] = BLANK
    lengths = last - first
    single = lengths == 0
    inner, _ = _inner_rows(first, last)
    of_inner = np.repeat(numbers, lengths)
    state[inner] = moves.inside(of_inner, must_end[inner])
    chosen[inner] = moves.column("I", of_inner)
    chosen[last[~single]] = moves.column("L", numbers[~single])
    chosen[first[~single]] = moves.column("B", numbers[~single])
    chosen[first[single]] = moves.column("U", numbers[single])
    return chosen, state


def _decoded(parse: Parse, temperature: float, want: frozenset[str]) -> list[Said]:
    sizes = np.array([len(doc) for doc in parse.docs])
    begins = np.cumsum(sizes) - sizes
    chances = parse.chances(temperature)
    confidences = parse.confidences(chances).tolist()
    results = [Said(doubts=doubts) for doubts in _largest_doubts(chances, parse.chosen, begins, sizes)]
    of_doc = np.searchsorted(begins, parse.first, side="right") - 1
    for at, edges, label, score in zip(of_doc.tolist(), parse.edges, parse.labels, confidences, strict=True):
        results[at].spans.append(Span(*edges, label, score))
    if "probs" in want:
        _add_chances(results, parse.moves, chances, begins)
    if "embedding" in want:
        _add_embeddings(results, parse.vectors, begins, sizes)
    return results


def _largest_doubts(chances: Floats, chosen: Numbers, begins: Numbers, sizes: Numbers) -> list[tuple[float, ...]]:
    rest = chances.copy()
    every = np.arange(len(rest))
    rest[every, chosen] = 0.0
    doubts = 1.0 - np.clip(chances[every, chosen] - rest.max(axis=1), 0.0, 1.0)
    order = np.lexsort((-doubts, np.repeat(np.arange(len(sizes)), sizes)))
    ordered = doubts[order].tolist()
    return [
        tuple(ordered[begin : begin + min(TOP, size)])
        for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True)
    ]


def _add_chances(results: Sequence[Said], moves: Moves, chances: Floats, begins: Numbers) -> None:
    for number, label in enumerate(moves.labels):
        columns = moves.starting(number)
        if columns:
            highest = np.maximum.reduceat(chances[:, columns].max(axis=1), begins).tolist()
            for result, value in zip(results, highest, strict=True):
                result.chances[label] = value


def _add_embeddings(results: Sequence[Said], vectors: Any, begins: Numbers, sizes: Numbers) -> None:
    """Each text's mean token vector, brought to length 1."""
    rows = np.asarray(vectors.get() if hasattr(vectors, "get") else vectors, dtype=np.float64)
    means = np.add.reduceat(rows, begins, axis=0) / sizes[:, None]
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    for result, mean in zip(results, (means / np.where(norms > 0, norms, 1.0)).tolist(), strict=True):
        result.embedding = tuple(mean)
