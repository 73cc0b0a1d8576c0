"""Writes a source of labelled tasks as one format: names are given, parts written side by side, joined, counted, kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelloop.datasets import Dataset, Entries
from labelloop.errors import DataError, UsageError
from labelloop.label_config import LabelConfig
from sync.formats import provenance
from sync.formats.examples import ExportOptions, image_keys
from sync.formats.format import ClassName, Format, PartDone, Plan, fragments, join_fragments
from sync.formats.image_names import Claims, claimed_twice
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
    # That two images claim one name is rare, and found on the way: then all is written again. Copies of images are not.
    twice = claimed_twice(found) if given.images else frozenset()
    several = workers if found.size_bytes() > PartRunner.SMALL else 1
    try:
        report = _exported(form, plan, found, twice, out_dir, several, fetch, progress)
    except _NamesClash as clash:
        report = _exported(form, plan, found, clash.twice, out_dir, several, fetch, progress)
    if progress is not None:
        progress(1.0, "done")
    return report


class _NamesClash(Exception):
    """Two images claim a name that one of them got."""

    def __init__(self, twice: frozenset[str]) -> None:
        super().__init__(twice)
        self.twice = twice


def _exported(
    form: Format,
    plan: Plan,
    source: Source,
    twice: frozenset[str],
    out_dir: Path,
    workers: int,
    fetch: Fetch | None,
    progress: Progress | None,
) -> ExportReport:
    """Write all parts and what is made of them; `twice` are name keys that two images claim."""
    keys = image_keys(plan.config)
    # The processes end first: none writes into a folder that goes.
    with whole_folder(out_dir) as folder, PartRunner(workers, form.name) as runner:
        scratch = folder / ".parts"
        scratch.mkdir()
        desk = MediaDesk(fetch, keys) if fetch is not None else None
        jobs = [Job(plan, source, number, folder, scratch, twice) for number in range(source.parts())]
        done, entries, claims = [], Entries(), Claims(keys)
        with desk if desk is not None else nullcontext():
            for part in runner.run(jobs, desk):
                entries.extend(part.entries)
                claims.extend(part.ids, part.names)
                done.append(replace(part, entries=b"", ids=b"", names=b""))
                if progress is not None:
                    progress(0.95 * len(done) / len(jobs), f"{sum(sum(each.items.values()) for each in done)} items")
        if clash := claims.checked(source) - twice:
            raise _NamesClash(clash | twice)
        return _finished(form, plan, source, done, entries, folder, scratch, out_dir, runner)


def make_plan(form: Format, config: LabelConfig, options: ExportOptions, classes: Sequence[ClassName]) -> Plan:
    """What to write of a config; UsageError for an unknown task, DataError when the config does not fit."""
    if options.task is not None and options.task not in form.tasks:
        has = f"has the tasks {list(form.tasks)}" if form.tasks else "has no variants"
        raise UsageError(f"the format {form.name} {has}, got {options.task!r}")
    plan = Plan(form.name, options.task, config, tuple(classes), options)
    details = form.plan(plan)
    task = getattr(details, "task", None) or options.task
    return replace(plan, details=details, task=task)


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
    rows = runner.beside(_with_provenance, folder / provenance.FILE, pieces, policy, dataset_id)
    joined = form.join(plan, folder, scratch, done)
    counted = runner.beside(form.count, plan, folder)
    n_skipped = sum(part.n_skipped for part in done)
    known = {**joined.hashes, **({SKIPPED: join_fragments(folder, scratch, SKIPPED, done)} if n_skipped else {})}
    hashes = [(name, runner.beside(_sha256, folder / name)) for name in joined.files if name not in known]
    there = counted.result()
    if there != (items.total(), objects.total()):
        raise DataError(
            f"wrote {items.total()} items with {objects.total()} objects as {form.name}, and read back {there[0]} "
            f"with {there[1]}; nothing was kept, please report this"
        )
    made = {**known, **{name: found.result() for name, found in [*hashes, (provenance.FILE, rows)]}}
    files = {name: made[name] for name in (*joined.files, *([SKIPPED] if n_skipped else []), provenance.FILE)}
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
    write_json(folder / MANIFEST, _manifest(report, body, files, joined.extra))
    return report


def _summed(counts: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _manifest(
    report: ExportReport, body: Mapping[str, Any], files: Mapping[str, str], extra: Mapping[str, Any]
) -> dict[str, Any]:
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
        "files": dict(files),
        "skipped": told(report.skipped),
        "n_skipped": report.n_skipped,
        "left_out": dict(report.left_out),
        "declared_losses": list(report.declared_losses),
        **extra,
    }


def _with_provenance(path: Path, pieces: Sequence[Path], policy: str, dataset_id: str) -> str:
    """Write provenance.parquet; its hash."""
    provenance.join_provenance(path, pieces, policy, dataset_id)
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
