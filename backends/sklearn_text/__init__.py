"""Text classes with scikit-learn: predicts one class per text, and trains from a dataset folder with Choices."""

from __future__ import annotations

from pathlib import Path

from backends.protocols import Backend, Trainer


def load(version_dir: Path, *, device: str = "cpu", threads: int = 2) -> Backend:
    """The model version in `version_dir`, ready to predict on the CPU; DataError when it is no such artefact."""
    from backends.sklearn_text.backend import SklearnBackend

    return SklearnBackend(version_dir)


def trainer() -> Trainer:
    """The trainer of this backend."""
    from backends.sklearn_text.training import SklearnTrainer

    return SklearnTrainer()
