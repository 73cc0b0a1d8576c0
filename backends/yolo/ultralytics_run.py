"""One training run of ultralytics, without its downloads, reports, plots and checkpoints; the best epoch is kept."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.protocols import Progress
from backends.yolo.dataset import YoloFolder
from backends.yolo.engine import import_ultralytics, settle_statistics, torch_threads
from backends.yolo.learning.lesson import Lesson
from backends.yolo.model_spec import ModelSpec
from labelloop.values import Budget

BATCH = 8
#: Epochs without a better one after which a training ends.
PATIENCE = 8
_HEARTBEAT_S = 5.0
#: Images that the normalisation statistics are measured on before an epoch is judged.
_JUDGED_ON = 32
_TRAINERS = {
    "detect": "DetectionTrainer", "obb": "OBBTrainer", "segment": "SegmentationTrainer", "pose": "PoseTrainer",
    "classify": "ClassificationTrainer",
}  # fmt: skip
_log = logging.getLogger(__name__)

#: Judge(network) -> its score on images that it does not learn from, higher is better.
Judge = Callable[[Any], float]


@dataclass(frozen=True)
class Plan:
    """What is trained and for how long: `seconds` after the start no further batch begins.

    With a judge every epoch is judged, the best one is kept, and `patience` epochs without a better one end the training. Of
    those that are worse than the best by `tolerance` at most the last is kept, because it has learned longer. Without a
    judge the last epoch is kept.
    """

    lesson: Lesson
    spec: ModelSpec
    folder: YoloFolder
    epochs: int
    seconds: float | None = None
    judge: Judge | None = None
    tolerance: float = 0.0
    patience: int = PATIENCE


@dataclass
class Trained:
    """A trained network, its losses and score by epoch, which epoch it is from, and what ended the training."""

    network: Any = None
    curve: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0
    ended: str = "epochs"


def run_training(model: Any, plan: Plan, scratch: Path, budget: Budget, progress: Progress) -> Trained:
    """Train `model`; what `progress` raises ends the training and passes through."""
    import_ultralytics()
    run = _run_class(plan.lesson.kind)(overrides=_settings(scratch, plan, budget))
    run.use(model, plan.folder.data)
    following = _Following(plan, budget, progress)
    run.add_callback("on_train_batch_end", following.on_batch)
    run.add_callback("on_train_epoch_end", following.on_epoch)
    run.add_callback("on_fit_epoch_end", following.on_judging)
    with torch_threads(budget.threads):
        run.threads = budget.threads
        run.train()
        return following.ended(run)


class _Following:
    """Watches a run: tells how far it is, judges its epochs, and ends it."""

    def __init__(self, plan: Plan, budget: Budget, progress: Progress) -> None:
        self.plan, self.budget, self.progress = plan, budget, progress
        self.began = self.heard = time.monotonic()
        self.trained = Trained()
        self.best: dict[str, Any] | None = None
        self.best_score, self.since = -1.0, 0

    def on_batch(self, run: Any) -> None:
        now = time.monotonic()
        if self.plan.seconds is not None and now - self.began > self.plan.seconds:
            run.stop, self.trained.ended = True, "time"
        if now - self.heard > _HEARTBEAT_S:
            self.heard = now
            self.progress(run.epoch / self.plan.epochs, f"epoch {run.epoch + 1} of {self.plan.epochs}")

    def on_epoch(self, run: Any) -> None:
        losses = {name: float(value) for name, value in (run.tloss or {}).items()}
        self.trained.curve.append({"epoch": float(run.epoch + 1), **losses})
        self.progress((run.epoch + 1) / self.plan.epochs, f"epoch {run.epoch + 1} of {self.plan.epochs}")

    def on_judging(self, run: Any) -> None:
        if self.plan.judge is None:
            return
        network = copy.deepcopy(run.ema.ema).float()
        self._settle(network, _spread(self.plan.folder.images, _JUDGED_ON))
        score = self.plan.judge(network)
        self.trained.curve[-1][f"validation_{self.plan.lesson.metric}"] = score
        self.since = 0 if score > self.best_score else self.since + 1
        self.best_score = max(self.best_score, score)
        if score >= self.best_score - self.plan.tolerance:
            self.trained.epoch = run.epoch + 1
            self.best = {name: value.detach().clone() for name, value in run.ema.ema.state_dict().items()}
        if self.since >= self.plan.patience and self.best_score > 0.0 and not run.stop:
            run.stop, self.trained.ended = True, "patience"

    def ended(self, run: Any) -> Trained:
        """The network of the epoch that is kept."""
        network = run.ema.ema
        if self.best is not None:
            network.load_state_dict(self.best)
        else:
            self.trained.epoch = len(self.trained.curve)
        self.trained.network = network.float()
        self._settle(network, self.plan.folder.images)
        return self.trained

    def _settle(self, network: Any, images: Sequence[Path]) -> None:
        settle_statistics(network, images, self.plan.spec.image_size, self.budget.device)


def _spread(files: Sequence[Path], most: int) -> Sequence[Path]:
    """Up to `most` of these, spread over all of them."""
    return files[:: -(-len(files) // most)] if files else files


def _settings(scratch: Path, plan: Plan, budget: Budget) -> dict[str, Any]:
    """Arguments for ultralytics: a step after every batch (`nbs`) and no mosaic, so that few epochs count."""
    return {
        "model": plan.lesson.architecture, "task": plan.lesson.kind, "data": str(scratch),
        "imgsz": plan.spec.image_size,
        "epochs": plan.epochs, "batch": BATCH, "nbs": BATCH, "optimizer": "AdamW", "lr0": 0.002, "lrf": 0.05,
        "cos_lr": True, "warmup_epochs": 1.0, "warmup_bias_lr": 0.0, "weight_decay": 0.0005,
        "cache": False, "amp": False, "plots": False, "val": False,
        "save": False, "workers": 0, "seed": budget.seed, "deterministic": False, "device": budget.device,
        "patience": 0, "mosaic": 0.0, "cls": 1.0, "verbose": False, "project": str(scratch), "name": "run",
        "exist_ok": True, "pretrained": False, **plan.lesson.settings(),
    }  # fmt: skip


def _run_class(kind: str) -> Any:
    from ultralytics.models import yolo

    base = getattr(getattr(yolo, kind), _TRAINERS[kind])

    # ultralytics adds its reporting callbacks to classes with "Trainer" in their name.
    class Run(base):  # type: ignore[misc,valid-type,unused-ignore]
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
