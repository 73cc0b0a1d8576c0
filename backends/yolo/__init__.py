"""Image models with YOLO (ultralytics): boxes, turned boxes, outlines, masks, key points and classes of images.

Predicts with trained or imported networks, and trains those of every kind; what each learns is in `learning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.protocols import Backend, Trainer
from labelloop.label_config import LabelConfig
from labelloop.values import Artefact


def load(version_dir: Path, *, device: str = "cpu", threads: int = 2) -> Backend:
    """The model version in `version_dir`, ready to predict; DataError when it is not a yolo artefact."""
    from backends.yolo.backend import YoloBackend

    return YoloBackend(version_dir, device=device, threads=threads)


def trainer() -> Trainer:
    """The trainer of this backend."""
    from backends.yolo.training import YoloTrainer

    return YoloTrainer()


def import_model(sources: Sequence[str], config: LabelConfig, out_dir: Path, **options: Any) -> Artefact:
    """A version made of checkpoints: local .pt files or published names (yolo11n.pt, yolo11n-seg.pt ...).

    One for each kind of network that the config's controls need; see docs/yolo.md for the options. UsageError or
    DataError, and nothing written, when it cannot be made; ServiceDown when a download fails.
    """
    from backends.yolo.importing import import_checkpoints

    return import_checkpoints(sources, config, out_dir, options)
