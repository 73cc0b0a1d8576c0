"""Commands that make a project and read it."""

from __future__ import annotations

from typing import Annotated

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say
from labelloop.errors import UsageError


def project_create(
    title: Annotated[str, typer.Argument(help="title in Label Studio")],
    template: Annotated[
        str | None, typer.Option("--template", help="task type, as `bbox`; `labelloop project templates` lists them")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="comma-separated, in the order of the config; in a tree as `Order / Late`"),
    ] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="instead of the template's, as `rules`")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Make (or repair) a project from a template: label config, guideline, order, webhook, ML backend."""
    from dataclasses import replace

    from backends import backend_entry
    from labelloop.settings import ProjectSettings
    from sync.projects import create_project
    from templates.catalogue import load_template

    runtime = open_runtime(settings)
    services = runtime.services
    own = runtime.settings.for_project(title)
    chosen = load_template(template or own.project.task_type or "")
    if backend is not None:
        backend_entry(backend)
        chosen = replace(chosen, backend=backend)
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
        backend_url=services.backend_urls.get(chosen.backend) if chosen.backend else None,
        webhook_url=f"{services.receiver_url}/hooks/label-studio/{{project}}" if services.receiver_url else None,
        secret=services.secret() if services.receiver_url else None,
        backend_login=services.backend_login,
    )
    report = {"project": project_id, "title": title, "template": chosen.name, "backend": chosen.backend}
    say(report, as_json, f"project {project_id} ({title}) is set up: {services.label_studio_url}/projects/{project_id}")


def project_templates(as_json: AsJson = False) -> None:
    """The templates: what each asks people, which backend learns it, its example classes, what it is exported as."""
    from templates.catalogue import list_templates, load_template

    found = [load_template(name) for name in list_templates()]
    report = {
        "templates": [
            {
                "name": each.name,
                "title": each.title,
                "backend": each.backend,
                "control": each.control,
                "data_keys": list(each.data_keys),
                "classes": list(each.example_classes),
                "export": dict(each.defaults["export"]),
            }
            for each in found
        ]
    }
    lines = [
        f"{each.name:<22}{each.title:<46}{each.backend or 'no backend':<14}{', '.join(each.example_classes)}".rstrip()
        for each in found
    ]
    say(report, as_json, "\n".join(lines))


def sync(
    project: Wanted,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="compare every task, also when the last comparison is recent")
    ] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Reconcile the store with Label Studio now, and act on what is new."""
    from dataclasses import asdict

    from labelloop.progress import progress_counter
    from sync.overview import queue_report
    from sync.reconcile import reconcile_project

    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    count = progress_counter("sync", silent=as_json)
    done = reconcile_project(runtime, row.project_id, sweep=True if sweep else None, count=count)
    if done is None:
        raise UsageError(f"a worker reconciles {row.title!r} at this moment; ask again in a few seconds")
    report = {**queue_report(runtime, row), "read": asdict(done.mirrored), "trigger": asdict(done.decision)}
    say(report, as_json, f"{done.mirrored.revisions_added} new revisions; {done.decision.reason}")
