"""The command that looks for label errors and problems of data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    ExportFile,
    SettingsFile,
    needed,
    open_runtime,
    project_of,
    read_config,
    say,
)
from labelloop.errors import UsageError


def errors(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="JSON lines or parquet: what a model that did not see the labels says of each task"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the surest findings; default: all")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Labels that are likely wrong, why, where they gather, and problems of the data: duplicates, outliers, drift, leakage."""
    from qa.issues import errors_text
    from sync.label_errors import errors_of_file, errors_of_project

    if file is None:
        runtime = open_runtime(settings)
        report = errors_of_project(runtime, project_of(runtime, needed(project)), predictions)
    elif config is None:
        raise UsageError("--file needs --config: the project's label config as XML")
    else:
        report = errors_of_file(file, read_config(config), predictions)
    if limit is not None:
        report["findings"] = report["findings"][:limit]
    say(report, as_json, errors_text(report))
