"""What each rule of a version does on a project's tasks, beside the labels that people gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backends import backend_module
from labelloop.artefacts import fetch_artefact
from labelloop.errors import UsageError
from labelloop.label_config import parse_label_config
from labelloop.store import ProjectRow
from labelloop.store.classes import class_table
from labelloop.store.trainings import version_row
from labelloop.task_items import task_item
from labelloop.values import ROLES, Region, TaskItem
from sync.formats.policies import truth_of
from sync.runtime import Runtime
from sync.stored_labels import labelled_tasks


def report_rules(runtime: Runtime, project: ProjectRow, version: str | None) -> dict[str, Any]:
    """Coverage, overlap, conflict and accuracy of each rule, and correlated pairs; of `version`, or of the served one.

    The gold is the label of each task that counts as its truth. UsageError for a project of another backend, or when
    there is no such version.
    """
    if project.backend != "rules":
        raise UsageError(f"project {project.title!r} has the backend {project.backend!r}; only rules have this report")
    served = runtime.store.served(project.project_id)
    wanted = version or (served.model_version if served else "")
    row = version_row(runtime.store, project.project_id, wanted)
    if row is None or row.path is None or row.digest is None:
        what = f"has no version {version!r}; `labelloop models` lists them" if version else "serves no rules yet"
        raise UsageError(f"project {project.title!r} {what}; `labelloop register` brings in a rule file")
    folder = fetch_artefact(row.path, row.digest, runtime.services.data.absolute() / "versions")
    gold = dict(_gold(runtime, project))
    module = backend_module(project.backend)
    use = module.load(folder).media_use
    config = parse_label_config(project.label_config)
    fetch = runtime.media.fetch if config.has_media and use == "optional" else None
    items = [
        task_item(task.task_id, task.data, config, fetch, meta=task.meta, media_use=use)
        for task in runtime.store.tasks(project.project_id)
    ]
    report = module.rule_report(folder, [item for item in items if isinstance(item, TaskItem)], gold)
    return {"project": project.project_id, "version": wanted, **report.to_json()}


def _gold(runtime: Runtime, project: ProjectRow) -> Iterator[tuple[int, list[Region]]]:
    """(task, regions) of the label that is each task's truth, with today's classes."""
    table = class_table(runtime.store, project)
    for part in labelled_tasks(runtime.store, project.project_id, ROLES):
        for each in part:
            truth = truth_of(each.labels, "latest", ())
            if truth is not None:
                label = each.labels[truth.index]
                yield label.task_id, table.read(label.task_id, label.annotation_id, label.result).result


def rules_text(report: Mapping[str, Any]) -> str:
    """The report for people: a line per rule, then the pairs that say the same thing."""
    lines = []
    for control in report["controls"]:
        lines.append(
            f"{control['control']}: {control['tasks']} tasks, {control['covered']:.0%} covered, {control['gold']} labelled"
        )
        for rule in control["rules"]:
            right = "not judged yet"
            if rule["accuracy"] is not None:
                right = (
                    f"right {rule['accuracy']:.2f} ({rule['low']:.2f} to {rule['high']:.2f}, {rule['judged']} judged)"
                )
            shares = f"covers {rule['coverage']:.1%}, overlaps {rule['overlap']:.1%}, conflicts {rule['conflict']:.1%}"
            failed = f", failed on {rule['errors']}: {rule['error']}" if rule["errors"] else ""
            lines.append(f"  {rule['rule']}: {shares}, {right}{failed}")
        for pair in control["correlated"]:
            lines.append(
                f"  {pair['first']} and {pair['second']} give {pair['label']!r} together {pair['together']} times, "
                f"{pair['expected']:.1f} expected: their agreement counts twice"
            )
    return "\n".join(lines)
