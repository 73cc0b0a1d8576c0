"""The demo's summary: each project measured by the product's own commands, and read back from Label Studio."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from labelloop.demo.checks import (
    check,
    expected_trainings,
    kendall_tau,
    project_checks,
)
from labelloop.demo.commands import CommandLine
from labelloop.demo.projects import DemoProject
from labelloop.demo.reading_back import ReadBack, read_back
from labelloop.errors import ServiceDown
from labelloop.label_studio import LabelStudio
from labelloop.services.local import LocalRun
from labelloop.store import Store, TrainingRow
from labelloop.store.trainings import trainings_of

MEMORY_LIMIT_MB = 6000


@dataclass
class ProjectRun:
    """One project of a running demo, and what was measured of it."""

    project: DemoProject
    project_id: int
    paused_at: datetime | None = None
    order: dict[str, Any] = field(default_factory=dict)
    agreement: dict[str, Any] = field(default_factory=dict)
    exported: dict[str, Any] = field(default_factory=dict)
    evaluated: dict[str, Any] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)

    def measure(self, command: CommandLine, exports: Path) -> None:
        """Agreement, export, and the first and the last version on the same holdout labels."""
        project_id = str(self.project_id)
        self.agreement = command("agreement", project_id)
        out = exports / self.project.task_type
        self.exported = command("export", project_id, "--format", self.project.export, "--out", str(out))
        models = command("models", project_id)
        self.versions = [row["version"] for row in models["trainings"] if row["version"]]
        served = models["served_version"]
        wanted = [self.versions[0], served] if self.versions and served in self.versions else self.versions[:1]
        if wanted:
            self.evaluated = command("evaluate", project_id, *dict.fromkeys(wanted))["versions"]
            self.evaluated["first"] = self.evaluated[wanted[0]]
            if len(wanted) == 2:
                self.evaluated["last"] = self.evaluated[wanted[1]]


def order_of(servings: list[dict[str, Any]], found: ReadBack, wanted: int) -> dict[str, Any]:
    """How the tasks were served, against the order keys in Label Studio: `wanted` first servings of the served id."""
    firsts = [row for row in servings if row["first_serving"]][:wanted]
    ranked = [row for row in firsts if row["task_id"] in found.order and row["model_version"] == found.served_id]
    tau = kendall_tau([found.order[row["task_id"]] for row in ranked])
    return {
        "servings": len(ranked),
        "kendall_tau": tau if len(ranked) >= wanted else None,
        "served_for_overlap": sum(1 for row in servings if not row["first_serving"]),
    }


def summarise(
    runs: list[ProjectRun],
    store: Store,
    client: LabelStudio,
    running: LocalRun,
    began: float,
    seconds_by_stage: dict[str, float],
    earlier_webhooks: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """demo-summary.json; `earlier_webhooks` are those of earlier runs, which this run's receiver has not counted."""
    webhooks = _webhooks(running.services.receiver_url) + Counter(earlier_webhooks or {})
    projects: dict[str, Any] = {}
    checks: list[dict[str, Any]] = []
    for run in runs:
        found = _project_summary(run, store, read_back(client, run.project_id), webhooks, seconds_by_stage)
        projects[run.project.task_type] = found
        for line in project_checks(found, run.project.at_least, run.project.above_baseline):
            checks.append({**line, "name": f"{run.project.task_type}: {line['name']}"})
    peak = round(running.supervisor.peak_memory_mb(), 0)
    checks.append(check("memory of everything together, MB", peak, f"<= {MEMORY_LIMIT_MB}", peak <= MEMORY_LIMIT_MB))
    return {
        "ok": all(line["ok"] for line in checks),
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_mb": peak,
        "checks": checks,
        "projects": projects,
    }


def _project_summary(
    run: ProjectRun, store: Store, found: ReadBack, webhooks: Counter[int], seconds_by_stage: dict[str, float]
) -> dict[str, Any]:
    ours = {(row.task_id, row.person_id): (row.annotation_id, row.rev_hash) for row in store.labels(run.project_id)}
    served = store.served(run.project_id)
    hidden = {task.task_id for task in store.tasks(run.project_id) if task.role != "pool"}
    trainings = [row for row in trainings_of(store, run.project_id) if row.attempt == 1]
    first, last = run.evaluated.get("first"), run.evaluated.get("last")
    any_of = last or first or {}
    headline = run.agreement["headline"]
    return {
        "title": run.project.title,
        "project_id": run.project_id,
        "tasks": len(found.tasks),
        "tasks_with_prediction": len(found.order),
        "unlabelled": len(found.unlabelled),
        "unlabelled_with_prediction": len(found.unlabelled & found.order.keys()),
        "hidden_with_suggestion": len([task for task in found.unlabelled & hidden if found.shown.get(task)]),
        "labels": len(found.labels),
        "labelled_tasks": len(found.labelled),
        "annotators": found.annotators,
        "model_versions": len(run.versions),
        "served_version": found.served_id,
        "store_served_version": served.serving_id if served else None,
        "holdout_metric": {
            "name": any_of.get("name"),
            "first": first["value"] if first else None,
            "last": last["value"] if last else None,
            "n": any_of.get("n"),
            "n_objects": any_of.get("n_objects"),
            "baseline": any_of.get("baseline"),
        },
        "next_order_kendall_tau": run.order.get("kendall_tau"),
        "served_for_overlap": run.order.get("served_for_overlap"),
        "agreement": {"name": headline["metric"], "value": headline["value"], "basis": run.agreement["basis"],
                      "percent": _metric(run.agreement, "percent_agreement"),
                      "alpha": _metric(run.agreement, "krippendorff_alpha")},
        "exported": {"format": run.project.export, "items": run.exported["items"], "objects": run.exported["objects"]},
        "label_studio_labels": len(found.labels),
        "store_labels": len(ours),
        "differing_labels": sum(1 for key in found.labels.keys() | ours.keys() if found.labels.get(key) != ours.get(key)),
        "webhooks_received": webhooks[run.project_id],
        "trainings": len(trainings),
        "trainings_expected": _expected(run, store, found, trainings),
        "seconds_by_stage": seconds_by_stage,
    }  # fmt: skip


def _metric(agreement: dict[str, Any], name: str) -> float | None:
    """A coefficient of the headline's control, of whatever its units are (tasks, words, boxes)."""
    control = agreement["controls"].get(agreement["headline"]["control"])
    found = [each["value"] for key, each in (control or {"metrics": {}})["metrics"].items() if key.endswith(name)]
    return found[0] if found else None


def _expected(run: ProjectRun, store: Store, found: ReadBack, trainings: list[TrainingRow]) -> int:
    """What the reference model says of the labels' times in Label Studio, up to the pause."""
    counted = {task.task_id for task in store.tasks(run.project_id) if task.role in ("pool", "blind")}
    times = [at for (task, _), at in found.label_times.items() if task in counted]
    totals: list[int] = []
    for row in trainings:
        totals.append((totals[-1] if totals else 0) + row.label_count)
    done = [(row.queued_at, row.finished_at, total) for row, total in zip(trainings, totals, strict=True)]
    return expected_trainings(times, done, run.project.every, run.paused_at or datetime.now(UTC))


def _webhooks(receiver_url: str | None) -> Counter[int]:
    """How many webhooks the receiver has counted for each project; ServiceDown when it does not answer."""
    counts: Counter[int] = Counter()
    if receiver_url is None:
        return counts
    try:
        text = httpx.get(f"{receiver_url}/metrics", timeout=10).text
    except httpx.HTTPError as error:
        raise ServiceDown(f"the webhook receiver at {receiver_url} does not answer") from error
    for project, value in re.findall(r'^labelloop_webhook_events_total\{.*project="(\d+)".*\} (\S+)$', text, re.M):
        counts[int(project)] += int(float(value))
    return counts
