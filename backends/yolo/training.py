"""Trains and evaluates the detector on a dataset folder."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.protocols import Progress
from backends.resampling import Floats, Scores
from backends.version_labels import ControlLabels, read_labels, write_labels
from backends.yolo.backend import YoloBackend
from backends.yolo.control_uses import kind_of
from backends.yolo.converters.rectangle_labels import REGION_TYPE, Box, regions_to_boxes
from backends.yolo.dataset import (
    LabelledImage,
    input_size,
    labelled_images,
    split_training,
    write_yolo_folder,
)
from backends.yolo.engine import ARCHITECTURE, build_model, copy_weights, read_weights, save_model
from backends.yolo.engine_export import build_engine
from backends.yolo.metrics import (
    class_average_precision,
    match_image,
    mean_average_precision,
    show_thresholds,
    weighted_average_precisions,
)
from backends.yolo.model_spec import KINDS, MODEL_FILE, ControlUse, ModelSpec, Options, read_spec, write_spec
from backends.yolo.runners import engine_folder
from labelloop.datasets import read_dataset
from labelloop.errors import NotReady
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Artefact, Budget, Metrics, TaskItem

#: The kind of network that is trained.
KIND = "detect"
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
        control = detector_control(dataset.label_config)
        learn, held = split_training(dataset, labelled_images(dataset, "train", control, control.classes))
        if not any(image.boxes for image in learn):
            raise NotReady("no rectangle is labelled in the training split yet; label some images first")
        options = dict(dataset.manifest["body"].get("options") or {})
        source = _source(start)
        spec = ModelSpec(
            architecture=_architecture(source),
            classes=control.classes,
            image_size=int(options.get("image_size") or input_size(learn)),
            options=Options.of(options, source.options if source else None),
            controls=(ControlUse(control.name, {name: name for name in control.classes}),),
        )
        out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="yolo-", dir=out_dir) as scratch:
            progress(0.0, f"preparing {len(learn)} images")
            folder = write_yolo_folder(learn, control.classes, Path(scratch), spec.image_size)
            epochs = budget.epochs or default_epochs(folder.written)
            model, origin = _initial_model(spec, start if source else None, options.get("model_checkpoint"))
            trained, curve = run_training(model, folder.data, Path(scratch), spec, epochs, budget, progress)
            save_model(trained, spec, out_dir / "model" / KIND)
            progress(0.95, "building the engine")
            build_engine(
                out_dir / "model" / KIND,
                images=sorted(Path(folder.data["train"]).iterdir()),
                threads=budget.threads,
                half=spec.options.half,
            )
        others = carry_over(start, out_dir, dataset.label_config, control.name) if start else []
        write_labels(out_dir, [_labels(control, dict.fromkeys(control.classes, 0.3)), *others])
        per_item = _matched(YoloBackend(out_dir, device=budget.device, kinds=[KIND]), control, control.classes, held)
        chosen = show_thresholds(per_item, len(control.classes))
        write_labels(out_dir, [_labels(control, dict(zip(control.classes, chosen, strict=True))), *others])
        validation = {
            "mAP50": mean_average_precision(per_item), "images": len(held),
            "objects": sum(len(image.boxes) for image in held),
        }  # fmt: skip
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
        control = detector_control(dataset.label_config)
        backend = YoloBackend(artefact_dir, kinds=[KIND])
        classes = control.classes
        images = labelled_images(dataset, "holdout", control, classes)
        per_item = _named(_matched(backend, control, classes, images), classes)
        naive = mean_box(labelled_images(dataset, "train", control, classes))
        baseline = mean_average_precision(_by_task((image, match_image(naive, image.boxes)) for image in images))
        by_class = {f"AP50/{name}": value for name, value in class_average_precision(per_item).items()}
        n_objects = sum(len(image.boxes) for image in images)
        return Metrics(
            self.metric,
            self.headline(per_item),
            len(per_item),
            n_objects,
            tuple(per_item),
            baseline,
            by_class,
            unit="objects",
        )

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """mAP50 of these items."""
        return mean_average_precision(per_item)

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """mAP50 and each class's average precision for each row of weights."""
        return weighted_average_precisions(per_item, weights)


def detector_control(config: LabelConfig) -> Control:
    """The control that the detector learns: the first RectangleLabels that does not ask for turned boxes.

    Where all do, the first: it learns the upright boxes around them. DataError when there is none.
    """
    upright = [c for c in config.controls if c.tag == "RectangleLabels" and kind_of(c) == KIND]
    return upright[0] if upright else config.first("RectangleLabels")


def carry_over(start: Path, out_dir: Path, config: LabelConfig, trained: str) -> list[ControlLabels]:
    """Copy the networks of other kinds of an earlier version; returns the labels of the controls that they serve.

    Controls that the config no longer has are left out, and a network without any.
    """
    labels = {each.control: each for each in read_labels(start)}
    there = {control.name for control in config.controls} & set(labels) - {trained}
    carried: list[ControlLabels] = []
    for kind in KINDS:
        folder = start / "model" / kind
        if kind == KIND or not (folder / MODEL_FILE).is_file():
            continue
        spec = read_spec(folder)
        uses = [use if use.boxes in there else replace(use, boxes=None) for use in spec.controls]
        uses = [use for use in uses if use.control in there]
        if not any(use.mapping or use.points for use in uses):
            continue
        for source, target in ((folder, out_dir / "model" / kind), (engine_folder(folder), None)):
            if source.is_dir():
                shutil.copytree(source, target or engine_folder(out_dir / "model" / kind))
        write_spec(replace(spec, controls=tuple(uses)), out_dir / "model" / kind)
        carried += [labels[use.control] for use in uses]
    return carried


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


def _matched(
    backend: YoloBackend, control: Control, classes: Sequence[str], images: Sequence[LabelledImage]
) -> list[dict[str, Any]]:
    """Per-task matches of what the backend predicts; an image that cannot be read counts as without detections."""
    tasks = {image.task_id: TaskItem(image.task_id, image.data, image.media) for image in images}
    outcomes = dict(zip(tasks, backend.predict(list(tasks.values())), strict=True))
    return _by_task(
        (
            image,
            match_image(
                regions_to_boxes(outcomes[image.task_id].regions, classes, control.name, 1, 1, image.item), image.boxes
            ),
        )
        for image in images
    )


def _named(per_item: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The same matches with the names of the classes in place of their places in `classes`."""
    return [
        {
            **item,
            "label": [classes[label] for label in item["label"]],
            "truths": {classes[int(label)]: count for label, count in item["truths"].items()},
        }
        for item in per_item
    ]


def _by_task(matches: Iterable[tuple[LabelledImage, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The matches of the images of each task as one."""
    tasks: dict[int, dict[str, Any]] = {}
    for image, match in matches:
        task = tasks.setdefault(
            image.task_id, {"task_id": image.task_id, "label": [], "score": [], "hit": [], "truths": {}}
        )
        for key in ("label", "score", "hit"):
            task[key] += match[key]
        for label, count in match["truths"].items():
            task["truths"][label] = task["truths"].get(label, 0) + count
    return list(tasks.values())


def _source(start: Path | None) -> ModelSpec | None:
    """The detector of an earlier version, where it has one."""
    folder = start / "model" / KIND if start else None
    return read_spec(folder) if folder and (folder / MODEL_FILE).is_file() else None


def _architecture(source: ModelSpec | None) -> str | Mapping[str, Any]:
    """That of the earlier version; one with two heads at once is trained differently and is not continued."""
    if source is None or (isinstance(source.architecture, Mapping) and source.architecture.get("end2end")):
        return ARCHITECTURE
    return source.architecture


def _initial_model(spec: ModelSpec, start: Path | None, checkpoint: str | None) -> tuple[Any, str]:
    """(network, where its weights come from): the champion, else the base checkpoint, else none."""
    model = build_model(spec)
    if start is not None:
        folder = start / "model" / KIND
        source = read_spec(folder)
        mapping = next((use.mapping for use in source.controls if use.control == spec.controls[0].control), {})
        names = [mapping.get(name, name) for name in source.classes]
        taken = copy_weights(model, read_weights(folder), spec.classes, names)
        _log.info("continuing from %s: %d tensors", start.name, taken)
        return model, start.name
    if checkpoint:
        from backends.yolo.checkpoint import base_weights

        base = base_weights(checkpoint)
        if base is not None:
            copy_weights(model, base.state_dict(), spec.classes, list(base.names.values()))
            return model, checkpoint
    return model, "scratch"


def _labels(control: Control, thresholds: Mapping[str, float]) -> ControlLabels:
    return ControlLabels(
        control.name, control.to_name, control.data_key, REGION_TYPE, control.classes, dict(thresholds)
    )
