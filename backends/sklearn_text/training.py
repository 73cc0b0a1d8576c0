"""Trains and evaluates the text classifier from a dataset folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from backends.calibration import enough_to_calibrate, fit_class_temperature, tempered
from backends.control_metrics import majority_class
from backends.protocols import Progress
from backends.resampling import Floats, Scores, f1_scores
from backends.sklearn_text.artefact import write_model
from backends.sklearn_text.backend import SklearnBackend
from backends.sklearn_text.converters.choices import chosen_class
from backends.sklearn_text.metrics import class_f1, item_counts, macro_f1
from backends.sklearn_text.pipeline import FEATURES, fit_pipeline, probabilities
from backends.thresholds import show_thresholds
from backends.version_labels import ControlLabels, read_labels, write_labels
from labelloop.datasets import Dataset, read_dataset
from labelloop.errors import DataError, NotReady
from labelloop.label_config import Control
from labelloop.values import Artefact, Budget, Metrics, TaskItem

MAX_ITER = 1000
_FOLDS = 5
_LEAST_FOR_FOLDS = 10


@dataclass(frozen=True)
class _Item:
    task_id: int
    text: str | None
    label: str


class SklearnTrainer:
    """One class per text; the metric is the mean F1 of the classes that occur in the holdout."""

    metric = "macro_f1"

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """Train on the whole training split; NotReady without any labelled text.

        The fit is convex, so it ends at the same model wherever it begins: `start` is checked and noted, not needed.
        `budget.epochs` bounds the solver's iterations.
        """
        from threadpoolctl import threadpool_limits

        progress(0.0, "reading the dataset")
        dataset = read_dataset(dataset_dir)
        control = _control(dataset)
        if start is not None:
            read_labels(start, "choices")
        read = _read(dataset, control, "train")
        items = [item for item in read if item.text is not None]
        if not items:
            raise NotReady("the training split has no labelled text; label some tasks first")
        with threadpool_limits(limits=max(budget.threads, 1)):
            params = _fit(items, control, out_dir, _recipe(dataset, budget), progress)
        params.update(texts_missing=len(read) - len(items), continued=start is not None)
        (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
        progress(1.0, "trained")
        return Artefact(out_dir, params)

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """macro_f1 on the holdout; the baseline always says the training split's most frequent class."""
        dataset = read_dataset(dataset_dir)
        (labels,) = read_labels(artefact_dir, "choices")
        control = dataset.label_config.control(labels.control)
        items = _read(dataset, control, "holdout")
        outcomes = SklearnBackend(artefact_dir).predict(
            [TaskItem(item.task_id, {labels.data_key: item.text}) for item in items]
        )
        per_item = tuple(
            {
                "task_id": item.task_id,
                "truth": item.label,
                "predicted": chosen_class(outcome.regions, control.classes, control.name),
            }
            for item, outcome in zip(items, outcomes, strict=True)
        )
        usual = majority_class([item.label for item in _read(dataset, control, "train")])
        return Metrics(
            self.metric,
            macro_f1(per_item),
            len(per_item),
            len(per_item),
            per_item,
            macro_f1([{**item, "predicted": usual} for item in per_item]),
            {f"f1/{name}": value for name, value in class_f1(per_item).items()},
        )

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """Macro F1 of these items."""
        return macro_f1(per_item)

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """Macro F1 and each class's F1 for each row of weights."""
        found = f1_scores([item_counts(item) for item in per_item], weights)
        return found.scores(found.macro)


def _control(dataset: Dataset) -> Control:
    control = dataset.label_config.first("Choices")
    if control.attributes.get("choice", "single").startswith("multiple"):
        raise DataError(
            f"control {control.name!r} takes several choices per text; sklearn_text learns one: set choice='single'"
        )
    return control


def _read(dataset: Dataset, control: Control, split: str) -> list[_Item]:
    """The tasks of a split whose truth is a class of the control, by task id; `text` is None where there is none."""
    items = []
    for task_id, data, result in dataset.truth(split):
        label = chosen_class(result, control.classes, control.name)
        text = data.get(control.data_key)
        if label is not None:
            items.append(_Item(task_id, text if isinstance(text, str) and text.strip() else None, label))
    return items


@dataclass(frozen=True)
class _Recipe:
    """How a pipeline is fitted."""

    seed: int
    max_iter: int
    features: str
    calibrate: bool

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> Any:
        return fit_pipeline(texts, labels, self.seed, self.max_iter, self.features)


def _recipe(dataset: Dataset, budget: Budget) -> _Recipe:
    features = str((dataset.manifest["body"].get("options") or {}).get("features", FEATURES[0]))
    if features not in FEATURES:
        raise DataError(f"active_learning.model_options: features is {features!r}, expected one of {list(FEATURES)}")
    iterations = MAX_ITER if budget.epochs is None else max(budget.epochs, 1)
    return _Recipe(budget.seed, iterations, features, budget.calibrate)


def _fit(
    items: Sequence[_Item], control: Control, out_dir: Path, recipe: _Recipe, progress: Progress
) -> dict[str, Any]:
    """Fit, choose thresholds and temperature out of fold, write model and labels.json; returns what was done."""
    texts, labels = [item.text or "" for item in items], [item.label for item in items]
    own = (texts, labels) if recipe.calibrate else ([], [])
    rows, truth = _out_of_fold(*own, control.classes, recipe, progress)
    calibrated = len(rows) > 0 and enough_to_calibrate(labels)
    temperature = fit_class_temperature(rows, truth) if calibrated else 1.0
    if calibrated:
        rows = tempered(rows, temperature)
    pairs: dict[str, list[tuple[float, bool]]] = {name: [] for name in control.classes}
    for row, true in zip(rows, truth, strict=True):
        best = int(np.argmax(row))
        pairs[control.classes[best]].append((float(row[best]), best == true))
    progress(0.85, "training on every text")
    pipeline = recipe.fit(texts, labels)
    progress(0.95, "writing the model")
    out_dir.mkdir(parents=True, exist_ok=True)
    write_model(out_dir, pipeline)
    thresholds = show_thresholds(pairs, control.classes)
    write_labels(
        out_dir,
        [
            ControlLabels(
                control.name,
                control.to_name,
                control.data_key,
                "choices",
                control.classes,
                thresholds,
                calibrated,
                temperature,
            )
        ],
    )
    return {
        "texts": len(texts), "classes_seen": len(set(labels)), "max_iter": recipe.max_iter, "seed": recipe.seed,
        "features": recipe.features,
        "out_of_fold": len(rows), "temperature": temperature,
        "out_of_fold_accuracy": float((rows.argmax(axis=1) == truth).mean()) if len(rows) else None,
    }  # fmt: skip


def _out_of_fold(
    texts: Sequence[str],
    labels: Sequence[str],
    classes: Sequence[str],
    recipe: _Recipe,
    progress: Progress,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(probabilities (n, classes), true column (n,)) of every text by a model that did not see it.

    Empty when the texts are few or of one class.
    """
    truth = np.array([list(classes).index(label) for label in labels], dtype=np.int64)
    if len(texts) < _LEAST_FOR_FOLDS or len(set(labels)) < 2:
        return np.zeros((0, len(classes))), np.zeros(0, dtype=np.int64)
    fold = _folds(labels, recipe.seed)
    rows = np.zeros((len(texts), len(classes)))
    for number in range(_FOLDS):
        progress(0.05 + 0.8 * number / _FOLDS, f"thresholds, part {number + 1} of {_FOLDS}")
        kept, held = np.flatnonzero(fold != number).tolist(), np.flatnonzero(fold == number).tolist()
        if held:
            pipeline = recipe.fit([texts[i] for i in kept], [labels[i] for i in kept])
            rows[held] = probabilities(pipeline, [texts[i] for i in held], classes)
    return rows, truth


def _folds(labels: Sequence[str], seed: int) -> NDArray[np.int64]:
    """A fold number per label, each class spread evenly, at random by seed."""
    seen: Counter[str] = Counter()
    fold = np.zeros(len(labels), dtype=np.int64)
    for index in np.random.default_rng(seed).permutation(len(labels)):
        fold[index] = (seen[labels[index]] + sum(map(ord, labels[index]))) % _FOLDS
        seen[labels[index]] += 1
    return fold
