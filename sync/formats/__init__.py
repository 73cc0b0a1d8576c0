"""What leaves: one module per format, and `export_dataset`, which writes a dataset version as one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labelloop.datasets import Dataset
from labelloop.errors import DataError, UsageError
from sync.formats.coco import count_coco, write_coco
from sync.formats.csv_table import count_csv, write_csv
from sync.formats.report import MANIFEST, SCHEMA_VERSION, ExportReport, Written, whole_folder, write_json
from sync.formats.source import ExportOptions
from sync.formats.spacy_docbin import count_spacy, write_spacy

__all__ = ["EXPORTERS", "ExportReport", "Exporter", "export_dataset"]


@dataclass(frozen=True)
class Exporter:
    """One format: it writes into a folder, and counts (items, objects) in what lies there; `tasks` are its variants."""

    write: Callable[[Dataset, Path, ExportOptions], Written]
    count: Callable[[Path], tuple[int, int]]
    tasks: tuple[str, ...] = ()


EXPORTERS: Mapping[str, Exporter] = {
    "coco": Exporter(write_coco, count_coco),
    "csv": Exporter(write_csv, count_csv),
    "spacy": Exporter(write_spacy, count_spacy, ("ner", "textcat")),
}


def export_dataset(
    dataset: Dataset,
    format: str,
    out_dir: Path,
    *,
    task: str | None = None,
    sizes: Mapping[int, tuple[int, int]] | None = None,
    train_val_split: float = 0.85,
) -> ExportReport:
    """Write the truth labels of a dataset version into the folder `out_dir`, whole or not at all.

    `task` is a variant of the format (default: from the label config), `sizes` the (width, height) of images by task
    id where labels do not say, `train_val_split` the share of the training part. An earlier export in `out_dir` is
    replaced. UsageError for an unknown format; DataError when the labels do not fit it or do not read back.
    """
    exporter = EXPORTERS.get(format)
    if exporter is None:
        raise UsageError(f"expected one of {sorted(EXPORTERS)} as the format, got {format!r}")
    if task is not None and task not in exporter.tasks:
        raise UsageError(f"the format {format} has the tasks {list(exporter.tasks)}, got {task!r}")
    with whole_folder(out_dir) as folder:
        written = exporter.write(dataset, folder, ExportOptions(task, sizes, train_val_split))
        there = exporter.count(folder)
        if there != (written.items, written.objects):
            raise DataError(
                f"wrote {written.items} items with {written.objects} objects as {format}, and read back {there[0]} "
                f"with {there[1]}; nothing was kept, please report this"
            )
        write_json(folder / MANIFEST, _manifest(dataset, format, written))
    return ExportReport(
        format,
        out_dir,
        written.items,
        written.objects,
        written.skipped,
        written.losses,
        out_dir / MANIFEST,
        dataset.dataset_id,
    )


def _manifest(dataset: Dataset, format: str, written: Written) -> dict[str, object]:
    body = dataset.manifest["body"]
    return {
        "schema_version": SCHEMA_VERSION,
        "format": format,
        "dataset_id": dataset.dataset_id,
        "config_hash": body.get("config_hash"),
        "policy": body.get("policy"),
        "items": written.items,
        "objects": written.objects,
        "files": list(written.files),
        "skipped": [{"task_id": task_id, "reason": reason} for task_id, reason in written.skipped],
        "declared_losses": list(written.losses),
        **written.extra,
    }
