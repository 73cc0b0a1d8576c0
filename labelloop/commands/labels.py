"""Commands about labels: how far people agree, and what they say together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    LabelsFile,
    SettingsFile,
    TableLevel,
    WithGold,
    is_table,
    needed,
    open_runtime,
    project_of,
    read_labels,
    say,
)
from labelloop.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from labelloop.label_config import LabelConfig


def agreement(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: LabelsFile = None,
    config: ConfigFile = None,
    level: TableLevel = None,
    gold: WithGold = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """How far people agree, headlined on pairs that saw no suggestion; from a project, an export file, or a CSV."""
    from qa.agreement import agreement_text, measure_agreement

    if is_table(file):
        from qa.judgments import read_judgments
        from qa.table_agreement import table_agreement

        told = table_agreement(read_judgments(file), level or "nominal")
        say(told, as_json, agreement_text(told))
        return
    if level is not None:
        raise UsageError("--level is for a CSV of task, annotator and label; of other labels the label config tells it")
    from qa.annotators.report import accepted_when_wrong

    labels, parsed = _labels(project, file, config, settings)
    report = measure_agreement(labels, parsed, gold=gold)
    report["accept_when_wrong"] = accepted_when_wrong(labels, parsed)
    say(report, as_json, agreement_text(report))


def _labels(
    project: str | None, file: Path | None, config: Path | None, settings: Path | None
) -> tuple[pl.DataFrame, LabelConfig]:
    """Labels of a project, or of an export file, and their label config."""
    from labelloop.label_config import parse_label_config

    if file is None:
        from sync.annotator_work import work_frame

        runtime = open_runtime(settings)
        row = project_of(runtime, needed(project))
        return work_frame(runtime, row), parse_label_config(row.label_config)
    return read_labels(file, config)


def consensus(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: LabelsFile = None,
    config: ConfigFile = None,
    method: Annotated[
        Literal["majority", "weighted", "dawid_skene", "one_coin"] | None,
        typer.Option(
            "--method",
            help="votes, votes by how far people agree with others, or a model of who errs how (Dawid and Skene, the default for "
            "single choices) or how often (one coin)",
        ),
    ] = None,
    control: Annotated[str | None, typer.Option("--control", help="which control, where there are several")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """One answer for each task out of several people's, or fused regions; from a project, an export file, or a CSV."""
    from qa.consensus.report import consensus_report, consensus_text

    if is_table(file):
        from qa.judgments import coded, read_judgments

        if method == "weighted":
            raise UsageError("--method weighted needs a label config; of a CSV take majority, dawid_skene or one_coin")
        report = consensus_report(coded(read_judgments(file)), method or "dawid_skene")
    else:
        from qa.consensus.controls import control_consensus
        from qa.judgments import chosen_control

        labels, parsed = _labels(project, file, config, settings)
        report = control_consensus(labels, *chosen_control(parsed, control), method)
    say(report, as_json, consensus_text(report))
