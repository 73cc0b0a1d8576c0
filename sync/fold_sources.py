"""Out-of-fold predictions of a project or an export: its labels as a dataset in a scratch folder, and the file they go to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import orjson

from labelloop.datasets import Dataset
from labelloop.errors import DataError
from labelloop.progress import Counting, not_counted
from labelloop.store import ProjectRow
from labelloop.task_items import Fetch
from sync.file_media import file_media
from sync.folds import FoldPlan, OutOfFold, checked_backend, predict_out_of_fold
from sync.formats.freezing_exports import dataset_from_export
from sync.freezing import freeze_version, lay_out, open_dataset
from sync.predictions_reading import Predictions
from sync.promotion import uses_media
from sync.runtime import Runtime


def out_of_fold_of_project(
    runtime: Runtime,
    project: ProjectRow,
    plan: FoldPlan,
    *,
    backend: str | None = None,
    count: Counting = not_counted,
) -> OutOfFold:
    """The same for the labels of a project as they are now; nothing but its scratch folder is written, and that goes."""
    name = backend or project.backend
    checked_backend(name)
    with tempfile.TemporaryDirectory(prefix="folds-", dir=runtime.scratch("folds")) as made:
        scratch = Path(made)
        frozen = freeze_version(runtime.store, project, str(scratch))
        dataset = open_dataset(str(scratch), frozen.dataset_id, scratch)
        fetch = runtime.media.fetch if uses_media(project) else None
        return _of_dataset(dataset, name, scratch, plan, fetch, count)


def out_of_fold_of_file(
    runtime: Runtime, file: Path, config: Path, backend: str, plan: FoldPlan, *, count: Counting = not_counted
) -> OutOfFold:
    """The same for a JSON export and its label config (XML); media are fetched as the settings allow, and not kept."""
    checked_backend(backend)
    with tempfile.TemporaryDirectory(prefix="labelloop-folds-") as made:
        scratch = Path(made)
        dataset = dataset_from_export(file, config, scratch / "version")
        if not dataset.label_config.has_media:
            return _of_dataset(dataset, backend, scratch, plan, None, count)
        with file_media(runtime) as cache:
            return _of_dataset(dataset, backend, scratch, plan, cache.fetch, count)


def _of_dataset(
    dataset: Dataset, backend: str, scratch: Path, plan: FoldPlan, fetch: Fetch | None, count: Counting
) -> OutOfFold:
    folder, failed = lay_out(dataset, scratch / "dataset", fetch, lambda: None)
    found = predict_out_of_fold(folder, backend, scratch, plan, count)
    found.failed.update(failed)
    return found


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write JSON lines that `read_predictions` takes, in order of the tasks; DataError where they can't be written."""
    named = [tasks.keys() for tasks in predictions.chances.values()]
    tasks = sorted({*predictions.regions, *predictions.vectors, *(task for each in named for task in each)})
    lines = []
    for task in tasks:
        row: dict[str, object] = {"task": task}
        if task in predictions.regions:
            row["result"] = predictions.regions[task]
        probs = {name: by_task[task] for name, by_task in predictions.chances.items() if task in by_task}
        if probs:
            row["probs"] = probs
        if task in predictions.vectors:
            row["embedding"] = predictions.vectors[task]
        lines.append(orjson.dumps(row) + b"\n")
    try:
        path.write_bytes(b"".join(lines))
    except OSError as error:
        raise DataError(f"--save: {path} can't be written: {error}") from error
