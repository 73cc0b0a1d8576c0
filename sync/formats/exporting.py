"""Writes a source of labelled tasks as one format: names are given, parts written side by side, joined, counted, kept."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelloop.datasets import Dataset, Entries
from labelloop.errors import DataError, UsageError
from labelloop.label_config import LabelConfig
from sync.formats import provenance
from sync.formats.examples import ExportOptions, ImageKey, addresses_of, image_keys, media_path, name_key
from sync.formats.format import ClassName, Format, PartDone, Plan, append_file, fragments
from sync.formats.media import Fetch, MediaDesk
from sync.formats.parts import Job, PartRunner
from sync.formats.publishing import MANIFEST, whole_folder
from sync.formats.registry import load_format
from sync.formats.report import SCHEMA_VERSION, SKIPPED, TOLD, ExportReport, told, write_json
from sync.formats.sources import LEFT_OUT, Source, open_version

Progress = Callable[[float, str], None]


def export_dataset(
    source: Source | Dataset,
    format: str,
    out_dir: Path,
    *,
    options: ExportOptions | None = None,
    classes: Sequence[ClassName] | None = None,
    fetch: Fetch | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the truth labels of a source into the folder `out_dir`, whole or not at all.

    `classes` fixes the ids (default: those of the source), `fetch` gives the local file of a media address where
    images are copied or sizes are missing, `workers` processes write parts of a large source. An earlier export in
    `out_dir` is replaced. UsageError for an unknown format or task; DataError when the labels do not fit the format, two
    tasks share an id, or what was written does not read back.
    """
    found = open_version(source) if isinstance(source, Dataset) else source
    given = options or ExportOptions()
    form = load_format(format)
    plan = make_plan(form, found.config, given, found.classes if classes is None else classes)
    several = workers if found.size_bytes() > PartRunner.SMALL else 1
    with whole_folder(out_dir) as folder, PartRunner(several, format) as runner:
        scratch = folder / ".parts"
        scratch.mkdir()
        twice = checked_names(found)
        desk = MediaDesk(fetch, image_keys(plan.config)) if fetch is not None else None
        jobs = [Job(plan, found, number, folder, scratch, twice) for number in range(found.parts())]
        done, entries = [], Entries()
        with desk if desk is not None else nullcontext():
            for part in runner.run(jobs, desk):
                entries.extend(part.entries)
                done.append(replace(part, entries=b""))
                if progress is not None:
                    progress(0.95 * len(done) / len(jobs), f"{sum(sum(each.items.values()) for each in done)} items")
        report = _finished(form, plan, found, done, entries, folder, scratch, out_dir, runner)
    if progress is not None:
        progress(1.0, "done")
    return report


def make_plan(form: Format, config: LabelConfig, options: ExportOptions, classes: Sequence[ClassName]) -> Plan:
    """What to write of a config; UsageError for an unknown task, DataError when the config does not fit."""
    if options.task is not None and options.task not in form.tasks:
        has = f"has the tasks {list(form.tasks)}" if form.tasks else "has no variants"
        raise UsageError(f"the format {form.name} {has}, got {options.task!r}")
    plan = Plan(form.name, options.task, config, tuple(classes), options)
    details = form.plan(plan)
    task = getattr(details, "task", None) or options.task
    return replace(plan, details=details, task=task)


def checked_names(source: Source) -> frozenset[str]:
    """Name keys that two images of the source claim; DataError when two tasks share an id.

    It holds 8 bytes for each task and image.
    """
    keys = image_keys(source.config)
    ids, claims = array("q"), array("q")
    for number in range(source.parts()):
        if not keys:
            ids.extend(source.ids(number))
            continue
        for task_id, data, _ in source.heads(number):
            ids.append(task_id)
            claims.extend(hash(key) for key in _name_keys(data, keys))
    if shared := _repeated(ids):
        raise DataError(f"two tasks have the id {min(shared)}; export one project at a time")
    twice = _repeated(claims)
    if not twice:
        return frozenset()
    heads = (head for number in range(source.parts()) for head in source.heads(number))
    return frozenset(key for _, data, _ in heads for key in _name_keys(data, keys) if hash(key) in twice)


def _name_keys(data: Mapping[str, Any], keys: Sequence[ImageKey]) -> Iterator[str]:
    return (name_key(media_path(address)) for _, _, address in addresses_of(data, keys))


def _repeated(numbers: array[int]) -> set[int]:
    """Those that are there twice or more."""
    import numpy as np

    ordered = np.sort(np.frombuffer(numbers, np.int64)) if numbers else np.zeros(0, np.int64)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _finished(
    form: Format,
    plan: Plan,
    source: Source,
    done: Sequence[PartDone],
    entries: Entries,
    folder: Path,
    scratch: Path,
    out_dir: Path,
    runner: PartRunner,
) -> ExportReport:
    """Join, count, write provenance and manifest."""
    import shutil

    dataset_id, body = source.identity(entries)
    items, objects = _summed(part.items for part in done), _summed(part.objects for part in done)
    policy = str(body.get("policy"))
    pieces = list(fragments(scratch, provenance.FILE, done))
    told = runner.beside(provenance.join_provenance, folder / provenance.FILE, pieces, policy, dataset_id)
    joined = form.join(plan, folder, scratch, done)
    n_skipped = _join_skipped(folder, scratch, done)
    there = form.count(plan, folder)
    if there != (items.total(), objects.total()):
        raise DataError(
            f"wrote {items.total()} items with {objects.total()} objects as {form.name}, and read back {there[0]} "
            f"with {there[1]}; nothing was kept, please report this"
        )
    told.result()
    shutil.rmtree(scratch)
    left_out = _summed(part.left_out for part in done)
    report = ExportReport(
        form.name,
        plan.task,
        str(out_dir),
        items.total(),
        objects.total(),
        {split: items[split] for split in ("train", "val", "test") if items[split]},
        tuple(entry for part in done for entry in part.skipped)[:TOLD],
        n_skipped,
        {LEFT_OUT.get(reason, reason): count for reason, count in sorted(left_out.items())},
        form.losses(plan),
        str(out_dir / MANIFEST),
        dataset_id,
    )
    write_json(folder / MANIFEST, _manifest(report, body, folder, joined.files, joined.extra))
    return report


def _summed(counts: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _join_skipped(folder: Path, scratch: Path, done: Sequence[PartDone]) -> int:
    pieces = list(fragments(scratch, SKIPPED, done))
    if pieces:
        with (folder / SKIPPED).open("wb") as file:
            for piece in pieces:
                append_file(piece, file)
    return sum(part.n_skipped for part in done)


def _manifest(
    report: ExportReport, body: Mapping[str, Any], folder: Path, files: Sequence[str], extra: Mapping[str, Any]
) -> dict[str, Any]:
    listed = [*files, provenance.FILE, *([SKIPPED] if report.n_skipped else [])]
    return {
        "schema_version": SCHEMA_VERSION,
        "format": report.format,
        "task": report.task,
        "dataset_id": report.dataset_id,
        "config_hash": body.get("config_hash"),
        "policy": body.get("policy"),
        "items": report.items,
        "objects": report.objects,
        "splits": dict(report.splits),
        "files": {name: _sha256(folder / name) for name in listed},
        "skipped": told(report.skipped),
        "n_skipped": report.n_skipped,
        "left_out": dict(report.left_out),
        "declared_losses": list(report.declared_losses),
        **extra,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
