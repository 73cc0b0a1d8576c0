"""Commands about trainings, model versions and what is served."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say
from labelloop.errors import UsageError

if TYPE_CHECKING:
    from labelloop.store import ProjectRow
    from sync.runtime import Runtime

#: A training that runs sees within a second of its next step that it is to end; longer steps are not waited for.
CANCEL_WAIT_S = 15.0


def train(
    project: Wanted,
    pause: Annotated[bool, typer.Option("--pause", help="start no training by itself from now on")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="allow trainings again")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="watch it, or the one that runs, to its end")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="end the training that waits or runs; no version")] = False,
    reason: Annotated[str, typer.Option("--reason", help="of --cancel; kept with the training")] = "",
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Train now, however few labels are new, and watch or cancel a training; or pause and resume what the trigger starts."""
    from backends import NO_BACKEND, backend_entry

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    if pause + resume + follow + cancel > 1:
        raise UsageError("--pause, --resume, --follow and --cancel exclude each other")
    if reason and not cancel:
        raise UsageError("--reason goes with --cancel")
    if cancel:
        _cancel(runtime, row, reason, as_json)
        return
    if follow:
        _follow(runtime, row, as_json)
        return
    if pause or resume:
        runtime.store.pause_training(row.project_id, pause)
        say({"project": row.project_id, "training_paused": pause}, as_json, "paused" if pause else "resumed")
        return
    if row.backend == NO_BACKEND:
        backend_entry(row.backend)
    queued = runtime.queue.request_training(row.project_id)
    text = (
        "a training is queued; `labelloop models` shows its outcome" if queued else "a training was asked for already"
    )
    say({"project": row.project_id, "queued": queued}, as_json, text)


def _cancel(runtime: Runtime, project: ProjectRow, reason: str, as_json: bool) -> None:
    """Withdraw a request for a training, end the one that waits or runs, and wait a little for its end."""
    from contextlib import suppress
    from getpass import getuser
    from socket import gethostname

    from labelloop.errors import ServiceDown
    from labelloop.queueing import manual_training_request
    from sync.cancelling import cancel_training
    from sync.training_progress import wait_for_outcome

    withdrawn = False
    with suppress(ServiceDown):  # without Redis nothing is asked for
        withdrawn = runtime.queue.withdraw(manual_training_request(project.project_id))
    row = cancel_training(runtime, project, f"{getuser()}@{gethostname()}", reason)
    if row is None and not withdrawn:
        raise UsageError(f"no training of {project.title!r} waits or runs; `labelloop models` lists them")
    text = "the request for a training is withdrawn"
    if row is not None:
        row = wait_for_outcome(runtime, row, CANCEL_WAIT_S)
        text = f"{row.training_id} " + (
            f"is over: {row.outcome}, {row.reason}" if row.outcome else "ends at its next step"
        )
    report = {
        "project": project.project_id,
        "withdrawn": withdrawn,
        "training_id": row.training_id if row else None,
        "outcome": row.outcome if row else None,
        "reason": row.reason if row else "",
    }
    say(report, as_json, text)


def _follow(runtime: Runtime, project: ProjectRow, as_json: bool) -> None:
    """Ask for a training unless one waits or runs, show how far it is, and exit with 1 where it failed or was cancelled."""
    from sync.overview import training_report
    from sync.training_progress import ask_and_follow, progress_text

    shown = ""

    def tell(progress: dict[str, Any]) -> None:
        nonlocal shown
        line = f"{progress['share']} {progress['message']}"
        if line != shown and not as_json:
            print(progress_text(progress), file=sys.stderr, flush=True)
        shown = line

    try:
        row = ask_and_follow(runtime, project, tell)
    except KeyboardInterrupt:
        print("the training goes on without this; end it: labelloop train PROJECT --cancel", file=sys.stderr)
        raise typer.Exit(1) from None
    report = {"project": project.project_id, "training": training_report(row)}
    say(report, as_json, f"{row.training_id}: {row.outcome}, {row.reason}")
    if row.outcome in ("failed", "cancelled"):
        raise typer.Exit(1)


def models(project: Wanted, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """The project's trainings with their outcome, its versions and what is served."""
    from sync.overview import models_report, models_text

    runtime = open_runtime(settings)
    report = models_report(runtime, project_of(runtime, project))
    say(report, as_json, models_text(report))


def evaluate(
    project: Wanted,
    versions: Annotated[list[str], typer.Argument(help="model versions, as `models` lists them")],
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Metrics of model versions on the holdout labels as they are now, all on the same items."""
    from dataclasses import asdict

    from sync.freezing import TRAINING_POLICY, freeze
    from sync.training import evaluate_version

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    dataset = freeze(runtime.store, row, runtime.services.artifacts, policy=TRAINING_POLICY)
    found = evaluate_version(runtime, row, versions, dataset)
    summaries = {v: {key: value for key, value in asdict(m).items() if key != "per_item"} for v, m in found.items()}
    report = {"project": row.project_id, "dataset_id": dataset, "versions": summaries}
    lines = [f"{version}: {m.name} {m.value:.3f} (baseline {m.baseline}, {m.n} tasks)" for version, m in found.items()]
    say(report, as_json, "\n".join(lines))


def promote(
    project: Wanted,
    version: Annotated[str, typer.Argument(help="a model version, as `models` lists them")],
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve this version, whatever the gate said: rank anew, push, switch."""
    from labelloop.queueing import promote_request
    from labelloop.store.trainings import version_row
    from sync.promotion import plan_promotion

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    made = version_row(runtime.store, row.project_id, version)
    if made is None or made.path is None or made.digest is None:
        raise UsageError(f"project {row.title!r} has no version {version!r}; `labelloop models` lists them")
    with runtime.store.begin() as connection:
        promotion = plan_promotion(runtime.store, connection, row, version, made.path, made.digest, made.training_id)
    runtime.queue.enqueue(promote_request(promotion))
    say({"project": row.project_id, "promotion": promotion}, as_json, f"promotion {promotion} is queued")


def rollback(
    project: Wanted,
    version: Annotated[str | None, typer.Argument(help="default: the version served before")] = None,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="let trainings replace the version that was rolled back to")
    ] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier version again; it stays until as many new labels came as a training waits for, or --unpin."""
    from labelloop.queueing import promote_request
    from sync.overview import served_before
    from sync.promotion import plan_ranking
    from sync.waiting_labels import unpin as lift

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    if unpin:
        if version is not None:
            raise UsageError("--unpin takes no version; what is served stays until a training replaces it")
        lifted = lift(runtime.store, row)
        say({"project": row.project_id, "unpinned": lifted}, as_json, f"{lifted} is pinned no longer")
        return
    earlier = served_before(runtime, row)
    if version is None and not earlier:
        raise UsageError(f"project {row.title!r} has served nothing else yet; there is nothing to roll back to")
    promotion = plan_ranking(runtime, row, version or earlier[-1], pinned=True)
    runtime.queue.enqueue(promote_request(promotion))
    every = runtime.project_settings(row).active_learning.retrain_every_n_labels
    text = (
        f"rollback {promotion} is queued; it is pinned until {every} new labels came (or: labelloop rollback --unpin)"
    )
    say({"project": row.project_id, "promotion": promotion}, as_json, text)


def register(
    project: Wanted,
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="a checkpoint, a pipeline folder or package, a rule file")
    ],
    promote: Annotated[bool, typer.Option("--promote/--no-promote", help="serve it: rank, push, switch")] = True,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="of the backend; see its guide in docs")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a version of a model that was not trained here; `models`, `promote`, `rollback` and `evaluate` then know it."""
    from sync.importing import import_version, options_of

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    found = import_version(runtime, row, sources, options_of(option or []), promote=promote)
    report = {
        "project": row.project_id,
        "version": found.version.name,
        "digest": found.version.digest,
        "known": found.known,
        "promotion": found.promotion,
        "queued": found.queued,
    }
    lines = [f"{found.version.name} {'was registered before' if found.known else 'is registered'}"]
    if found.promotion:
        when = "is queued" if found.queued else "begins when Redis is back"
        lines.append(f"promotion {found.promotion} {when}; `labelloop models` shows its steps")
    elif promote:
        lines.append("it is served already")
    say(report, as_json, "\n".join(lines))


def prelabel(
    project: Wanted,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="watch the jobs to their end")] = True,
    retry: Annotated[
        bool, typer.Option("--retry", help="predict again what failed for a reason that may have passed")
    ] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Pre-annotate the whole project with the served version, by jobs; run again, it joins what runs and adds the rest."""
    from labelloop.progress import progress_bar
    from sync.prelabelling import prelabel as predict_all
    from sync.prelabelling import prelabel_text

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    try:
        report = predict_all(runtime, row, wait=wait, retry=retry, progress=progress_bar("prelabel", silent=as_json))
    except KeyboardInterrupt:
        print(f"the jobs go on without this; look again: labelloop prelabel {project!r}", file=sys.stderr)
        raise typer.Exit(1) from None
    say(report.to_json(), as_json, prelabel_text(report, waited=wait))
    if wait and report.lacking:
        raise typer.Exit(1)


def rules(
    project: Wanted,
    version: Annotated[str | None, typer.Argument(help="default: the served one")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """What each rule does on the project's tasks: coverage, overlap, conflict, accuracy on labels, correlated pairs."""
    from sync.rule_reports import report_rules, rules_text

    runtime = open_runtime(settings)
    report = report_rules(runtime, project_of(runtime, project), version)
    say(report, as_json, rules_text(report))
