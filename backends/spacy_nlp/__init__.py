"""Text with spaCy: predicts spans and classes, trains a recogniser from a dataset folder, imports pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends.protocols import Backend, Trainer
from labelloop.label_config import LabelConfig
from labelloop.values import Artefact


def load(version_dir: Path, *, device: str = "cpu", threads: int = 2) -> Backend:
    """The model version in `version_dir`, ready to predict on the CPU; DataError when it is no such artefact."""
    from backends.spacy_nlp.backend import SpacyBackend

    return SpacyBackend(version_dir, threads=threads)


def trainer() -> Trainer:
    """The trainer of this backend."""
    from backends.spacy_nlp.training import SpacyTrainer

    return SpacyTrainer()


def import_model(sources: Sequence[str], config: LabelConfig, out_dir: Path) -> Artefact:
    """A version in `out_dir` from spaCy pipeline folders or installed packages, with their classes mapped to `config`."""
    from backends.spacy_nlp.importing import import_pipelines

    return import_pipelines(sources, config, out_dir)
