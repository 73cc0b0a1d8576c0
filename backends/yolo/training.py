"""Trains and evaluates the networks of a project on a dataset folder: of each kind that its labels ask for, one."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backends.protocols import Progress
from backends.resampling import Floats, Scores
from backends.version_labels import ControlLabels, read_labels, write_labels
from backends.yolo.backend import YoloBackend
from backends.yolo.carrying import carry_over
from backends.yolo.control_uses import SHOW_THRESHOLD
from backends.yolo.dataset import (
    input_size,
    labelled_images,
    split_training,
    write_yolo_folder,
)
from backends.yolo.engine import build_model, copy_weights, read_weights, save_model
from backends.yolo.engine_export import build_engine
from backends.yolo.learning.lesson import LabelledImage, Lesson
from backends.yolo.learning.lessons import lessons_of
from backends.yolo.measuring import Judged, answers_of, judged, judged_objects
from backends.yolo.metrics import show_thresholds
from backends.yolo.model_spec import MODEL_FILE, ModelSpec, Options, read_spec
from backends.yolo.scores import headline, weighted_scores
from backends.yolo.ultralytics_run import PATIENCE, Judge, Plan, Trained, run_training
from labelloop.datasets import Dataset, read_dataset
from labelloop.errors import NotReady
from labelloop.values import Artefact, Budget, Metrics

#: Epochs are bounded by both: a small dataset gets MOST_EPOCHS, a large one no more than IMAGE_PASSES in all.
MOST_EPOCHS = 20
LEAST_EPOCHS = 3
IMAGE_PASSES = 20_000
#: Fewer objects than this judge no epoch.
JUDGING_OBJECTS = 10
#: Images that judge an epoch, at most.
JUDGING_IMAGES = 200
#: The name of the headline over several kinds.
MEAN = "mean_score"
_log = logging.getLogger(__name__)


def default_epochs(n_images: int) -> int:
    """Epochs for a training set of that many images."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, IMAGE_PASSES // max(n_images, 1)))


@dataclass(frozen=True)
class _Study:
    """A lesson with the images to learn from, and those that judge epochs and give thresholds."""

    lesson: Lesson
    learn: Sequence[LabelledImage]
    held: Sequence[LabelledImage]


@dataclass(frozen=True)
class _Share:
    """A part of a training's progress; its messages begin with the name of what is trained, if it has one."""

    progress: Progress
    start: float
    length: float
    name: str = ""

    def __call__(self, share: float, message: str) -> None:
        told = f"{self.name}: {message}" if self.name else message
        self.progress(self.start + self.length * min(share, 1.0), told)


@dataclass
class _Report:
    """What is told of the networks that were trained."""

    params: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    validation: dict[str, Any] = field(default_factory=dict)


class YoloTrainer:
    """Fits a YOLO11n network of each kind that has labels; continues from an earlier version where one is given.

    What a kind learns, what it is judged by and its baseline are in backends.yolo.learning.
    """

    metric = "mAP50"

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """Train on the split "train", in `out_dir`/model; NotReady where nothing can be learned from its labels.

        Networks of the earlier version whose kind is not trained are kept.
        """
        dataset = read_dataset(dataset_dir)
        studies = _studies(dataset, budget)
        out_dir.mkdir(parents=True, exist_ok=True)
        report = _Report()
        ends = None if budget.seconds is None else time.monotonic() + budget.seconds
        for number, study in enumerate(studies):
            left = None if ends is None else max(ends - time.monotonic(), 0.0) / (len(studies) - number)
            several = len(studies) > 1
            part = _Share(progress, number / len(studies), 0.99 / len(studies), study.lesson.kind if several else "")
            _train(study, dataset, out_dir, start, replace(budget, seconds=left), part, report, several)
        trained = [control.name for study in studies for control in study.lesson.controls]
        kinds = [study.lesson.kind for study in studies]
        others = carry_over(start, out_dir, dataset.label_config, kinds, trained) if start else []
        write_labels(out_dir, [*_untold(studies), *others])
        backend = YoloBackend(out_dir, device=budget.device, kinds=kinds)
        labels: list[ControlLabels] = []
        for study in studies:
            found = judged(study.lesson, study.held, answers_of(backend, study.held))
            labels += study.lesson.labels(show_thresholds(list(found.items.values()), study.lesson.classes))
            report.validation[study.lesson.kind] = {
                study.lesson.metric: found.value, "images": len(study.held), "objects": found.objects,
            }  # fmt: skip
        write_labels(out_dir, [*labels, *others])
        validation = report.validation if len(studies) > 1 else report.validation[kinds[0]]
        body = {
            "metric": _metric([study.lesson for study in studies]), "validation": validation,
            "params": report.params, "curve": report.curve,
        }  # fmt: skip
        (out_dir / "metrics.json").write_text(json.dumps(body, indent=2), encoding="utf-8")
        progress(1.0, f"trained: {', '.join(kinds)}")
        return Artefact(out_dir, report.params, tuple(report.curve))

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """The metric of each kind on the split "holdout", the mean where there are several.

        The baseline answers the same for every image: the mean object of the commonest class.
        """
        dataset = read_dataset(dataset_dir)
        lessons = lessons_of(dataset)
        backend = YoloBackend(artefact_dir, kinds=[lesson.kind for lesson in lessons])
        controls = {labels.control: labels for labels in read_labels(artefact_dir)}
        images = [labelled_images(dataset, "holdout", lesson) for lesson in lessons]
        answers = answers_of(backend, [image for each in images for image in each])
        found: list[Judged] = []
        naive: list[Judged] = []
        details: dict[str, Any] = {}
        extra: dict[str, float] = {}
        for lesson, own in zip(lessons, images, strict=True):
            least = lesson.thresholds(controls)
            found.append(judged(lesson, own, answers, least))
            same = lesson.naive(labelled_images(dataset, "train", lesson))
            naive.append(judged_objects(lesson, own, [same] * len(own)))
            details[lesson.kind] = found[-1].details(least, naive[-1].value)
            extra |= _figures(found[-1], f"{lesson.kind}/" if len(lessons) > 1 else "")
        per_item = _per_task(found)
        return Metrics(
            _metric(lessons),
            headline(per_item),
            len(per_item),
            sum(each.objects for each in found),
            tuple(per_item),
            headline(_per_task(naive)),
            extra,
            unit="objects" if any(lesson.has_background for lesson in lessons) else "tasks",
            details={"kinds": details},
        )

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """The metric of these items, the mean over the kinds."""
        return headline(per_item)

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """The headline and each class's score for each row of weights."""
        return weighted_scores(per_item, weights)


def _studies(dataset: Dataset, budget: Budget) -> list[_Study]:
    """The lessons that can be learned from the training split; NotReady says what every one of them lacks."""
    studies, lacking = [], []
    for lesson in lessons_of(dataset):
        images = labelled_images(dataset, "train", lesson)
        learn, held = split_training(dataset, images) if budget.calibrate else (images, [])
        lack = lesson.lacks(learn)
        if lack is None:
            studies.append(_Study(lesson, learn, held))
        else:
            lacking.append(lack)
    if not studies:
        raise NotReady(f"{'; '.join(lacking)} in the training split yet; label some images first")
    for lack in lacking:
        _log.warning("not trained: %s in the training split yet", lack)
    return studies


def _train(
    study: _Study,
    dataset: Dataset,
    out_dir: Path,
    start: Path | None,
    budget: Budget,
    progress: Progress,
    report: _Report,
    several: bool,
) -> None:
    """Train one network into `out_dir`/model/<kind>; `budget.seconds` are its own. Adds to the report."""
    lesson = study.lesson
    options = dict(dataset.manifest["body"].get("options") or {})
    source = _source(start, lesson)
    spec = ModelSpec(
        architecture=_architecture(source, lesson),
        classes=lesson.classes,
        image_size=int(options.get("image_size") or input_size(study.learn, lesson)),
        kind=lesson.kind,
        options=Options.of(options, source.options if source else None),
        controls=lesson.uses(),
        point_shape=lesson.point_shape,
    )
    with tempfile.TemporaryDirectory(prefix="yolo-", dir=out_dir) as scratch:
        progress(0.0, f"preparing {len(study.learn)} images")
        folder = write_yolo_folder(study.learn, lesson, Path(scratch), spec.image_size)
        if not folder.images:
            raise NotReady(f"none of {len(study.learn)} images can be read: {'; '.join(folder.skipped[:3])}")
        epochs = budget.epochs or default_epochs(len(folder.images))
        model, origin = _initial_model(
            spec, lesson, start if source else None, options.get("model_checkpoint"), budget.seed
        )
        judge = _judge(study, spec, Path(scratch) / "judged", budget)
        # One object more or less is no difference between two epochs.
        tolerance = 1 / max(sum(len(image.objects) for image in study.held[:JUDGING_IMAGES]), 1)
        patience = int(options.get("patience") or PATIENCE)
        plan = Plan(lesson, spec, folder, epochs, budget.seconds, judge, tolerance if study.held else 0.0, patience)
        trained = run_training(model, plan, Path(scratch), budget, _Share(progress, 0.0, 0.95))
        save_model(trained.network, spec, out_dir / "model" / lesson.kind)
        progress(0.95, "building the engine")
        build_engine(
            out_dir / "model" / lesson.kind, images=folder.images, threads=budget.threads, half=spec.options.half
        )
    told = _params(spec, lesson, epochs, trained, len(folder.images), len(folder.skipped), origin)
    prefix = f"{lesson.kind}_" if several else ""
    report.params |= {f"{prefix}{key}": value for key, value in told.items()} | {"seed": budget.seed}
    report.curve += [{f"{prefix}{key}": value for key, value in point.items()} for point in trained.curve]


def _params(
    spec: ModelSpec, lesson: Lesson, epochs: int, trained: Trained, images: int, skipped: int, origin: str
) -> dict[str, Any]:
    return {
        "architecture": lesson.architecture, "epochs": epochs, "epochs_done": len(trained.curve),
        "best_epoch": trained.epoch, "ended_by": trained.ended, "image_size": spec.image_size, "images": images,
        "skipped": skipped, "start": origin,
    }  # fmt: skip


def _judge(study: _Study, spec: ModelSpec, folder: Path, budget: Budget) -> Judge | None:
    """Scores a network as it would answer on the images held back; None where they hold too little to tell."""
    held = study.held[:JUDGING_IMAGES]
    if sum(len(image.objects) for image in held) < JUDGING_OBJECTS:
        return None

    def judge(network: Any) -> float:
        save_model(network, spec, folder / "model" / spec.kind)
        write_labels(folder, _untold([study]))
        backend = YoloBackend(folder, device=budget.device, threads=budget.threads, kinds=[spec.kind])
        return judged(study.lesson, held, answers_of(backend, held)).value

    return judge


def _untold(studies: Sequence[_Study]) -> list[ControlLabels]:
    """The controls while nobody knows their thresholds yet."""
    return [
        labels
        for study in studies
        for labels in study.lesson.labels(dict.fromkeys(study.lesson.classes, SHOW_THRESHOLD))
    ]


def _source(start: Path | None, lesson: Lesson) -> ModelSpec | None:
    """The network of this kind of an earlier version, where it has one."""
    folder = start / "model" / lesson.kind if start else None
    return read_spec(folder) if folder and (folder / MODEL_FILE).is_file() else None


def _architecture(source: ModelSpec | None, lesson: Lesson) -> str | Mapping[str, Any]:
    """That of the earlier version; one with two heads at once is trained differently and is not continued."""
    if source is None or (isinstance(source.architecture, Mapping) and source.architecture.get("end2end")):
        return lesson.architecture
    return source.architecture


def _initial_model(
    spec: ModelSpec, lesson: Lesson, start: Path | None, checkpoint: str | None, seed: int
) -> tuple[Any, str]:
    """(network, where its weights come from): the champion, else the base checkpoint, else none, drawn by the seed."""
    model = build_model(spec, seed)
    if start is not None:
        folder = start / "model" / spec.kind
        source = read_spec(folder)
        own = lesson.controls[-1].name
        mapping = next((use.mapping for use in source.controls if use.control == own), {})
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


def _per_task(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """What backends.yolo.scores takes: the results of each task, ordered by its id."""
    tasks = sorted({task_id for each in found for task_id in each.items})
    return [
        {"task_id": task, "kinds": {each.lesson.kind: each.items[task] for each in found if task in each.items}}
        for task in tasks
    ]


def _metric(lessons: Sequence[Lesson]) -> str:
    return lessons[0].metric if len(lessons) == 1 else MEAN


def _figures(found: Judged, prefix: str) -> dict[str, float]:
    """The numbers of a kind that are registered with a version."""
    name = "F1" if found.lesson.kind == "classify" else "AP50"
    figures = {f"{prefix}{name}/{label}": value for label, value in found.by_class.items()}
    if found.false_alarms_per_background is not None:
        figures[f"{prefix}false_positives_per_background_image"] = found.false_alarms_per_background
    return figures
