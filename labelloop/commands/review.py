"""The command about reviews: what waits for a reviewer and why, verdicts, and the tabs in Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say
from labelloop.errors import UsageError


def review(
    project: Wanted,
    approve: Annotated[int | None, typer.Option("--approve", metavar="TASK", help="approve its labels")] = None,
    reject: Annotated[int | None, typer.Option("--reject", metavar="TASK", help="reject its labels")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="PERSON", help="who says so: e-mail or id")] = None,
    reason: Annotated[str, typer.Option("--reason", help="why")] = "",
    tabs: Annotated[
        bool, typer.Option("--tabs", help="go through all tasks now, and bring the tabs up to date")
    ] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Where tasks stand between label, consensus, review and approved; give a verdict; write the tabs in Label Studio."""
    from sync.reviewing import give_verdict, review_pass, review_report

    if approve is not None and reject is not None:
        raise UsageError("--approve and --reject are two verdicts; give one at a time")
    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    task = approve if approve is not None else reject
    verdicts: list[dict[str, Any]] = []
    if task is not None:
        if by is None:
            raise UsageError("a verdict needs --by: the e-mail address or id of the account that gives it")
        verdicts = give_verdict(runtime, row, task, "approved" if approve is not None else "rejected", by, reason)
    elif by is not None or reason:
        raise UsageError("--by and --reason belong to --approve TASK or --reject TASK")
    summary = review_pass(runtime, row) if tabs else review_report(runtime, row)
    report = {**summary.to_json(), "verdicts": verdicts}
    say(report, as_json, review_text(report))


def review_text(report: Mapping[str, Any], most: int = 20) -> str:
    """The report for people: how many tasks stand where, and those that wait for a reviewer."""
    lines = ["  ".join(f"{stage} {count}" for stage, count in report["stages"].items())]
    lines += [f"  annotation {each['annotation']} {each['verdict']} by {each['by']}" for each in report["verdicts"]]
    if report["reasons"]:
        lines.append("because: " + ", ".join(f"{reason} {count}" for reason, count in report["reasons"].items()))
    waiting = [each for each in report["tasks"] if each["stage"] == "review"]
    for each in waiting[:most]:
        score = "no score" if each["score"] is None else f"score {each['score']:.3f}"
        lines.append(f"  task {each['task_id']}: {', '.join(each['reasons'])} ({score}, {each['people']} people)")
    if len(waiting) > most:
        lines.append(f"  ... and {len(waiting) - most} more; --json has all")
    for person, each in report["honeypots"].items():
        lines.append(f"person {person}: right on {each['right']:.0%} of {each['n']} known answers")
    for title, count in report["tabs"].items():
        lines.append(f"tab {title!r}: {count} tasks")
    return "\n".join(lines)
