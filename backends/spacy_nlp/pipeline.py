"""A loaded pipeline that reads texts in batches and keeps what its components say, with how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backends.calibration import tempered, tempered_each
from backends.spacy_nlp.components import CLASSES, ENTITIES, RULERS, SPANS
from backends.spacy_nlp.converters.labels import Span
from backends.spacy_nlp.decoding import TOP, Said, decode

_BATCH = 256
Reading = dict[str, Said]
"""What each component that was asked says of a text."""


class TextPipeline:
    """Runs every component of `nlp` once per text; `asked` are the temperatures of those whose answers are read."""

    def __init__(self, nlp: Any, asked: Mapping[str, float], threads: int = 1) -> None:
        self._nlp = nlp
        self._threads = threads
        self._asked = dict(asked)
        factories = {name: str(nlp.get_pipe_meta(name).factory) for name in nlp.pipe_names}
        self._factories = factories
        self._ruled = any(factory in RULERS for factory in factories.values())

    def read(self, texts: Sequence[str], want: frozenset[str] = frozenset()) -> list[Reading | Exception]:
        """One reading per text, or what went wrong with it; a batch that fails is halved until the bad text is alone."""
        try:
            return list(self._read(texts, want))
        except Exception as error:
            if len(texts) <= 1:
                return [error for _ in texts]
        middle = len(texts) // 2
        return self.read(texts[:middle], want) + self.read(texts[middle:], want)

    def _read(self, texts: Sequence[str], want: frozenset[str]) -> list[Reading]:
        docs = [self._nlp.make_doc(text) for text in texts]
        said: dict[str, list[Said]] = {}
        for name, component in self._nlp.pipeline:
            factory = self._factories[name]
            if name in self._asked and factory in ENTITIES:
                said[name] = decode(component, docs, self._asked[name], want=want, threads=self._threads)
            elif name in self._asked and factory in SPANS:
                said[name] = read_spans(component, docs, self._asked[name])
            else:
                piped = hasattr(component, "pipe")
                docs = list(component.pipe(docs, batch_size=_BATCH)) if piped else [component(doc) for doc in docs]
                if name in self._asked and factory in CLASSES:
                    several = factory == "textcat_multilabel"
                    said[name] = [_classes(component, doc, self._asked[name], several=several) for doc in docs]
            if factory in RULERS:
                _take_ruled_entities(said, docs)
        if "embedding" in want:
            _add_embeddings(said, docs, dict(self._nlp.pipeline))
        return [{name: found[at] for name, found in said.items()} for at in range(len(docs))]


def read_spans(spancat: Any, docs: Sequence[Any], temperature: float = 1.0) -> list[Said]:
    """What a span categorizer finds in each Doc, with its scores, scaled; it also sets `doc.spans` as it always does.

    A candidate's doubt is how near its likeliest label was to the other side: to 0.5, or to the second where labels
    exclude each other.
    """
    several = spancat.cfg["max_positive"] != 1 and not spancat.add_negative_label
    found = [Said() for _ in docs]
    filled = [index for index, doc in enumerate(docs) if len(doc)]
    for at in range(0, len(filled), _BATCH):
        part = filled[at : at + _BATCH]
        batch = [docs[index] for index in part]
        prediction = spancat.predict(batch)
        spancat.set_annotations(batch, prediction)
        candidates, scores = prediction
        rows = np.asarray(scores.get() if hasattr(scores, "get") else scores, dtype=np.float64)
        ends = np.cumsum(np.asarray(candidates.lengths))
        for index, doc, end, length in zip(part, batch, ends, candidates.lengths, strict=True):
            own = rows[int(end) - int(length) : int(end)]
            found[index] = _spans_said(spancat, doc, own, several, temperature)
    return found


def _spans_said(spancat: Any, doc: Any, rows: Any, several: bool, temperature: float) -> Said:
    group = doc.spans.get(spancat.key, ())
    scores = tempered_each(np.asarray(group.attrs.get("scores", ()) if len(group) else ()), temperature)
    rows = tempered_each(rows, temperature)
    spans = [
        Span(span.start_char, span.end_char, span.label_, float(score))
        for span, score in zip(group, scores, strict=True)
    ]
    if not rows.size:
        return Said(spans)
    doubts = _two_sided(rows).max(axis=1) if several else _margins(rows)
    labels = [str(label) for label in spancat.labels]
    highest = rows[:, : len(labels)].max(axis=0)
    chances = {label: float(value) for label, value in zip(labels, highest, strict=True)}
    return Said(spans, tuple(np.sort(doubts)[::-1][:TOP].tolist()), chances)


def _classes(textcat: Any, doc: Any, temperature: float, *, several: bool) -> Said:
    row = np.array([[float(doc.cats.get(label, 0.0)) for label in textcat.labels]])
    if temperature != 1.0:
        row = tempered_each(row, temperature) if several else tempered(row, temperature)
    chances = dict(zip(map(str, textcat.labels), row[0].tolist(), strict=True))
    doubts = _two_sided(row).max(axis=1) if several else _margins(row)
    return Said(doubts=(float(doubts[0]),), chances=chances)


def _two_sided(chances: Any) -> Any:
    return 1.0 - np.abs(2.0 * np.clip(chances, 0.0, 1.0) - 1.0)


def _margins(chances: Any) -> Any:
    """1 minus the distance of the best from the second, by row."""
    ordered = np.sort(np.pad(chances, ((0, 0), (1, 0))), axis=1)
    return 1.0 - np.clip(ordered[:, -1] - ordered[:, -2], 0.0, 1.0)


def _take_ruled_entities(said: Mapping[str, list[Said]], docs: Sequence[Any]) -> None:
    """After a ruler the entities are what the Docs say; one that a recogniser did not find is a rule's, and certain."""
    for found in said.values():
        for doc, one in zip(docs, found, strict=True):
            if not one.spans and not doc.ents:
                continue
            scores = {(span.start, span.end, span.label): span.score for span in one.spans}
            keys = [(entity.start_char, entity.end_char, entity.label_) for entity in doc.ents]
            one.spans = [Span(*key, scores.get(key, 1.0)) for key in keys]


def _add_embeddings(said: Mapping[str, list[Said]], docs: Sequence[Any], components: Mapping[str, Any]) -> None:
    """Where no recogniser has given one: the mean of the shared token vectors, else of the component's own or of words."""
    for name, found in said.items():
        without = [(doc, one) for doc, one in zip(docs, found, strict=True) if not one.embedding and len(doc)]
        for (doc, one), own in zip(without, _own_vectors(components[name], [doc for doc, _ in without]), strict=True):
            vectors = doc.tensor if len(doc.tensor) else own
            vector = np.asarray(doc.vector if vectors is None else vectors.mean(axis=0), dtype=np.float64)
            norm = float(np.linalg.norm(vector)) if vector.size else 0.0
            one.embedding = tuple((vector / norm).tolist()) if norm > 0 else ()


def _own_vectors(component: Any, docs: Sequence[Any]) -> Sequence[Any]:
    """(tokens, width) of each Doc by the token vectors inside a component; None where they are the pipeline's."""
    if not docs or not component.model.has_ref("tok2vec") or any(len(doc.tensor) for doc in docs):
        return [None] * len(docs)
    layer = component.model.get_ref("tok2vec")
    shared = any("listener" in part.name for part in layer.walk())
    return [None] * len(docs) if shared else list(layer.predict(list(docs)))
