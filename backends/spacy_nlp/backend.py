"""A loaded spaCy entity recogniser that predicts Labels regions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.spacy_nlp.artefact import read_model
from backends.spacy_nlp.converters.labels import spans_to_regions
from backends.spacy_nlp.decoding import Decoded, decode
from backends.spacy_nlp.uncertainty import text_uncertainty
from backends.version_labels import read_labels
from labelloop.values import Outcome, TaskItem

SCORE_FLOOR = 0.01
_BATCH = 64
_MAX_CHARACTERS = 100_000


class SpacyBackend:
    """One model version; `predict` is safe for one thread at a time."""

    def __init__(self, version_dir: Path) -> None:
        (self._labels,) = read_labels(version_dir, "labels")
        self._nlp: Any = read_model(version_dir)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labels.classes

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; `want` may also hold "probs" and "embedding"."""
        outcomes: list[Outcome] = []
        for at in range(0, len(tasks), _BATCH):
            outcomes.extend(self._predict_batch(tasks[at : at + _BATCH], want))
        return outcomes

    def _predict_batch(self, tasks: Sequence[TaskItem], want: frozenset[str]) -> list[Outcome]:
        problems = [self._problem(task) for task in tasks]
        texts = [
            str(task.data[self._labels.data_key]) for task, bad in zip(tasks, problems, strict=True) if bad is None
        ]
        results = iter(zip(texts, self._decoded(texts), strict=True))
        return [bad if bad is not None else self._outcome(*next(results), want) for bad in problems]

    def _problem(self, task: TaskItem) -> Outcome | None:
        text = task.data.get(self._labels.data_key)
        if not isinstance(text, str) or not text.strip():
            found = "an empty text" if isinstance(text, str) else type(text).__name__
            return Outcome("text_missing", detail=f"expected a text under {self._labels.data_key!r}, got {found}")
        if len(text) > _MAX_CHARACTERS:
            return Outcome("too_large", detail=f"{len(text)} characters; at most {_MAX_CHARACTERS} are read")
        return None

    def _decoded(self, texts: Sequence[str]) -> list[Decoded | Exception]:
        """The texts' entities; when a batch fails its texts are tried one by one."""
        ner = self._nlp.get_pipe("ner")
        try:
            return list(decode(ner, [self._nlp.make_doc(text) for text in texts]))
        except Exception as error:
            if len(texts) == 1:
                return [error]
            return [self._decoded([text])[0] for text in texts]

    def _outcome(self, text: str, result: Decoded | Exception, want: frozenset[str]) -> Outcome:
        if isinstance(result, Exception):
            return Outcome("error", detail=f"{type(result).__name__}: {result}")
        known = [s for s in result.spans if s.label in self.classes and (s.score or 0.0) >= SCORE_FLOOR]
        scores = [span.score or 0.0 for span in known]
        return Outcome(
            regions=spans_to_regions(text, known, self._labels.control, self._labels.to_name),
            confidence=min(scores) if scores else None,
            uncertainty=text_uncertainty(result.doubts),
            probs={name: result.missed.get(name, 0.0) for name in self.classes} if "probs" in want else None,
            embedding=result.embedding if "embedding" in want else None,
        )
