"""Commands about labels: exports and agreement."""

from __future__ import annotations

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
    from sync.runtime import Runtime


def export(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    format: Annotated[str | None, typer.Option("--format", help="coco, spacy or csv")] = None,
    task: Annotated[str | None, typer.Option("--task", help="variant of the format")] = None,
    consensus: Annotated[Literal["latest", "majority"], typer.Option("--consensus")] = "latest",
    out: Annotated[
        Path | None, typer.Option("--out", help="folder; default: <export.output_dir>/<dataset>-<format>")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the labels in a training format, with a manifest; from a project, or from an export file without any server."""
    import tempfile

    from labelloop.settings import load_settings
    from sync.formats import export_dataset
    from sync.formats.truth import dataset_from_export

    with tempfile.TemporaryDirectory(prefix="labelloop-export-") as scratch:
        if file is not None:
            defaults = load_settings(settings).defaults.export
            if config is None:
                raise UsageError("--file needs --config: the project's label config as XML")
            dataset = dataset_from_export(file, config, Path(scratch) / "dataset", policy=consensus)
        else:
            dataset, defaults = _frozen(open_runtime(settings), needed(project), Path(scratch))
        form = format or defaults.format
        target = out or Path(defaults.output_dir) / f"{dataset.dataset_id}-{form}"
        report = export_dataset(dataset, form, target, task=task, train_val_split=defaults.train_val_split)
    say(report.to_json(), as_json, f"{report.items} items, {report.objects} objects -> {report.path}")


def _frozen(runtime: Runtime, project: str, scratch: Path) -> Any:
    """The project's labels as they are now, as a dataset version laid out with its media; and its export settings."""
    from labelloop.datasets import read_dataset
    from sync.freezing import freeze, lay_out, open_dataset
    from sync.promotion import uses_media

    row = project_of(runtime, project)
    dataset_id = freeze(runtime.store, row, runtime.services.artifacts)
    fetch = runtime.media.fetch if uses_media(row) else None
    opened = open_dataset(runtime.services.artifacts, dataset_id, scratch)
    folder, _ = lay_out(opened, scratch / "laid-out", fetch, lambda: None)
    return read_dataset(folder), runtime.project_settings(row).export


def agreement(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """How far people agree, headlined on pairs that saw no suggestion; from a project, or from an export file."""
    from labelloop.label_config import parse_label_config
    from qa.agreement import measure_agreement
    from qa.exports_reading import read_export
    from sync.overview import agreement_text
    from sync.quality import agreement_of

    if file is not None:
        if config is None:
            raise UsageError("--file needs --config: the project's label config as XML")
        parsed = parse_label_config(config.read_text(encoding="utf-8"))
        report = measure_agreement(read_export(file), parsed)
    else:
        runtime = open_runtime(settings)
        report = agreement_of(runtime, project_of(runtime, needed(project)))
    say(report.to_json(), as_json, agreement_text(report))
