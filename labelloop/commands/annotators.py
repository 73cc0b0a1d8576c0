"""The command that tells what is known of each annotator's work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    SettingsFile,
    needed,
    open_runtime,
    project_of,
    say,
)
from labelloop.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from labelloop.store import Store


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
    if file is not None and file.suffix.lower() == ".csv":
        report = report_of(read_table(file), start)
    else:
        from labelloop.label_config import parse_label_config

        if file is not None:
            if config is None:
                raise UsageError("--file needs --config: the project's label config as XML (a CSV needs none)")
            from qa.exports_reading import read_export

            labels, xml = read_export(file), config.read_text(encoding="utf-8-sig")
        else:
            from sync.quality import labels_frame

            runtime = open_runtime(settings)
            row = project_of(runtime, needed(project))
            labels = _with_suggestions(labels_frame(runtime, row), runtime.store, row.project_id)
            xml = row.label_config
        report = annotator_report(labels, parse_label_config(xml), start)
    say(report, as_json, annotators_text(report, messages))


def _with_suggestions(labels: pl.DataFrame, store: Store, project_id: int) -> pl.DataFrame:
    """Labels with the regions that their people were shown, where the store has a copy of these."""
    import orjson
    import polars as pl

    from labelloop.store.shown import shown_predictions

    parents = {
        each.annotation_id: (each.parent_prediction, each.task_id)
        for each in store.labels(project_id)
        if each.parent_prediction is not None
    }
    copies = {
        (copy.ls_prediction_id, copy.task_id): orjson.dumps(copy.result).decode()
        for copy in shown_predictions(store, project_id, {parent for parent, _ in parents.values()})
    }
    told = [copies.get(parents.get(annotation, (-1, -1))) for annotation in labels["annotation_id"].to_list()]
    return labels.with_columns(pl.Series("suggested", told, dtype=pl.String))


def _moment(said: str | None) -> datetime | None:
    from qa.annotators.report import moment

    try:
        return None if said is None else moment(said)
    except ValueError as error:
        raise UsageError(f"--since: expected a date or time like 2026-11-01, got {said!r}") from error
