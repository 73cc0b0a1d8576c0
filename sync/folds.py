"""Tasks as models of the project's own kind see them that saw neither the task nor a near duplicate of it in training."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import orjson

from backends import BACKENDS, backend_module
from backends.predicting import predict_each
from labelloop.datasets import MANIFEST, Dataset, read_dataset
from labelloop.errors import NotReady, UsageError
from labelloop.label_config import LabelConfig
from labelloop.media import keep_file
from labelloop.progress import Counting, not_counted
from labelloop.values import Budget, Outcome, TaskItem
from sync.fold_scores import calibrated
from sync.image_prints import image_prints
from sync.near_groups import near_groups, noted_print, shown_text, text_keys, text_print
from sync.out_of_fold import FOLDS, group_folds
from sync.prediction import Judged, by_control, judged_controls
from sync.predictions_reading import Predictions

if TYPE_CHECKING:
    from backends.protocols import Backend, Trainer

log = logging.getLogger(__name__)

#: Tasks given to a model at once.
_BATCH = 64


@dataclass(frozen=True)
class FoldPlan:
    """How the models are made: `epochs` at most of each (None: the trainer's default), the same seed in every fold."""

    folds: int = FOLDS
    epochs: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 2


@dataclass
class OutOfFold:
    """What the models say, and why there is nothing of some tasks: task -> a key of REASONS with details."""

    predictions: Predictions = field(default_factory=Predictions)
    failed: dict[int, str] = field(default_factory=dict)


def checked_backend(name: str) -> ModuleType:
    """The package of a backend that learns from nothing; UsageError for another one, or one that is not installed."""
    module = backend_module(name)
    if getattr(module.trainer(), "needs_start", False):
        able = [each for each in sorted(BACKENDS) if each != name]
        raise UsageError(
            f"the backend {name!r} can't be trained from nothing, so no fold of it can be held out; name another one: "
            f"--backend {' or --backend '.join(able)}"
        )
    return module


def predict_out_of_fold(
    dataset_dir: Path, backend: str, scratch: Path, plan: FoldPlan | None = None, count: Counting = not_counted
) -> OutOfFold:
    """What is said of every labelled task of a materialised dataset by a model that was trained on the other folds.

    `scratch` holds one fold's folder and model at a time, and is empty afterwards. Scores of regions are calibrated over all
    folds (see `sync.fold_scores`). NotReady where there is nothing to hold out; UsageError as `checked_backend`.
    """
    module = checked_backend(backend)
    plan = plan or FoldPlan()
    dataset = read_dataset(dataset_dir)
    fold = folds_of(dataset, plan.folds, plan.seed)
    numbers = sorted(set(fold.values()))
    items = items_of(dataset, sorted(fold))
    found, first = OutOfFold(), True
    for at, number in enumerate(numbers, start=1):
        stage = f"fold {at} of {len(numbers)},"
        folder = scratch / f"fold-{number}"
        try:
            held = {task for task, own in fold.items() if own == number}
            lay_out_fold(dataset, held, folder / "dataset")
            model = _trained(module, folder, plan, stage, count)
            _take(
                model, [item for task, item in items.items() if task in held], dataset.label_config, found, stage, count
            )
            if first and dataset.label_config.has_media:
                # Numbers of two models can't be compared; how unusual an image is does not depend on its label.
                _embed(model, list(items.values()), found, count)
            first = False
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    found.predictions.regions = calibrated(found.predictions.regions, dataset)
    return found


# -- folds ------------------------------------------------------------------------------------------------------------


def folds_of(dataset: Dataset, folds: int, seed: int) -> dict[int, int]:
    """Labelled task -> its fold; what shows nearly the same is in one. NotReady with fewer than two groups of tasks."""
    group = groups_of(dataset)
    tasks = sorted(set(dataset.labels["task_id"].to_list()) & set(group))
    n_groups = len({group[task] for task in tasks})
    if n_groups < 2:
        raise NotReady(
            "out-of-fold predictions need labelled tasks that are not all near duplicates; "
            f"there are {len(tasks)} in {n_groups} groups: label more tasks first"
        )
    classes: dict[int, set[str]] = {}
    for task, name in dataset.regions.select("task_id", "label").iter_rows():
        classes.setdefault(task, set()).add(str(name))
    strata = ["\n".join(sorted(classes.get(task, ()))) for task in tasks]
    fold = group_folds(strata, [group[task] for task in tasks], min(folds, n_groups), seed)
    return dict(zip(tasks, fold.tolist(), strict=True))


def groups_of(dataset: Dataset) -> dict[int, int]:
    """Task -> the least id of its group: tasks of one group_key, and those whose texts or images are near."""
    keys = dict(dataset.tasks.select("task_id", "group_key").iter_rows())
    by_key: dict[str, list[int]] = {}
    for task, key in keys.items():
        if key is not None:
            by_key.setdefault(key, []).append(task)
    head = {task: task for task in keys}

    def root(task: int) -> int:
        while head[task] != task:
            head[task] = task = head[head[task]]
        return task

    for members in (*by_key.values(), *near_groups(_prints(dataset))):
        roots = [root(task) for task in members]
        for each in roots:
            head[each] = min(roots)
    return {task: root(task) for task in keys}


def _prints(dataset: Dataset) -> dict[int, str]:
    """Fingerprints of tasks: the one that ingest noted, else that of the texts that the task shows, else of its image."""
    config = dataset.label_config
    keys = text_keys(config)
    found: dict[int, str] = {}
    bare: dict[int, Mapping[str, object]] = {}
    files: dict[str, Path] = {}
    for task, data, meta in _data(dataset):
        if told := noted_print(meta) or text_print(shown_text(data, keys)):
            found[task] = told
        elif config.has_media and (media := dataset.media(task, data)):
            bare[task] = data
            files |= media
    if bare:
        found |= image_prints(bare, config, lambda address: files[address])[0]
    return found


def lay_out_fold(dataset: Dataset, held: set[int], folder: Path) -> Path:
    """A dataset folder whose split "holdout" is these tasks, all others "train"; media are linked.

    It does not hold the labels of those tasks, so that no trainer can learn them, whatever it reads.
    """
    tasks = set(dataset.tasks["task_id"].to_list())
    return lay_out_split(dataset, folder, tasks=tasks, held=held, labelled=tasks - held)


def lay_out_split(dataset: Dataset, folder: Path, *, tasks: set[int], held: set[int], labelled: set[int]) -> Path:
    """A dataset folder of these tasks, those `held` in the split "holdout" and the others in "train"; media are linked.

    It holds the labels of `labelled` tasks and of no others.
    """
    import polars as pl

    folder.mkdir(parents=True)
    keep_file(dataset.path / MANIFEST, folder / MANIFEST)
    task = pl.col("task_id")
    split = pl.when(task.is_in(sorted(held))).then(pl.lit("holdout")).otherwise(pl.lit("train")).alias("split")
    dataset.tasks.filter(task.is_in(sorted(tasks))).with_columns(split).write_parquet(folder / "tasks.parquet")
    for name, table in (("labels", dataset.labels), ("regions", dataset.regions)):
        table.filter(task.is_in(sorted(labelled))).write_parquet(folder / f"{name}.parquet")
    media = dataset.path / "media"
    if media.is_dir():
        (folder / "media").symlink_to(media.resolve(), target_is_directory=True)
    return folder


# -- models -----------------------------------------------------------------------------------------------------------


def _trained(module: ModuleType, folder: Path, plan: FoldPlan, stage: str, count: Counting) -> Backend:
    trainer: Trainer = module.trainer()
    out = folder / "artefact"
    out.mkdir()

    def progress(share: float, _message: str) -> None:
        count(f"{stage} percent trained", round(100 * share), 100)

    budget = Budget(plan.epochs, seed=plan.seed, device=plan.device, threads=plan.threads)
    artefact = trainer.fit(folder / "dataset", out, start=None, budget=budget, progress=progress)
    loaded: Backend = module.load(artefact.path, device=plan.device, threads=plan.threads)
    return loaded


def _take(
    model: Backend, items: Sequence[TaskItem], config: LabelConfig, found: OutOfFold, stage: str, count: Counting
) -> None:
    """Note what a model says of the tasks that it did not see."""
    judged = judged_controls(config)
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        outcomes = predict_each(model, part, want=frozenset({"regions", "probs"}))
        for item, outcome in zip(part, outcomes, strict=True):
            if item.task_id is not None:
                _note(item.task_id, outcome, config, judged, found)
        count(f"{stage} tasks predicted", start + len(part), len(items))


def _note(task: int, outcome: Outcome, config: LabelConfig, judged: Sequence[Judged], found: OutOfFold) -> None:
    if outcome.status != "ok":
        found.failed[task] = f"{outcome.status}: {outcome.detail}" if outcome.detail else outcome.status
        return
    found.predictions.regions[task] = [
        region for region in outcome.regions if config.problem_with(config.as_stored(region)) is None
    ]
    said = by_control(outcome.probs or {}, judged)
    for each in judged:
        # A model that does not know every class can't judge a label of one that it does not know.
        if (chances := said.get(each.name)) and len(chances) == len(each.units):
            found.predictions.chances.setdefault(each.name, {})[task] = chances


def _embed(model: Backend, items: Sequence[TaskItem], found: OutOfFold, count: Counting) -> None:
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        outcomes = predict_each(model, part, want=frozenset({"regions", "embedding"}))
        for item, outcome in zip(part, outcomes, strict=True):
            if item.task_id is not None and outcome.status == "ok" and outcome.embedding:
                found.predictions.vectors[item.task_id] = list(outcome.embedding)
        count("tasks embedded", start + len(part), len(items))


def items_of(dataset: Dataset, tasks: Sequence[int]) -> dict[int, TaskItem]:
    """Tasks of a materialised dataset as a model sees them; those that were forgotten are not there."""
    wanted = set(tasks)
    return {
        task: TaskItem(task, data, dict(dataset.media(task, data)), meta)
        for task, data, meta in _data(dataset)
        if task in wanted
    }


def _data(dataset: Dataset) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    """(task, data, meta) of every task that was not forgotten."""
    rows = dataset.tasks.select("task_id", "data", "meta").iter_rows()
    return [
        (task, orjson.loads(data), orjson.loads(meta) if meta else {})
        for task, data, meta in rows
        if task not in dataset.forgotten
    ]


def reasons_told(failed: Mapping[int, str]) -> list[str]:
    """Of how many tasks nothing was said, one line for each reason."""
    counts = Counter(reason for reason in failed.values())
    return [f"{n} tasks have no prediction: {reason}" for reason, n in counts.most_common()]
