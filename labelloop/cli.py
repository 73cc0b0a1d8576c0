"""The command line: the composition root, where alone the kernel meets the other packages (inside the commands)."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelloop.errors import LabelloopError, UsageError

if TYPE_CHECKING:
    from labelloop.store import ProjectRow
    from sync.runtime import Runtime

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="labelloop")
project_app = typer.Typer(no_args_is_help=True, help="Projects in Label Studio that labelloop looks after.")
app.add_typer(project_app, name="project")

Wanted = Annotated[str, typer.Argument(metavar="PROJECT", help="id or title")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="labelloop.yaml; default: the one in this folder")
]
Ports = Annotated[list[str] | None, typer.Option("--port", metavar="SERVICE=PORT", help="default: free ones")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of text")]


def main() -> None:
    """Run the command line; an expected failure prints its message and exits with 1, or 2 for wrong usage."""
    try:
        app()
    except LabelloopError as error:
        print(f"labelloop: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _runtime(settings: Path | None) -> Runtime:
    from labelloop.services.local import with_running_services
    from labelloop.settings import load_settings
    from sync.runtime import Runtime

    loaded = load_settings(settings)
    return Runtime(loaded.model_copy(update={"services": with_running_services(loaded.services)}))


def _project(runtime: Runtime, wanted: str) -> ProjectRow:
    return runtime.store.find_project(wanted)


def _say(report: Any, as_json: bool, text: str) -> None:
    import orjson

    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() if as_json else text)


@project_app.command("create")
def project_create(
    title: Annotated[str, typer.Argument(help="title in Label Studio")],
    template: Annotated[str | None, typer.Option("--template", help="task type, as `bbox`")] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="comma-separated, in the order of the config")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Make (or repair) a project from a template: label config, guideline, order, webhook, ML backend."""
    from labelloop.settings import ProjectSettings
    from sync.projects import create_project
    from templates.catalogue import load_template

    runtime = _runtime(settings)
    services = runtime.services
    own = runtime.settings.for_project(title)
    chosen = load_template(template or own.project.task_type or "")
    names = classes.split(",") if classes else list(own.project.classes) or list(chosen.example_classes)
    configured = title in runtime.settings.projects
    used = own if configured else ProjectSettings.model_validate(dict(chosen.defaults))
    project_id = create_project(
        runtime.client,
        runtime.store,
        chosen,
        title,
        names,
        used,
        backend_url=services.backend_urls.get(chosen.backend),
        webhook_url=f"{services.receiver_url}/hooks/label-studio/{{project}}" if services.receiver_url else None,
        secret=services.secret() if services.receiver_url else None,
    )
    report = {"project": project_id, "title": title, "template": chosen.name, "backend": chosen.backend}
    _say(
        report, as_json, f"project {project_id} ({title}) is set up: {services.label_studio_url}/projects/{project_id}"
    )


@app.command()
def ingest(
    project: Wanted,
    source: Annotated[Path, typer.Argument(help="a folder of images, or a .jsonl file")],
    files_root: Annotated[Path | None, typer.Option("--files-root", help="Label Studio's local files root")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring a source into a project: verified, without doubles, roles and overlap assigned; then the first order."""
    from labelloop.progress import progress_bar
    from sync.ingest import ingest as bring_in
    from sync.promotion import plan_cold_start, run_promotion
    from sync.sources import LocalFiles, read_source
    from templates.catalogue import load_template

    runtime = _runtime(settings)
    row = _project(runtime, project)
    items = read_source(source)
    report = bring_in(
        runtime.client,
        runtime.store,
        row.project_id,
        items,
        runtime.project_settings(row),
        progress_bar("ingest", silent=as_json),
        data_key=load_template(row.task_type).data_key,
        files=LocalFiles((files_root or runtime.services.data / "files").absolute()),
        image_max_mb=runtime.services.image_max_mb,
    )
    promotion = plan_cold_start(runtime, _project(runtime, project))
    if promotion is not None:
        run_promotion(runtime, promotion)
    found = report.to_json()
    _say(found, as_json, f"{report.added} tasks added, {report.present} were there, {len(found['rejected'])} rejected")


@app.command()
def sync(project: Wanted, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Reconcile the store with Label Studio now, and act on what is new."""
    from dataclasses import asdict

    from sync.overview import queue_report
    from sync.reconcile import reconcile_project

    runtime = _runtime(settings)
    row = _project(runtime, project)
    done = reconcile_project(runtime, row.project_id, sweep=True)
    if done is None:
        raise UsageError(f"a worker reconciles {row.title!r} at this moment; ask again in a few seconds")
    report = {**queue_report(runtime, row), "read": asdict(done.mirrored), "trigger": asdict(done.decision)}
    _say(report, as_json, f"{done.mirrored.revisions_added} new revisions; {done.decision.reason}")


@app.command()
def train(
    project: Wanted,
    pause: Annotated[bool, typer.Option("--pause", help="start no training by itself from now on")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="allow trainings again")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Train now, however few labels are new; or pause and resume the trainings that the trigger starts."""
    runtime = _runtime(settings)
    row = _project(runtime, project)
    if pause and resume:
        raise UsageError("--pause and --resume exclude each other")
    if pause or resume:
        runtime.store.pause_training(row.project_id, pause)
        _say({"project": row.project_id, "training_paused": pause}, as_json, "paused" if pause else "resumed")
        return
    queued = runtime.queue.request_training(row.project_id)
    text = (
        "a training is queued; `labelloop models` shows its outcome" if queued else "a training was asked for already"
    )
    _say({"project": row.project_id, "queued": queued}, as_json, text)


@app.command()
def models(project: Wanted, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """The project's trainings with their outcome, its versions and what is served."""
    from sync.overview import models_report, models_text

    runtime = _runtime(settings)
    report = models_report(runtime, _project(runtime, project))
    _say(report, as_json, models_text(report))


@app.command()
def evaluate(
    project: Wanted,
    versions: Annotated[list[str], typer.Argument(help="model versions, as `models` lists them")],
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Metrics of model versions on the holdout labels as they are now, all on the same items."""
    from dataclasses import asdict

    from sync.freezing import freeze
    from sync.training import evaluate_version

    runtime = _runtime(settings)
    row = _project(runtime, project)
    dataset = freeze(runtime.store, row, runtime.services.artifacts)
    found = evaluate_version(runtime, row, versions, dataset)
    summaries = {v: {key: value for key, value in asdict(m).items() if key != "per_item"} for v, m in found.items()}
    report = {"project": row.project_id, "dataset_id": dataset, "versions": summaries}
    lines = [f"{version}: {m.name} {m.value:.3f} (baseline {m.baseline}, {m.n} tasks)" for version, m in found.items()]
    _say(report, as_json, "\n".join(lines))


@app.command()
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

    runtime = _runtime(settings)
    row = _project(runtime, project)
    made = version_row(runtime.store, row.project_id, version)
    if made is None or made.path is None or made.digest is None:
        raise UsageError(f"project {row.title!r} has no version {version!r}; `labelloop models` lists them")
    with runtime.store.begin() as connection:
        promotion = plan_promotion(runtime.store, connection, row, version, made.path, made.digest, made.training_id)
    runtime.queue.enqueue(promote_request(promotion))
    _say({"project": row.project_id, "promotion": promotion}, as_json, f"promotion {promotion} is queued")


@app.command()
def rollback(
    project: Wanted,
    version: Annotated[str | None, typer.Argument(help="default: the version served before")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier version again."""
    from labelloop.queueing import promote_request
    from sync.overview import served_before
    from sync.promotion import plan_ranking

    runtime = _runtime(settings)
    row = _project(runtime, project)
    earlier = served_before(runtime, row)
    if version is None and not earlier:
        raise UsageError(f"project {row.title!r} has served nothing else yet; there is nothing to roll back to")
    promotion = plan_ranking(runtime, row, version or earlier[-1])
    runtime.queue.enqueue(promote_request(promotion))
    _say({"project": row.project_id, "promotion": promotion}, as_json, f"rollback {promotion} is queued")


ExportFile = Annotated[Path | None, typer.Option("--file", help="a JSON export of Label Studio, instead of PROJECT")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="its label config (XML)")]


@app.command()
def export(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    format: Annotated[str | None, typer.Option("--format", help="coco, spacy or csv")] = None,
    task: Annotated[str | None, typer.Option("--task", help="variant of the format")] = None,
    consensus: Annotated[Literal["latest", "majority"], typer.Option("--consensus")] = "latest",
    out: Annotated[
        Path | None, typer.Option("--out", help="folder; default: <export.output_dir>/<dataset>-<format>")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the labels in a training format, with a manifest; from a project, or from an export file without any server."""
    import tempfile

    from labelloop.settings import load_settings
    from sync.formats import export_dataset
    from sync.formats.truth import dataset_from_export

    with tempfile.TemporaryDirectory(prefix="labelloop-export-") as scratch:
        if file is not None:
            defaults = load_settings(settings).defaults.export
            if config is None:
                raise UsageError("--file needs --config: the project's label config as XML")
            dataset = dataset_from_export(file, config, Path(scratch) / "dataset", policy=consensus)
        else:
            dataset, defaults = _frozen(_runtime(settings), _needed(project), Path(scratch))
        form = format or defaults.format
        target = out or Path(defaults.output_dir) / f"{dataset.dataset_id}-{form}"
        report = export_dataset(dataset, form, target, task=task, train_val_split=defaults.train_val_split)
    _say(report.to_json(), as_json, f"{report.items} items, {report.objects} objects -> {report.path}")


def _needed(project: str | None) -> str:
    if project is None:
        raise UsageError("expected PROJECT (an id or a title), or --file export.json --config config.xml")
    return project


def _frozen(runtime: Runtime, project: str, scratch: Path) -> Any:
    """The project's labels as they are now, as a dataset version laid out with its media; and its export settings."""
    from labelloop.datasets import read_dataset
    from sync.freezing import freeze, lay_out, open_dataset
    from sync.promotion import uses_media

    row = _project(runtime, project)
    dataset_id = freeze(runtime.store, row, runtime.services.artifacts)
    fetch = runtime.media.fetch if uses_media(row) else None
    opened = open_dataset(runtime.services.artifacts, dataset_id, scratch)
    folder, _ = lay_out(opened, scratch / "laid-out", fetch, lambda: None)
    return read_dataset(folder), runtime.project_settings(row).export


@app.command()
def agreement(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """How far people agree, headlined on pairs that saw no suggestion; from a project, or from an export file."""
    from labelloop.label_config import parse_label_config
    from qa.agreement import measure_agreement
    from qa.exports_reading import read_export
    from sync.overview import agreement_text
    from sync.quality import agreement_of

    if file is not None:
        if config is None:
            raise UsageError("--file needs --config: the project's label config as XML")
        parsed = parse_label_config(config.read_text(encoding="utf-8"))
        report = measure_agreement(read_export(file), parsed)
    else:
        runtime = _runtime(settings)
        report = agreement_of(runtime, _project(runtime, _needed(project)))
    _say(report.to_json(), as_json, agreement_text(report))


@app.command()
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="end by itself; exit 0 only if every check holds")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget an earlier demo and start anew")] = False,
    port: Ports = None,
    settings: SettingsFile = None,
) -> None:
    """The whole loop on this machine: real Label Studio, sample data, simulated people, three learning projects."""
    from labelloop.demo.run import DemoOptions, run_demo
    from labelloop.services.local import WITH_PORT
    from labelloop.services.ports import wanted_ports
    from labelloop.settings import load_settings

    options = DemoOptions(ports=wanted_ports(port or [], WITH_PORT))
    raise typer.Exit(run_demo(load_settings(settings).services, headless=headless, fresh=fresh, options=options))


@app.command()
def up(port: Ports = None, settings: SettingsFile = None) -> None:
    """Run Redis, MLflow, the backends, the receiver, workers and scheduler against your Label Studio, until Ctrl-C."""
    from labelloop.services.local import ALL_SERVICES, WITH_PORT
    from labelloop.services.local import up as start
    from labelloop.services.ports import wanted_ports
    from labelloop.services.supervisor import interrupted_by_terminate
    from labelloop.settings import load_settings

    services = load_settings(settings).services
    services.token()
    names = [name for name in ALL_SERVICES if name != "label-studio"]
    ports = wanted_ports(port or [], WITH_PORT[1:])
    with (
        suppress(KeyboardInterrupt),
        interrupted_by_terminate(),
        start(services, print, names=names, ports=ports) as running,
    ):
        print(f"all services run against {services.label_studio_url}; Ctrl-C stops them")
        running.supervisor.wait()


@app.command()
def down(settings: SettingsFile = None) -> None:
    """Stop what `up` or `demo` left running in this data folder."""
    from labelloop.services.state import down as stop
    from labelloop.settings import load_settings

    stopped = stop(load_settings(settings).services.data)
    print("stopped" if stopped else "nothing was running")


@app.command()
def status(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """The services that run for this data folder, with their addresses, and every project's state."""
    from sync.overview import status_report, status_text

    report = status_report(_runtime(settings))
    _say(report, as_json, status_text(report))


if __name__ == "__main__":
    main()
