"""A loaded text classifier that predicts Choices regions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.calibration import tempered
from backends.sklearn_text.artefact import read_model
from backends.sklearn_text.converters.choices import choice_to_region
from backends.sklearn_text.pipeline import embed, probabilities
from backends.version_labels import read_labels
from labelloop.values import Outcome, Region, TaskItem

SCORE_FLOOR = 0.01
_MAX_CHARACTERS = 1_000_000


class SklearnBackend:
    """One model version; `predict` is safe for several threads."""

    def __init__(self, version_dir: Path) -> None:
        (self._labels,) = read_labels(version_dir, "choices")
        self._pipeline: Any = read_model(version_dir)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labels.classes

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; `want` may also hold "probs" and "embedding"."""
        problems = [self._problem(task) for task in tasks]
        texts = [
            str(task.data[self._labels.data_key]) for task, bad in zip(tasks, problems, strict=True) if bad is None
        ]
        good = iter(self._outcomes(texts, want))
        return [bad if bad is not None else next(good) for bad in problems]

    def chances(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(texts, classes) probabilities, calibrated where the version is."""
        raw = probabilities(self._pipeline, texts, self.classes)
        return tempered(raw, self._labels.temperature) if self._labels.calibrated else raw

    def _problem(self, task: TaskItem) -> Outcome | None:
        text = task.data.get(self._labels.data_key)
        if not isinstance(text, str) or not text.strip():
            found = "an empty text" if isinstance(text, str) else type(text).__name__
            return Outcome("text_missing", detail=f"expected a text under {self._labels.data_key!r}, got {found}")
        if len(text) > _MAX_CHARACTERS:
            return Outcome("too_large", detail=f"{len(text)} characters; at most {_MAX_CHARACTERS} are read")
        return None

    def _outcomes(self, texts: Sequence[str], want: frozenset[str]) -> list[Outcome]:
        if not texts:
            return []
        try:
            chances = self.chances(texts)
            vectors = embed(texts) if "embedding" in want else None
        except Exception as error:
            if len(texts) == 1:
                return [Outcome("error", detail=f"{type(error).__name__}: {error}")]
            return [self._outcomes([text], want)[0] for text in texts]
        return [
            self._outcome(row, want, None if vectors is None else tuple(float(v) for v in vectors[index]))
            for index, row in enumerate(chances)
        ]

    def _outcome(self, row: NDArray[np.float64], want: frozenset[str], vector: tuple[float, ...] | None) -> Outcome:
        """The surest class as the one region; a Choices control takes one choice, so the others are in `probs` only."""
        order = np.argsort(-row, kind="stable")
        best, score = self.classes[int(order[0])], float(row[order[0]])
        second = float(row[order[1]]) if len(order) > 1 else 0.0
        regions: tuple[Region, ...] = ()
        if score >= SCORE_FLOOR:
            regions = (choice_to_region(best, score, self.classes, self._labels.control, self._labels.to_name),)
        return Outcome(
            regions=regions,
            confidence=score if regions else None,
            uncertainty=min(max(1.0 - (score - second), 0.0), 1.0),
            probs={n: float(p) for n, p in zip(self.classes, row, strict=True)} if "probs" in want else None,
            embedding=vector,
        )
