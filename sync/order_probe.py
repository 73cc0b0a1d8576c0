"""Whether this Label Studio serves tasks in the order that we give them, and why not: of one project, and of the server.

Stock Label Studio follows prediction scores, lowest first, only with uncertainty sampling, only those of the version that
the project names, and a missing score wherever its database sorts nulls. Tasks that somebody has begun come before any
score.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labelloop.label_studio import LabelStudio
from labelloop.store import ProjectRow, Store
from sync.projects import SAMPLING

#: Tasks of the project that the server is tried with: an order by chance is taken for ours once in 40,000 times.
TRIED = 8
_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="probe" toName="text"><Choice value="yes"/>'
    '<Choice value="no"/></Choices></View>'
)
_ANSWER = {"id": "p", "from_name": "probe", "to_name": "text", "type": "choices", "value": {"choices": ["yes"]}}


@dataclass(frozen=True)
class Problem:
    """Why an order is not served: what is so, what that does, and what helps. `fixable`: `fix_order` does it."""

    what: str
    why: str
    fix: str
    fixable: bool = False


@dataclass(frozen=True)
class Probe:
    """What the server served of a project made for this: Kendall's tau with the order that was asked for."""

    served: Sequence[int]
    tau: float

    @property
    def follows(self) -> bool:
        """Whether it is that very order."""
        return self.tau == 1.0


def order_problems(client: LabelStudio, store: Store, project: ProjectRow) -> list[Problem]:
    """What keeps Label Studio from serving a project's order; none when all is well."""
    served = store.served(project.project_id)
    if served is None:
        return [
            Problem(
                "no order is served yet",
                "tasks come as Label Studio likes",
                f"labelloop sync {project.title!r}, with a worker running",
            )
        ]
    found = []
    there = client.get_project(project.project_id)
    if there["sampling"] != SAMPLING:
        found.append(
            Problem(
                f"the project's sampling is {there['sampling']!r}",
                "Label Studio looks at scores only with uncertainty sampling",
                "labelloop prioritize --fix, or Settings > General > Task Sampling",
                fixable=True,
            )
        )
    held = client.count_predictions(project.project_id, served.serving_id)
    if there["model_version"] != served.serving_id:
        found.append(
            Problem(
                f"the project's model version is {there['model_version']!r}, ours is {served.serving_id!r}",
                "scores of another version are not looked at, and tasks come by chance (connecting a backend by hand does this)",
                "labelloop prioritize --fix, or Settings > Predictions",
                fixable=held > 0,
            )
        )
    ranked = store.open_task_ids(project.project_id)
    if held < len(ranked):
        found.append(
            Problem(
                f"{len(ranked)} tasks want labels and {held} have a prediction of {served.serving_id!r}",
                "tasks without one come last",
                f"labelloop prelabel {project.title!r}",
            )
        )
    missing = _without_score(client, project.project_id, served.serving_id, sorted(ranked)) if held else []
    if missing:
        found.append(
            Problem(
                f"{len(missing)} predictions have no score (tasks {', '.join(map(str, missing[:5]))})",
                "SQLite serves them first, PostgreSQL last",
                "labelloop prioritize without --probe pushes a new order with scores",
            )
        )
    return found


def _without_score(client: LabelStudio, project_id: int, serving_id: str, task_ids: Sequence[int]) -> list[int]:
    """Open tasks whose served prediction has no score, of the first thousand."""
    some = task_ids[:1000]
    if not some:
        return []
    rows = client.predictions_held(project_id, serving_id, some[0], some[-1])
    return [task for task, held in rows.items() if any(each.score is None for each in held)]


def fix_order(client: LabelStudio, store: Store, project: ProjectRow) -> list[str]:
    """Set sampling and model version right; what was changed."""
    served = store.served(project.project_id)
    there = client.get_project(project.project_id)
    done = []
    if there["sampling"] != SAMPLING:
        client.update_project(project.project_id, sampling=SAMPLING)
        done.append("sampling")
    if (
        served is not None
        and there["model_version"] != served.serving_id
        and client.count_predictions(project.project_id, served.serving_id)
    ):
        client.set_model_version(project.project_id, served.serving_id)
        done.append("model_version")
    return done


def probe_server(client: LabelStudio, count: int = TRIED) -> Probe:
    """Ask the server for `count` tasks of a project made for this, label each, and delete it; nobody's tasks are touched."""
    from scipy.stats import kendalltau

    title = f"labelloop order probe {secrets.token_hex(4)}"
    project_id = int(client.create_project(title, _CONFIG, description="made by labelloop prioritize --probe")["id"])
    try:
        tasks = client.import_tasks(project_id, [{"data": {"text": f"probe {n}"}} for n in range(count)])
        wanted = random.sample(tasks, len(tasks))
        rows = [
            {"task": task, "result": [], "score": (place + 0.5) / count, "model_version": "probe-r1"}
            for place, task in enumerate(wanted)
        ]
        client.push_predictions(project_id, rows)
        client.set_model_version(project_id, "probe-r1")
        served: list[int] = []
        while (task := client.next_task(project_id)) is not None and len(served) < count:
            served.append(int(task["id"]))
            # A task that is held is served again until it is labelled.
            client.request("POST", f"/api/tasks/{served[-1]}/annotations/", json={"result": [_ANSWER]})
    finally:
        client.delete_project(project_id)
    place_of = {task: place for place, task in enumerate(wanted)}
    places = [place_of[task] for task in served]
    tau = round(float(kendalltau(range(len(places)), places).statistic), 9) if len(places) == count else 0.0
    return Probe(served, tau)


def order_report(
    client: LabelStudio, store: Store, project: ProjectRow, *, probe: bool, fixed: Sequence[str] = ()
) -> dict[str, Any]:
    """What `labelloop prioritize --probe --json` prints."""
    problems = order_problems(client, store, project)
    tried = probe_server(client) if probe else None
    return {
        "project": project.project_id,
        "served": not problems and (tried is None or tried.follows),
        "problems": [asdict(each) for each in problems],
        "fixed": list(fixed),
        "server": None if tried is None else {"tau": tried.tau, "tasks": TRIED, "follows": tried.follows},
    }


def order_text(report: dict[str, Any]) -> str:
    """A line for each problem, and what the server does."""
    lines = [f"set right: {', '.join(report['fixed'])}"] if report["fixed"] else []
    lines += [f"{each['what']}: {each['why']}. Fix: {each['fix']}" for each in report["problems"]]
    server = report["server"]
    if server is not None:
        said = "serves the order that it is given" if server["follows"] else "does not serve the order that it is given"
        lines.append(f"this Label Studio {said} (Kendall's tau {server['tau']:.2f} over {server['tasks']} tasks)")
    if report["served"]:
        lines.append("the project's order is served")
    return "\n".join(lines)
