"""What the command line reports: the services, each project's state, its trainings and versions, and its queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labelloop.errors import DataError, LabelloopError, ServiceDown
from labelloop.services.state import read_state
from labelloop.store import ProjectRow, Store, TrainingRow
from labelloop.store.promotions import predictions_of, promotions_of
from labelloop.store.trainings import last_finished, running_training, trainings_of
from sync.agreement_checks import last_report
from sync.learning_curve import curve_report
from sync.ranking.gathering import stability
from sync.runtime import Runtime
from sync.training_progress import TrainingProgress, progress_of, progress_text
from sync.waiting_labels import waiting

#: Seconds that Redis has to answer a status.
REDIS_TIMEOUT_S = 2.0


def status_report(runtime: Runtime) -> dict[str, Any]:
    """The services that run for this data folder and each project's state.

    `store_problem` and `redis_problem` say why the one cannot be read (then there are no projects) or the other does
    not answer (then `dirty` is unknown); None when all is well.
    """
    state = read_state(runtime.services.data)
    services = [
        {"name": name, "pid": service.pid, "url": service.url, "alive": service.alive()}
        for name, service in (state.services.items() if state else ())
    ]
    store_problem, redis_problem, projects = _projects_status(runtime)
    return {
        "services": services,
        "store_problem": store_problem,
        "redis_problem": redis_problem,
        "projects": projects,
    }


def status_text(report: dict[str, Any]) -> str:
    """A status report: a line per service, then a line per project, then what did not answer."""
    lines = [
        f"{row['name']:18} {row['pid']:8} {row['url'] or ''}{'' if row['alive'] else '  (has ended)'}"
        for row in report["services"]
    ] or ["nothing runs for this data folder; start it: labelloop up"]
    lines += [_status_line(row) for row in report["projects"]]
    if report["store_problem"]:
        lines.append(f"projects: {report['store_problem']}")
    elif not report["projects"]:
        lines.append("projects: none yet; make one: labelloop project create")
    if report["redis_problem"]:
        lines.append(f"redis: {report['redis_problem']}")
    return "\n".join(lines)


def _projects_status(runtime: Runtime) -> tuple[str | None, str | None, list[dict[str, Any]]]:
    from sqlalchemy.exc import SQLAlchemyError

    file = store_file(runtime)
    if file is not None and not file.exists():
        # Opening it would make it.
        return f"no store at {file} yet; `labelloop project create` makes it", None, []
    try:
        rows = runtime.store.projects()
        dirty, progress, redis_problem = _told_by_redis(runtime, rows)
        states = [
            _project_status(runtime, row, dirty.get(row.project_id), progress.get(row.project_id)) for row in rows
        ]
        return None, redis_problem, states
    except LabelloopError as error:
        return str(error), None, []
    except (SQLAlchemyError, OSError) as error:
        return f"the store cannot be read: {str(error).splitlines()[0]}; check LABELLOOP_DATABASE_URL", None, []


def store_file(runtime: Runtime) -> Path | None:
    """The SQLite file of the store; None where a server has it."""
    prefix = "sqlite:///"
    database = runtime.services.database
    return Path(database.removeprefix(prefix)) if database.startswith(prefix) else None


def _told_by_redis(
    runtime: Runtime, projects: Iterable[ProjectRow]
) -> tuple[dict[int, bool], dict[int, TrainingProgress], str | None]:
    """Which projects wait for a reconcile and how far trainings are, by id; or nothing, and why Redis does not tell."""
    from redis.exceptions import RedisError

    from labelloop.queueing import Queue

    try:
        queue = Queue(runtime.services.redis_url, runtime.store.instance, socket_timeout_s=REDIS_TIMEOUT_S)
        dirty = {row.project_id: queue.is_dirty(row.project_id) for row in projects}
        open_rows = [running_training(runtime.store, project_id) for project_id in dirty]
        return dirty, {row.project_id: progress_of(queue, row) for row in open_rows if row is not None}, None
    except (RedisError, ServiceDown, ValueError) as error:
        return {}, {}, f"does not answer ({error}); what waits for a reconcile is not known"


def _project_status(
    runtime: Runtime, project: ProjectRow, dirty: bool | None, progress: TrainingProgress | None
) -> dict[str, Any]:
    store = runtime.store
    running, last = running_training(store, project.project_id), last_finished(store, project.project_id)
    served = store.served(project.project_id)
    return {
        **_progress(store, project),
        **_countdown(runtime, project),
        "task_type": project.task_type,
        "served_version": served.model_version if served else None,
        "serving_id": served.serving_id if served else None,
        "training_paused": project.training_paused,
        "training_running": running.training_id if running else None,
        "training_progress": progress.to_json() if progress else None,
        "last_training": training_report(last) if last else None,
        "dirty": dirty,
        "agreement_alarms": _alarms(runtime, project),
    }


def _countdown(runtime: Runtime, project: ProjectRow) -> dict[str, Any]:
    """Labels until the next training, and the version pinned meanwhile; None where the last dataset is out of reach."""
    every = runtime.project_settings(project).active_learning.retrain_every_n_labels
    try:
        found = waiting(runtime, project)
    except (LabelloopError, OSError):
        return {"labels_since_training": None, "retrain_every_n_labels": every, "pinned_version": None}
    return {
        "labels_since_training": found.labels,
        "retrain_every_n_labels": every,
        "pinned_version": found.pin.model_version if found.pin and found.holds else None,
    }


def countdown_text(row: Mapping[str, Any]) -> str:
    """ "37 of 500 labels until the next training"."""
    pinned = f" ({row['pinned_version']} is pinned)" if row["pinned_version"] else ""
    labels = row["labels_since_training"]
    known = "an unknown number" if labels is None else str(labels)
    return f"{known} of {row['retrain_every_n_labels']} labels until the next training{pinned}"


def _alarms(runtime: Runtime, project: ProjectRow) -> list[dict[str, Any]] | None:
    """Where people agreed too little at the last check; None where there is no report of one."""
    try:
        report = last_report(runtime, project)
    except DataError:
        # The next check measures everything anew; until then nothing is known.
        return None
    return report["alarms"] if report is not None else None


def _status_line(row: dict[str, Any]) -> str:
    running, last = row["training_running"], row["last_training"]
    state = f"training {running} runs or waits" if running else "no training runs"
    if row["training_progress"]:
        state = progress_text(row["training_progress"])
    parts = [
        f"tasks {_counted(row['tasks'])}, labels {_counted(row['labels'])} by {row['people']} people",
        f"serves {row['served_version']} ({row['serving_id']})" if row["serving_id"] else "serves nothing yet",
        countdown_text(row),
        "trainings paused" + (f", {state}" if running else "") if row["training_paused"] else state,
        f"last training {last['outcome']}: {last['reason']}" if last else "not trained yet",
        *(["changes wait for a reconcile"] if row["dirty"] else []),
        *(
            f"people agree too little on {alarm['control']}: {alarm['metric']} {alarm['value']:.2f} below {alarm['threshold']:g}"
            for alarm in row["agreement_alarms"] or ()
        ),
    ]
    return f"{row['project']} {row['title']}: " + "; ".join(parts)


def _counted(roles: dict[str, int]) -> str:
    """ "3 (pool 2, holdout 1)", or "0"."""
    shown = ", ".join(f"{role} {count}" for role, count in roles.items())
    return f"{sum(roles.values())} ({shown})" if roles else "0"


def _progress(store: Store, project: ProjectRow) -> dict[str, Any]:
    labels, tasks = store.labels(project.project_id), store.tasks(project.project_id)
    return {
        "project": project.project_id,
        "title": project.title,
        "tasks": _count(task.role for task in tasks),
        "labels": _count(label.role for label in labels),
        "people": len({label.person_id for label in labels}),
    }


def models_report(runtime: Runtime, project: ProjectRow) -> dict[str, Any]:
    """Every training attempt of a project with its outcome, and what is served."""
    served = runtime.store.served(project.project_id)
    attempts = trainings_of(runtime.store, project.project_id)
    every = runtime.project_settings(project).active_learning.retrain_every_n_labels
    steady = stability(runtime.store, project, served.model_version) if served is not None and served.digest else None
    return {
        "project": project.project_id,
        "title": project.title,
        "backend": project.backend,
        "served_version": served.model_version if served else None,
        "serving_id": served.serving_id if served else None,
        **_countdown(runtime, project),
        "learning": curve_report(attempts, every, steady),
        "trainings": [{**training_report(row), "gate": row.metrics.get("gate")} for row in attempts],
        "promotions": [
            {
                "promotion_id": steps[0].promotion_id,
                "model_version": steps[0].detail["model_version"],
                "steps": {step.step: step.at.isoformat() for step in steps},
            }
            for steps in promotions_of(runtime.store, project.project_id)
        ],
    }


def models_text(report: dict[str, Any]) -> str:
    """A models report as a few lines."""
    lines = [f"served: {report['served_version']} ({report['serving_id']})", countdown_text(report)]
    lines.append(report["learning"]["advice"])
    for row in report["trainings"]:
        value = f"{row['metric']} {row['value']:.3f} on {row['n']}" if row["metric"] else ""
        lines.append(f"{row['version'] or '-':28} {row['outcome'] or 'running':10} {value}  {row['reason']}")
    return "\n".join(lines)


def served_before(runtime: Runtime, project: ProjectRow) -> list[str]:
    """Versions that a project has served and serves no longer, the last one last."""
    served = runtime.store.served(project.project_id)
    return [
        steps[0].detail["model_version"]
        for steps in promotions_of(runtime.store, project.project_id)
        if any(step.step == "served" for step in steps)
        and (served is None or steps[0].detail["model_version"] != served.model_version)
    ]


def training_report(row: TrainingRow) -> dict[str, Any]:
    """One attempt, as the reports have it."""
    candidate = row.metrics.get("candidate") or {}
    champion = row.metrics.get("champion") or {}
    return {
        "training_id": row.training_id,
        "number": row.number,
        "dataset_id": row.dataset_id or None,
        "labels": row.label_count,
        "version": row.candidate,
        "outcome": row.outcome,
        "reason": row.reason,
        "metric": candidate.get("name"),
        "value": candidate.get("value"),
        "baseline": candidate.get("baseline"),
        "n": candidate.get("n"),
        "champion_value": champion.get("value"),
        "queued_at": row.queued_at.isoformat(),
        "started_at": row.started_at.isoformat() if row.started_at else None,
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
    }


def queue_report(runtime: Runtime, project: ProjectRow) -> dict[str, Any]:
    """How far a project is: tasks by role, labels by role, and the served order."""
    store = runtime.store
    served = store.served(project.project_id)
    ranked = predictions_of(store, project.project_id, served.serving_id) if served else []
    return {
        **_progress(store, project),
        "serving_id": served.serving_id if served else None,
        "ranked": len(ranked),
        "training_paused": project.training_paused,
        "dirty": runtime.queue.is_dirty(project.project_id),
    }


def _count(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
