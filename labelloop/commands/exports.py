"""Commands that write labels in a format: `export` from a project, a version or an export file, `convert` between formats."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    ExportFile,
    SettingsFile,
    needed,
    open_runtime,
    project_of,
    say,
)
from labelloop.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelloop.settings import ServiceSettings
    from sync.formats.examples import ExportOptions
    from sync.formats.format import ClassName
    from sync.formats.media import Fetch
    from sync.formats.report import ExportReport
    from sync.formats.sources import Source

FORMATS = "coco, voc, yolo, spacy, huggingface, csv, jsonl, conll, parquet or label_studio"
Task = Annotated[
    str | None, typer.Option("--task", help="variant of the format, as detect, obb, ner; see docs/formats.md")
]
TrainShare = Annotated[float | None, typer.Option("--split", min=0.0, max=1.0, help="share of train; the rest is val")]
TestShare = Annotated[float, typer.Option("--test", min=0.0, max=1.0, help="share of test, taken first")]
Images = Annotated[bool, typer.Option("--images/--no-images", help="copy the image files too")]
ImagesFrom = Annotated[Path | None, typer.Option("--images-from", help="folder that holds the image files")]
Rebase = Annotated[
    str | None, typer.Option("--rebase-paths", metavar="FROM=TO", help="another beginning for image addresses")
]
Options = Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="of the format")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="processes; default: one per core")]
Push = Annotated[
    str | None,
    typer.Option("--push", metavar="OWNER/NAME", help="send a huggingface export to this private hub dataset"),
]
MlflowRun = Annotated[str | None, typer.Option("--mlflow-run", help="keep it with this MLflow run too")]


@dataclass(frozen=True)
class _Wanted:
    """What is exported: a source, the ids of its classes, where its images come from, and the settings that hold."""

    source: Source
    classes: Sequence[ClassName] | None
    fetch: Fetch | None
    format: str
    task: str | None
    output_dir: str
    train_share: float


def export(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="a dataset version, instead of PROJECT")] = None,
    format: Annotated[str | None, typer.Option("--format", help=FORMATS)] = None,
    task: Task = None,
    consensus: Annotated[
        Literal["latest", "majority", "consensus", "reviewed", "ground_truth"],
        typer.Option("--consensus", help="whose label is the truth of a task"),
    ] = "latest",
    out: Annotated[
        str | None, typer.Option("--out", help="folder or address; default: <export.output_dir>/<dataset>-<format>")
    ] = None,
    split: TrainShare = None,
    test: TestShare = 0.0,
    images: Images = False,
    images_from: ImagesFrom = None,
    rebase_paths: Rebase = None,
    option: Options = None,
    workers: Workers = None,
    mlflow_run: MlflowRun = None,
    push: Push = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the labels in a training format, with a manifest; from a project, or from an export file without any server."""
    from labelloop.settings import load_settings

    with _scratch() as scratch:
        if file is not None:
            wanted = _of_file(file, config, consensus, settings)
            services = load_settings(settings).services
        else:
            runtime = open_runtime(settings)
            services = runtime.services
            wanted = (
                _of_version(runtime, dataset, scratch)
                if dataset
                else _of_project(runtime, needed(project), consensus, scratch)
            )
        # The task that the settings name is one of their format.
        chosen = wanted.task if task is None and format is None else task
        options = _options(
            chosen, wanted.train_share if split is None else split, test, images, rebase_paths, option, keep=False
        )
        report = _write(
            wanted, format or wanted.format, out, options, images_from, workers, scratch, services, mlflow_run, push,
            as_json,
        )  # fmt: skip
    _tell(report, as_json)


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="a folder or file of the format --from")],
    target: Annotated[str, typer.Argument(metavar="DST", help="a new folder, or an address")],
    from_format: Annotated[str, typer.Option("--from", help=FORMATS)],
    to_format: Annotated[str, typer.Option("--to", help=FORMATS)],
    from_task: Annotated[str | None, typer.Option("--from-task", help="variant of what is read")] = None,
    task: Task = None,
    config: ConfigFile = None,
    split: Annotated[
        float | None,
        typer.Option("--split", min=0.0, max=1.0, help="split anew, this share into train; default: as it is"),
    ] = None,
    test: TestShare = 0.0,
    images: Images = False,
    images_from: ImagesFrom = None,
    rebase_paths: Rebase = None,
    option: Options = None,
    workers: Workers = None,
    push: Push = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Turn labelled data of one format into another, without Label Studio; what either cannot hold is told."""
    from labelloop.label_config import read_label_config
    from labelloop.progress import progress_bar
    from labelloop.settings import load_settings
    from sync.formats.converting import converted

    parsed = read_label_config(config) if config is not None else None
    services = load_settings(settings).services
    with _scratch() as scratch:
        found = converted(
            source, from_format, scratch, task=from_task, config=parsed, images=images_from,
            progress=progress_bar("read", silent=as_json),
        )  # fmt: skip
        options = _options(
            task, 1.0 if split is None else split, test, images, rebase_paths, option, keep=split is None
        )
        wanted = _Wanted(found.source, found.classes, found.fetch, to_format, None, target, options.train_share)
        report = _write(wanted, to_format, target, options, None, workers, scratch, services, None, push, as_json)
    if not as_json:
        for each in found.rejected[:20]:
            print(f"not read: {each.source}: {each.detail}")
    body = {"read": found.to_json(), **report.to_json()}
    lines = [f"{found.items} items read, {len(found.rejected)} not"]
    from sync.formats.report import report_text

    say(body, as_json, "\n".join([*lines, report_text(report)]))


def _tell(report: ExportReport, as_json: bool) -> None:
    from sync.formats.report import report_text

    say(report.to_json(), as_json, report_text(report))


def _of_file(file: Path, config: Path | None, consensus: str, settings: Path | None) -> _Wanted:
    from labelloop.settings import load_settings
    from sync.formats.policies import checked_policy
    from sync.formats.sources import open_export

    if config is None:
        raise UsageError("--file needs --config: the project's label config as XML")
    defaults = load_settings(settings).defaults.export
    source = open_export(file, config, checked_policy(consensus))
    return _Wanted(source, None, None, defaults.format, defaults.task, defaults.output_dir, defaults.train_val_split)


def _of_project(runtime: Any, project: str, consensus: str, scratch: Path) -> _Wanted:
    """The project's labels as they are now, as a dataset version."""
    from sync.formats.sources import open_version
    from sync.freezing import freeze, open_dataset
    from sync.promotion import uses_media

    row = project_of(runtime, project)
    version = freeze(runtime.store, row, runtime.services.artifacts, policy=consensus)
    opened = open_dataset(runtime.services.artifacts, version, scratch)
    own = runtime.project_settings(row).export
    fetch = runtime.media.fetch if uses_media(row) else None
    return _Wanted(open_version(opened), None, fetch, own.format, own.task, own.output_dir, own.train_val_split)


def _of_version(runtime: Any, dataset: str, scratch: Path) -> _Wanted:
    from sync.formats.sources import open_version
    from sync.freezing import open_dataset

    opened = open_dataset(runtime.services.artifacts, dataset, scratch)
    own = runtime.settings.defaults.export
    fetch = runtime.media.fetch if opened.label_config.has_media else None
    return _Wanted(open_version(opened), None, fetch, own.format, own.task, own.output_dir, own.train_val_split)


def _options(
    task: str | None,
    train_share: float,
    test_share: float,
    images: bool,
    rebase: str | None,
    option: list[str] | None,
    *,
    keep: bool,
) -> ExportOptions:
    from sync.formats.examples import ExportOptions

    old, found, new = (rebase or "").partition("=")
    if rebase is not None and not found:
        raise UsageError(f"--rebase-paths: expected FROM=TO, as in /data/upload/=images/, got {rebase!r}")
    pairs = [each.partition("=") for each in option or []]
    wrong = [f"{key}{sign}{value}" for key, sign, value in pairs if not sign]
    if wrong:
        raise UsageError(f"--option: expected KEY=VALUE, got {wrong[0]!r}")
    values = {key: value for key, _, value in pairs}
    pair = (old, new) if rebase is not None else None
    return ExportOptions(task, train_share, test_share, keep, images, pair, values)


def _write(
    wanted: _Wanted,
    format: str,
    out: str | None,
    options: ExportOptions,
    images_from: Path | None,
    workers: int | None,
    scratch: Path,
    services: ServiceSettings,
    mlflow_run: str | None,
    push: str | None,
    as_json: bool,
) -> ExportReport:
    from dataclasses import replace

    from labelloop.progress import progress_bar
    from sync.formats.exporting import export_dataset
    from sync.formats.hub import push_to_hub
    from sync.formats.media import folder_fetch
    from sync.formats.publishing import is_remote, log_to_mlflow, move_export, staging_folder, upload

    fetch = folder_fetch(images_from) if images_from is not None else wanted.fetch
    if options.images and fetch is None:
        raise UsageError("--images needs the image files: name their folder with --images-from, or export a PROJECT")
    if push is not None and format != "huggingface":
        raise UsageError(f"--push sends exports of the format huggingface, got --format {format}")
    remote = is_remote(out or wanted.output_dir)
    with staging_folder(scratch if remote or out is not None else Path(wanted.output_dir)) as staging:
        # The default name holds the version's id, which is known at the end only.
        made = Path(out) if out is not None and not remote else staging / "export"
        report = export_dataset(
            wanted.source,
            format,
            made,
            options=options,
            classes=wanted.classes,
            fetch=fetch,
            workers=workers or os.cpu_count() or 1,
            progress=progress_bar("export", silent=as_json),
        )
        target = out if out is not None else f"{wanted.output_dir.rstrip('/')}/{report.dataset_id}-{format}"
        if remote:
            upload(made, target)
        elif out is None:
            move_export(made, Path(target))
            made = Path(target)
        # It is where it belongs before it is sent anywhere else: a refusal costs nothing.
        if mlflow_run is not None:
            log_to_mlflow(made, mlflow_run, services.mlflow_uri, f"{report.dataset_id}-{format}")
        if push is not None:
            print(f"sent to {push_to_hub(made, push)}", file=sys.stderr)
    return replace(report, path=target, manifest=f"{target.rstrip('/')}/manifest.json")


@contextmanager
def _scratch() -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="labelloop-export-") as folder:
        yield Path(folder)
