"""The command that orders a project's tasks anew, or tells whether Label Studio serves the order."""

from __future__ import annotations

from typing import Annotated

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say
from labelloop.errors import UsageError


def prioritize(
    project: Wanted,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="for this order alone; default: active_learning.strategy")
    ] = None,
    probe: Annotated[bool, typer.Option("--probe", help="only tell whether the order is served, and why not")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="set sampling and model version right, then tell")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Order the open tasks anew with the served version, and push that order; or tell whether Label Studio serves it.

    Example: labelloop prioritize Letters --strategy committee, and labelloop prioritize Letters --probe
    """
    from labelloop.queueing import promote_request
    from sync.order_probe import fix_order, order_report, order_text
    from sync.promotion import plan_ranking
    from sync.ranking.strategies import STRATEGIES

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    if probe or fix:
        if strategy is not None:
            raise UsageError("--strategy makes a new order, --probe and --fix look at the one there is; leave one out")
        fixed = fix_order(runtime.client, runtime.store, row) if fix else []
        report = order_report(runtime.client, runtime.store, row, probe=probe, fixed=fixed)
        say(report, as_json, order_text(report))
        if not report["served"]:
            raise typer.Exit(1)
        return
    if strategy is not None and strategy not in STRATEGIES:
        raise UsageError(f"--strategy: expected one of {', '.join(STRATEGIES)}; got {strategy!r}")
    served = runtime.store.served(row.project_id)
    if served is None:
        raise UsageError(
            f"project {row.title!r} serves nothing yet; labelloop sync {row.title!r} gives it its first order"
        )
    promotion = plan_ranking(runtime, row, served.model_version, strategy=strategy)
    runtime.queue.enqueue(promote_request(promotion))
    text = f"a new order is queued as {promotion}; `labelloop models` shows its steps"
    say({"project": row.project_id, "promotion": promotion}, as_json, text)
