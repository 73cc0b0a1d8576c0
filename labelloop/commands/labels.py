"""Commands about labels: how far people agree, and what they say together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeGuard

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

LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--file", help="a JSON export of Label Studio, or a CSV with task, annotator and label; instead of PROJECT"
    ),
]


def agreement(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: LabelsFile = None,
    config: ConfigFile = None,
    level: Annotated[
        Literal["nominal", "ordinal", "interval", "ratio"] | None,
        typer.Option("--level", help="what the labels of a CSV are: names (nominal, the default), or numbers"),
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """How far people agree, headlined on pairs that saw no suggestion; from a project, an export file, or a CSV."""
    from labelloop.label_config import parse_label_config
    from qa.agreement import measure_agreement
    from qa.exports_reading import read_export
    from qa.judgments import read_judgments
    from qa.table_agreement import table_agreement, table_agreement_text
    from sync.overview import agreement_text
    from sync.quality import agreement_of

    if _is_table(file):
        told = table_agreement(read_judgments(file), level or "nominal")
        say(told, as_json, table_agreement_text(told))
        return
    if level is not None:
        raise UsageError("--level is for a CSV of task, annotator and label; of other labels the label config tells it")
    if file is not None:
        if config is None:
            raise UsageError("--file needs --config: the project's label config as XML (a CSV needs none)")
        parsed = parse_label_config(config.read_text(encoding="utf-8-sig"))
        report = measure_agreement(read_export(file), parsed)
    else:
        runtime = open_runtime(settings)
        report = agreement_of(runtime, project_of(runtime, needed(project)))
    say(report.to_json(), as_json, agreement_text(report))


def _is_table(file: Path | None) -> TypeGuard[Path]:
    return file is not None and file.suffix.lower() == ".csv"


def consensus(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: LabelsFile = None,
    config: ConfigFile = None,
    method: Annotated[
        Literal["majority", "dawid_skene", "one_coin"],
        typer.Option("--method", help="votes, or a model of who errs how (Dawid and Skene), or of who errs how often"),
    ] = "dawid_skene",
    control: Annotated[str | None, typer.Option("--control", help="which <Choices>, where there are several")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """One answer for each task out of several people's, with its probability; from a project, an export file, or a CSV."""
    from labelloop.label_config import parse_label_config
    from qa.consensus.report import consensus_report, consensus_text
    from qa.exports_reading import read_export
    from qa.judgments import chosen_control, coded, judgments_of, read_judgments
    from sync.quality import labels_frame

    if _is_table(file):
        ratings, name = coded(read_judgments(file)), None
    else:
        if file is None:
            runtime = open_runtime(settings)
            row = project_of(runtime, needed(project))
            labels, parsed = labels_frame(runtime, row), parse_label_config(row.label_config)
        elif config is None:
            raise UsageError("--file needs --config: the project's label config as XML (a CSV needs none)")
        else:
            labels, parsed = read_export(file), parse_label_config(config.read_text(encoding="utf-8-sig"))
        asked = chosen_control(parsed, control)
        ratings, name = coded(judgments_of(labels, asked)), asked.name
    report = consensus_report(ratings, method, name)
    say(report, as_json, consensus_text(report))
