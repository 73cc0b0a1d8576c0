"""Trains and evaluates the detector on a dataset folder."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.protocols import Progress
from backends.version_labels import ControlLabels, write_labels
from backends.yolo.backend import YoloBackend
from backends.yolo.converters.rectangle_labels import REGION_TYPE, Box, regions_to_boxes
from backends.yolo.dataset import (
    LabelledImage,
    input_size,
    labelled_images,
    split_training,
    write_yolo_folder,
)
from backends.yolo.engine import ARCHITECTURE, ModelSpec, build_model, copy_weights, read_spec, read_weights, save_model
from backends.yolo.metrics import class_average_precision, match_image, mean_average_precision, show_thresholds
from labelloop.datasets import read_dataset
from labelloop.errors import NotReady
from labelloop.label_config import Control
from labelloop.values import Artefact, Budget, Metrics, TaskItem

#: Epochs are bounded by both: a small dataset gets MOST_EPOCHS, a large one no more than IMAGE_PASSES in all.
MOST_EPOCHS = 20
LEAST_EPOCHS = 3
IMAGE_PASSES = 20_000
_log = logging.getLogger(__name__)


def default_epochs(n_images: int) -> int:
    """Epochs for a training set of that many images."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, IMAGE_PASSES // max(n_images, 1)))


class YoloTrainer:
    """Fits YOLO11n to RectangleLabels truth; continues from an earlier version where one is given."""

    metric = "mAP50"

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """Train on the split "train", in `out_dir`/model; NotReady without a labelled box."""
        from backends.yolo.ultralytics_run import run_training

        dataset = read_dataset(dataset_dir)
        control = dataset.label_config.first("RectangleLabels")
        learn, held = split_training(dataset, labelled_images(dataset, "train", control.name, control.classes))
        if not any(image.boxes for image in learn):
            raise NotReady("no rectangle is labelled in the training split yet; label some images first")
        options = dict(dataset.manifest["body"].get("options") or {})
        spec = ModelSpec(ARCHITECTURE, control.classes, int(options.get("image_size") or input_size(learn)))
        out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="yolo-", dir=out_dir) as scratch:
            progress(0.0, f"preparing {len(learn)} images")
            folder = write_yolo_folder(learn, control.classes, Path(scratch), spec.image_size)
            epochs = budget.epochs or default_epochs(folder.written)
            model, origin = _initial_model(spec, start, options.get("model_checkpoint"))
            trained, curve = run_training(model, folder.data, Path(scratch), spec, epochs, budget, progress)
        save_model(trained, spec, out_dir / "model")
        _write_labels(out_dir, control, {name: 0.3 for name in control.classes})
        validation = self._choose_thresholds(out_dir, control, held, budget)
        params = {
            "architecture": ARCHITECTURE, "epochs": epochs, "image_size": spec.image_size, "images": folder.written,
            "skipped": len(folder.skipped), "start": origin, "seed": budget.seed,
        }  # fmt: skip
        body = {"metric": self.metric, "validation": validation, "params": params, "curve": curve}
        (out_dir / "metrics.json").write_text(json.dumps(body, indent=2), encoding="utf-8")
        progress(1.0, f"trained {epochs} epochs on {folder.written} images")
        return Artefact(out_dir, params, tuple(curve))

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """mAP50 on the split "holdout"; the baseline answers one mean box of the commonest class."""
        dataset = read_dataset(dataset_dir)
        backend = YoloBackend(artefact_dir)
        control = dataset.label_config.first("RectangleLabels")
        images = labelled_images(dataset, "holdout", control.name, backend.classes)
        per_item = _matched(backend, control.name, images)
        naive = mean_box(labelled_images(dataset, "train", control.name, backend.classes))
        baseline = mean_average_precision([match_image(naive, image.boxes) for image in images])
        by_class = {f"AP50/{backend.classes[c]}": v for c, v in class_average_precision(per_item).items()}
        n_objects = sum(len(image.boxes) for image in images)
        return Metrics(
            self.metric, self.headline(per_item), len(images), n_objects, tuple(per_item), baseline, by_class
        )

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """mAP50 of these items."""
        return mean_average_precision(per_item)

    def _choose_thresholds(
        self, out_dir: Path, control: Control, held: Sequence[LabelledImage], budget: Budget
    ) -> dict[str, Any]:
        """Write labels.json with thresholds that hold on `held`; returns what metrics.json says of that part."""
        per_item = _matched(YoloBackend(out_dir, device=budget.device), control.name, held)
        chosen = show_thresholds(per_item, len(control.classes))
        _write_labels(out_dir, control, dict(zip(control.classes, chosen, strict=True)))
        return {
            "mAP50": mean_average_precision(per_item), "images": len(held),
            "objects": sum(len(image.boxes) for image in held),
        }  # fmt: skip


def mean_box(images: Sequence[LabelledImage]) -> list[Box]:
    """What a detector that learned nothing answers: the mean box of the commonest class, or nothing without boxes."""
    boxes = [box for image in images for box in image.boxes]
    if not boxes:
        return []
    labels = [box.label for box in boxes]
    common = max(sorted(set(labels)), key=labels.count)
    own = [box for box in boxes if box.label == common]
    x0, y0, x1, y1 = (sum(getattr(box, key) for box in own) / len(own) for key in ("x0", "y0", "x1", "y1"))
    return [Box(common, x0, y0, x1, y1, score=1.0)]


def _matched(backend: YoloBackend, control: str, images: Sequence[LabelledImage]) -> list[dict[str, Any]]:
    """Per-image matches of what the backend predicts; an image that cannot be read counts as without detections."""
    outcomes = backend.predict([TaskItem(image.task_id, image.data, image.media) for image in images])
    return [
        {"task_id": image.task_id}
        | match_image(regions_to_boxes(outcome.regions, backend.classes, control, 1, 1), image.boxes)
        for image, outcome in zip(images, outcomes, strict=True)
    ]


def _initial_model(spec: ModelSpec, start: Path | None, checkpoint: str | None) -> tuple[Any, str]:
    """(network, where its weights come from): the champion, else the base checkpoint, else none."""
    model = build_model(spec)
    if start is not None:
        source = read_spec(start / "model")
        taken = copy_weights(model, read_weights(start / "model"), spec.classes, source.classes)
        _log.info("continuing from %s: %d tensors", start.name, taken)
        return model, start.name
    if checkpoint:
        from backends.yolo.checkpoint import base_weights

        base = base_weights(checkpoint)
        if base is not None:
            copy_weights(model, base.state_dict(), spec.classes, list(base.names.values()))
            return model, checkpoint
    return model, "scratch"


def _write_labels(out_dir: Path, control: Control, thresholds: Mapping[str, float]) -> None:
    labels = ControlLabels(
        control.name, control.to_name, control.data_key, REGION_TYPE, control.classes, dict(thresholds)
    )
    write_labels(out_dir, [labels])
