"""Object detection with YOLO11: predicts rectangles, and trains from a dataset folder with RectangleLabels truth."""

from __future__ import annotations

from pathlib import Path

from backends.protocols import Backend, Trainer


def load(version_dir: Path, *, device: str = "cpu") -> Backend:
    """The model version in `version_dir`, ready to predict; DataError when it is not a yolo artefact."""
    from backends.yolo.backend import YoloBackend

    return YoloBackend(version_dir, device=device)


def trainer() -> Trainer:
    """The trainer of this backend."""
    from backends.yolo.training import YoloTrainer

    return YoloTrainer()
