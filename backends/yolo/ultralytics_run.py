"""One training run of ultralytics, without its downloads, reports, plots and checkpoints."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from backends.protocols import Progress
from backends.yolo.engine import ARCHITECTURE, import_ultralytics, settle_statistics, torch_threads
from backends.yolo.model_spec import ModelSpec
from labelloop.values import Budget

BATCH = 8
_HEARTBEAT_S = 5.0
_log = logging.getLogger(__name__)


def run_training(
    model: Any, data: dict[str, Any], scratch: Path, spec: ModelSpec, epochs: int, budget: Budget, progress: Progress
) -> tuple[Any, list[dict[str, float]]]:
    """Train `model` for `epochs`; returns (the averaged network, losses per epoch).

    What `progress` raises ends the training and passes through.
    """
    import_ultralytics()
    run = _run_class()(overrides=_settings(scratch, spec, epochs, budget))
    run.use(model, data)
    curve: list[dict[str, float]] = []
    heard = time.monotonic()

    def on_batch(trainer: Any) -> None:
        nonlocal heard
        if time.monotonic() - heard > _HEARTBEAT_S:
            heard = time.monotonic()
            progress(0.95 * trainer.epoch / epochs, f"epoch {trainer.epoch + 1} of {epochs}")

    def on_epoch(trainer: Any) -> None:
        losses = {name: float(value) for name, value in (trainer.tloss or {}).items()}
        curve.append({"epoch": float(trainer.epoch + 1), **losses})
        progress(0.95 * (trainer.epoch + 1) / epochs, f"epoch {trainer.epoch + 1} of {epochs}")

    run.add_callback("on_train_batch_end", on_batch)
    run.add_callback("on_train_epoch_end", on_epoch)
    with torch_threads(budget.threads):
        run.threads = budget.threads
        run.train()
        trained = run.ema.ema.float()
        settle_statistics(trained, sorted(Path(data["train"]).iterdir()), spec.image_size, budget.device)
    return trained, curve


def _settings(scratch: Path, spec: ModelSpec, epochs: int, budget: Budget) -> dict[str, Any]:
    """Arguments for ultralytics: a step after every batch (`nbs`) and no mosaic, so that few epochs count."""
    return {
        "model": ARCHITECTURE, "task": "detect", "data": str(scratch), "imgsz": spec.image_size,
        "epochs": epochs, "batch": BATCH, "nbs": BATCH, "optimizer": "AdamW", "lr0": 0.002, "lrf": 0.05,
        "cos_lr": True, "warmup_epochs": 1.0, "warmup_bias_lr": 0.0, "weight_decay": 0.0005,
        "cache": False, "amp": False, "plots": False, "val": False,
        "save": False, "workers": 0, "seed": budget.seed, "deterministic": False, "device": budget.device,
        "patience": 0, "mosaic": 0.0, "cls": 1.0, "verbose": False, "project": str(scratch), "name": "run",
        "exist_ok": True, "pretrained": False,
    }  # fmt: skip


def _run_class() -> Any:
    from ultralytics.models.yolo.detect import DetectionTrainer

    # ultralytics adds its reporting callbacks to classes with "Trainer" in their name.
    class Run(DetectionTrainer):  # type: ignore[misc,unused-ignore]
        """A training with our network and data, that validates, saves and reports nothing by itself."""

        threads = 0

        def get_dataset(self) -> dict[str, Any]:
            return {}

        def use(self, model: Any, data: dict[str, Any]) -> None:
            self._network, self.data = model, data

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = False) -> Any:
            return self._network

        def _setup_train(self) -> None:
            import torch

            super()._setup_train()
            if self.threads:
                torch.set_num_threads(self.threads)

        def validate(self) -> tuple[dict[str, float], float]:
            return {}, 0.0

        def final_eval(self) -> None:
            return None

        def save_model(self) -> bool:
            return False

        def save_metrics(self, metrics: Any) -> None:
            return None

    return Run
