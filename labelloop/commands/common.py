"""What the commands share: their options, the runtime that they open, and how a report is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard

import typer

from labelloop.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from labelloop.label_config import LabelConfig
    from labelloop.store import ProjectRow
    from sync.runtime import Runtime

Wanted = Annotated[str, typer.Argument(metavar="PROJECT", help="id or title")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="labelloop.yaml; default: the one in this folder")
]
Ports = Annotated[list[str] | None, typer.Option("--port", metavar="SERVICE=PORT", help="default: free ones")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of text")]
ExportFile = Annotated[Path | None, typer.Option("--file", help="a JSON export of Label Studio, instead of PROJECT")]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--file", help="a JSON export of Label Studio, or a CSV with task, annotator and label; instead of PROJECT"
    ),
]
TableLevel = Annotated[
    Literal["nominal", "ordinal", "interval", "ratio"] | None,
    typer.Option("--level", help="what the labels of a CSV are: names (nominal, the default), or numbers"),
]
WithGold = Annotated[bool, typer.Option("--gold", help="count the labels of gold tasks, too")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="its label config (XML)")]


def open_runtime(settings: Path | None) -> Runtime:
    """The connections of one command, to the services that run for its data folder."""
    from labelloop.services.local import with_running_services
    from labelloop.settings import load_settings
    from sync.runtime import Runtime

    loaded = load_settings(settings)
    return Runtime(loaded.model_copy(update={"services": with_running_services(loaded.services)}))


def project_of(runtime: Runtime, wanted: str) -> ProjectRow:
    """The project of that id or title; UsageError lists those there are."""
    return runtime.store.find_project(wanted)


def needed(project: str | None) -> str:
    """PROJECT of a command that also takes --file; UsageError when neither was given."""
    if project is None:
        raise UsageError("expected PROJECT (an id or a title), or --file export.json --config config.xml")
    return project


def is_table(file: Path | None) -> TypeGuard[Path]:
    """Whether `--file` is a table of task, annotator and label, not an export."""
    return file is not None and file.suffix.lower() == ".csv"


def read_labels(file: Path, config: Path | None) -> tuple[pl.DataFrame, LabelConfig]:
    """The labels of a JSON export, and the label config that goes with it; UsageError without one."""
    if config is None:
        raise UsageError("--file needs --config: the project's label config as XML (a CSV needs none)")
    from labelloop.label_config import read_label_config
    from qa.exports_reading import read_export

    return read_export(file), read_label_config(config)


def say(report: Any, as_json: bool, text: str) -> None:
    """Print the report as one JSON document, or its text."""
    import orjson

    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() if as_json else text)
