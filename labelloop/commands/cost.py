"""The command that tells what suggestions cost or save, and shows a hidden class again."""

from __future__ import annotations

from typing import Annotated

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say


def cost(
    project: Wanted,
    show: Annotated[
        str | None, typer.Option("--show", metavar="CLASS", help="show suggestions of a hidden class again")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """What suggestions cost or save: seconds per task against blind labels, and what people did with what was suggested.

    Example: labelloop cost Letters, and labelloop cost Letters --show invoice
    """
    from qa.corrections.report import cost_text
    from sync.correction_cost import cost_of
    from sync.hidden_classes import show_again

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    again = show_again(runtime.store, row, show) if show is not None else []
    report = {
        **cost_of(runtime.store, row).to_json(row.project_id),
        "shown_again": [{"control": control, "class": name} for control, name in again],
    }
    said = [
        f"suggestions of {name!r} ({control}) are shown again; labelloop prioritize {row.title!r} makes new ones at once"
        for control, name in again
    ]
    say(report, as_json, "\n".join([*said, cost_text(report)]))
