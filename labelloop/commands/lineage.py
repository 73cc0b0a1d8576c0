"""Commands about what becomes of labels: their classes, their history, and forgetting them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say
from labelloop.errors import UsageError


def classes(
    project: Wanted,
    change: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CHANGE]", help="rename OLD NEW | merge A B into C | split OLD into A B | retire X"),
    ] = None,
    control: Annotated[str | None, typer.Option("--control", help="where several controls have the class")] = None,
    by: Annotated[
        Path | None,
        typer.Option("--by", metavar="FILE", help="of a split: CSV or JSON Lines with task_id, region_id, class"),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--no-apply", help="bring Label Studio's label config along, where that is safe")
    ] = True,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """The project's classes; or a change of them as a new schema version, by which old labels are read from then on."""
    from sync.schemas import change_schema, read_change, schema_report, schema_text

    wanted = read_change(change) if change else None
    if wanted is None and (control or by):
        raise UsageError("--control and --by belong to a change, as in: labelloop classes PROJECT split OLD into A B")
    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    if wanted is None:
        report = schema_report(runtime.store, row)
    else:
        client = runtime.client if apply else None
        report = change_schema(runtime.store, row, wanted, control=control, by_file=by, client=client)
    say(report, as_json, schema_text(report))


def history(
    task: Annotated[int | None, typer.Argument(metavar="TASK", help="a task's id")] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="id or title; may be left out if there is one")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="check the hash chains of decisions and schema versions instead")
    ] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """The life of a task's labels: predictions, revisions in words, decisions, dataset versions, models, what is forgotten."""
    from sync.chain_checks import verification_text, verify_history
    from sync.history import history_text, task_history

    runtime = open_runtime(settings)
    if verify == (task is not None):
        raise UsageError("expected TASK, or --verify without one")
    known = runtime.store.projects()
    if project is None and task is not None and len(known) != 1:
        raise UsageError(f"say which project's task: --project; labelloop looks after {len(known)} projects")
    rows = [project_of(runtime, project)] if project is not None else known
    if task is None:
        report = verify_history(runtime.store, rows, runtime.services.artifacts)
        say(report, as_json, verification_text(report))
        if not report["whole"]:
            raise typer.Exit(1)
        return
    found = task_history(runtime.store, rows[0], task, runtime.services.artifacts)
    say(found, as_json, history_text(found))


def forget(
    project: Wanted,
    task: Annotated[
        list[int] | None, typer.Argument(metavar="TASK...", help="ids; without any, what was begun is finished")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    files_root: Annotated[Path | None, typer.Option("--files-root", help="Label Studio's local files root")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase tasks' content for good: in Label Studio, store, caches and dataset versions; says what remains."""
    from labelloop.progress import progress_counter
    from sync.forgetting import forget as erase
    from sync.forgetting import unfinished

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    ids = sorted({*(task or []), *(stone.task_id for stone in unfinished(runtime, row))})
    if not ids:
        raise UsageError("expected the ids of tasks; nothing that was begun is left to finish")
    if not yes:
        if as_json:
            raise UsageError("--json does not ask; say --yes as well")
        shown = ", ".join(map(str, ids[:10])) + (" ..." if len(ids) > 10 else "")
        typer.confirm(f"erase {len(ids)} tasks of {row.title!r} ({shown}) for good, with their labels?", abort=True)
    report = erase(runtime, row, task or [], files_root=files_root, count=progress_counter("forget", silent=as_json))
    say(report.to_json(), as_json, report.text())
