"""The command that tells what is known of each annotator's work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    SettingsFile,
    is_table,
    needed,
    open_runtime,
    project_of,
    read_labels,
    say,
)
from labelloop.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime


def annotators(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="a JSON export of Label Studio, or a CSV with task, annotator and label; instead of PROJECT"
        ),
    ] = None,
    config: ConfigFile = None,
    since: Annotated[
        str | None, typer.Option("--since", help="only labels from this date or time on (ISO, UTC)")
    ] = None,
    messages: Annotated[bool, typer.Option("--messages", help="print the message to each person")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Of each person: accuracy on gold, agreement with the others, bias, speed, drift, suggestions accepted though wrong."""
    from qa.annotators import annotator_report, annotators_text, read_table, report_of

    start = _moment(since)
    if is_table(file):
        report = report_of(read_table(file), start)
    else:
        from labelloop.label_config import parse_label_config

        if file is not None:
            labels, parsed = read_labels(file, config)
        else:
            from sync.annotator_work import work_frame

            runtime = open_runtime(settings)
            row = project_of(runtime, needed(project))
            labels, parsed = work_frame(runtime, row), parse_label_config(row.label_config)
        report = annotator_report(labels, parsed, start)
    say(report, as_json, annotators_text(report, messages))


def _moment(said: str | None) -> datetime | None:
    from qa.annotators.report import moment

    try:
        return None if said is None else moment(said)
    except ValueError as error:
        raise UsageError(f"--since: expected a date or time like 2026-11-01, got {said!r}") from error
