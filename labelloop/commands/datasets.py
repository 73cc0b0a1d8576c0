"""Commands about dataset versions: make one, list them, show one, compare two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

if TYPE_CHECKING:
    from labelloop.store import Store
    from sync.freezing import Frozen
    from sync.runtime import Runtime

Version = Annotated[str, typer.Argument(metavar="VERSION", help="a version's id, or its beginning")]


def dataset_create(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    consensus: Annotated[
        Literal["latest", "majority", "consensus", "reviewed", "ground_truth"],
        typer.Option("--consensus", help="whose label is the truth of a task"),
    ] = "latest",
    roles: Annotated[
        str, typer.Option("--roles", help="of the tasks: pool, blind, holdout, gold; with commas")
    ] = "pool,blind,holdout",
    parent: Annotated[
        str | None, typer.Option("--parent", help="the version it goes on from; default: the project's newest")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Freeze the labels as they are as a dataset version; from a project, or from an export file without any server."""
    from labelloop.progress import progress_counter
    from sync.dataset_versions import known_version, newest_version
    from sync.freezing import freeze_version

    count = progress_counter("dataset", silent=as_json)
    if file is not None:
        made, before = _from_file(file, config, consensus, parent, settings, count)
    else:
        runtime = open_runtime(settings)
        row = project_of(runtime, needed(project))
        artifacts = runtime.services.artifacts
        before = known_version(artifacts, parent) if parent else newest_version(artifacts, row.project_id)
        wanted = tuple(role.strip() for role in roles.split(",") if role.strip())
        made = freeze_version(
            runtime.store, row, artifacts, parent=before, policy=consensus, roles=wanted, count=count
        )  # fmt: skip
    say(_made(made, before), as_json, _made_text(made))


def dataset_list(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title; default: all")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """The dataset versions below the artifacts, oldest first, with who was trained on them."""
    from sync.dataset_versions import list_versions, versions_text

    runtime = open_runtime(settings)
    row = project_of(runtime, project) if project is not None else None
    found = list_versions(runtime.services.artifacts, _store(runtime), row.project_id if row else None)
    say({"artifacts": runtime.services.artifacts, "versions": found}, as_json, versions_text(found))


def dataset_show(version: Version, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """What a version holds: counts by class, split, annotator, source, review and what people were shown."""
    from sync.dataset_versions import known_version, show_version, version_text

    runtime = open_runtime(settings)
    artifacts = runtime.services.artifacts
    report = show_version(artifacts, known_version(artifacts, version), runtime.scratch("datasets"), _store(runtime))
    say(report, as_json, version_text(report))


def dataset_diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="a version's id, or its beginning")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="another one")],
    limit: Annotated[int, typer.Option("--limit", min=0, help="labels and tasks that are named")] = 100,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Labels added, changed and removed between two versions, by whom and of which class; tasks, config and classes."""
    from sync.dataset_diff import diff_text, diff_versions
    from sync.dataset_versions import known_version
    from sync.freezing import open_dataset

    runtime = open_runtime(settings)
    artifacts, cache = runtime.services.artifacts, runtime.scratch("datasets")
    one, other = (open_dataset(artifacts, known_version(artifacts, each), cache) for each in (old, new))
    report = diff_versions(one, other, limit)
    say(report, as_json, diff_text(report))


def _from_file(
    file: Path, config: Path | None, consensus: str, parent: str | None, settings: Path | None, count: Any
) -> tuple[Frozen, str | None]:
    from labelloop.settings import load_settings
    from sync.dataset_versions import known_version
    from sync.freezing import freeze_file

    if config is None:
        raise UsageError("--file needs --config: the project's label config as XML")
    artifacts = load_settings(settings).services.artifacts
    before = known_version(artifacts, parent) if parent else None
    return freeze_file(file, config, artifacts, policy=consensus, parent=before, count=count), before


def _store(runtime: Runtime) -> Store | None:
    """The store, where there is one: looking at versions makes none."""
    from sync.overview import store_file

    file = store_file(runtime)
    return runtime.store if file is None or file.exists() else None


def _made(made: Frozen, parent: str | None) -> dict[str, Any]:
    return {
        "dataset_id": made.dataset_id,
        "uri": made.uri,
        "known": made.known,
        "parent": None if made.known else parent,
        "counts": dict(made.counts),
        "left_out": dict(made.left_out),
        "dropped": dict(made.dropped),
    }


def _made_text(made: Frozen) -> str:
    counts = made.counts
    lines = [
        f"{made.dataset_id} {'was there already' if made.known else 'is made'}: {counts['tasks']} tasks, "
        f"{counts['labels']} labels, {counts['truths']} truths with {counts['regions']} objects -> {made.uri}"
    ]
    lines += [f"{count} tasks without a truth: {reason}" for reason, count in made.left_out.items()]
    lines += [f"{count} objects left out: class {name} was retired" for name, count in made.dropped.items()]
    return "\n".join(lines)
