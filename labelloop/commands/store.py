"""Commands that back the store up and restore it."""

from __future__ import annotations

from typing import Annotated

import typer

from labelloop.commands.common import AsJson, SettingsFile, open_runtime, say


def backup(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="file, or an address such as s3://bucket/name.tar")],
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="also the dataset versions, models and reports of a local folder")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="put it in the place of what is there")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole store, as it is at one moment, into one file that SQLite and PostgreSQL can be restored from."""
    from labelloop.progress import progress_counter
    from labelloop.store.backup import write_backup

    runtime = open_runtime(settings)
    count = progress_counter("backup", silent=as_json)
    where = runtime.services.artifacts
    report = write_backup(runtime.store, target, where, with_artefacts=artifacts, force=force, count=count)
    rows = f"{sum(report.tables.values()):,} rows" + (
        f" and {report.artefacts:,} artefact files" if report.artefacts is not None else ""
    )
    say(report.to_json(), as_json, f"{rows} -> {report.backup} ({report.bytes:,} bytes)")


def restore(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="what `labelloop backup` wrote")],
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="also the artefacts of a backup that was made with --artifacts")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a store that is not empty")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of an empty store: checked whole first, then all of it or nothing."""
    from labelloop.progress import progress_counter
    from labelloop.store.restore import restore_backup

    runtime = open_runtime(settings)
    count = progress_counter("restore", silent=as_json)
    where = runtime.services.artifacts
    report = restore_backup(runtime.store, source, where, with_artefacts=artifacts, force=force, count=count)
    rows = f"{sum(report.tables.values()):,} rows" + (
        f" and {report.artefacts:,} artefact files" if report.artefacts is not None else ""
    )
    say(report.to_json(), as_json, f"{rows} of {report.source} are in the store")
