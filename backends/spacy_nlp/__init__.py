"""Named entities in text with spaCy: predicts spans, and trains from a dataset folder with Labels truth."""

from __future__ import annotations

from pathlib import Path

from backends.protocols import Backend, Trainer


def load(version_dir: Path, *, device: str = "cpu") -> Backend:
    """The model version in `version_dir`, ready to predict on the CPU; DataError when it is no such artefact."""
    from backends.spacy_nlp.backend import SpacyBackend

    return SpacyBackend(version_dir)


def trainer() -> Trainer:
    """The trainer of this backend."""
    from backends.spacy_nlp.training import SpacyTrainer

    return SpacyTrainer()
