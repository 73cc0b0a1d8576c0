"""Commands about labels: how far people agree."""

from __future__ import annotations

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
    say,
)
from labelloop.errors import UsageError


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
