"""Tabs of the review workflow in Label Studio's Data Manager: each selects tasks by a marker prediction of its own version."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from labelloop.errors import ServiceError, UsageError
from labelloop.label_studio import LabelStudio
from labelloop.label_studio.views import selects
from sync.runtime import Runtime

NEEDS_REVIEW, DISAGREEMENT, APPROVED = "needs review", "disagreement", "approved"
_TITLES = {NEEDS_REVIEW: "Needs review", DISAGREEMENT: "Disagreement", APPROVED: "Approved"}
#: The marker of one reviewer's tab; the account's id follows.
OF_REVIEWER = "to review by "
#: So many surplus markers are deleted one by one (0.07 s each); more of them, all at once, and the rest written anew.
ONE_BY_ONE = 200


@dataclass(frozen=True)
class Reviewer:
    """An account that reviews."""

    person_id: int
    name: str

    @property
    def marker(self) -> str:
        return f"{OF_REVIEWER}{self.person_id}"

    @property
    def title(self) -> str:
        return f"Needs review ({self.name})"


@dataclass
class Marked:
    """The tasks of each tab: those to review with the people who must not (they labelled them), and new numbers of people."""

    review: dict[int, frozenset[int]] = field(default_factory=dict)
    disagreement: set[int] = field(default_factory=set)
    approved: set[int] = field(default_factory=set)
    overlap: dict[int, int] = field(default_factory=dict)


def is_marker(version: str) -> bool:
    """Whether a prediction's version is a mark of ours, and says nothing of its task's answer."""
    return version in _TITLES or version.startswith(OF_REVIEWER)


def reviewers_of(runtime: Runtime, wanted: Sequence[str]) -> list[Reviewer]:
    """The accounts with these e-mail addresses or ids; UsageError names one that Label Studio does not know."""
    if not wanted:
        return []
    people = runtime.client.people()
    found = []
    for each in dict.fromkeys(wanted):
        known = [p for p in people if each.casefold() == p.email.casefold() or each == str(p.person_id)]
        if not known:
            raise UsageError(f"no account {each!r} in Label Studio: name a reviewer by e-mail address or id")
        found.append(Reviewer(known[0].person_id, known[0].name or known[0].email))
    return list(dict.fromkeys(found))


def bring_tabs(
    runtime: Runtime,
    project_id: int,
    marked: Marked,
    reviewers: Sequence[Reviewer],
    scope: Collection[int] | None,
    check: Callable[[], None],
) -> dict[str, int]:
    """Bring tabs and markers to what is wanted; how many tasks each tab has, by title.

    `scope` keeps to some tasks and leaves the markers of others. Only differences are written. `check` is called before each
    write and may raise.
    """
    client = runtime.client
    wanted: dict[str, tuple[str, set[int]]] = {
        NEEDS_REVIEW: (_TITLES[NEEDS_REVIEW], set(marked.review)),
        DISAGREEMENT: (_TITLES[DISAGREEMENT], marked.disagreement),
        APPROVED: (_TITLES[APPROVED], marked.approved),
    }
    for reviewer in reviewers:
        tasks = {task_id for task_id, people in marked.review.items() if reviewer.person_id not in people}
        wanted[reviewer.marker] = (reviewer.title, tasks)
    counts = client.model_versions(project_id)
    told = {}
    for marker, (title, tasks) in wanted.items():
        check()
        client.ensure_marked_view(project_id, title, marker)
        told[title] = _bring(client, project_id, marker, tasks, scope, counts.get(marker, 0), check)
    _drop_former(client, project_id, counts, wanted, check)
    return told


def _bring(
    client: LabelStudio,
    project_id: int,
    marker: str,
    tasks: set[int],
    scope: Collection[int] | None,
    count: int,
    check: Callable[[], None],
) -> int:
    """One marker; how many tasks carry it then."""
    held = client.marked_tasks(project_id, marker) if count else set()
    wanted = tasks if scope is None else tasks | (held - set(scope))
    surplus, missing = held - wanted, wanted - held
    if len(surplus) > ONE_BY_ONE or count > len(held):
        check()
        client.delete_model_version(project_id, marker)
        missing = wanted
    elif surplus:
        for prediction in client.predictions_of(project_id, sorted(surplus)):
            if prediction.model_version == marker:
                check()
                _delete(client, prediction.prediction_id)
    if missing:
        check()
        there = [row.task_id for row in client.tasks_by_id(project_id, sorted(missing))]
        rows = [{"task": t, "result": [], "score": 0.0, "model_version": marker} for t in there]
        client.push_predictions(project_id, rows)
    return len(wanted)


def _delete(client: LabelStudio, prediction_id: int) -> None:
    try:
        client.delete_prediction(prediction_id)
    except ServiceError as error:
        if error.status != 404:
            raise


def _drop_former(
    client: LabelStudio, project_id: int, counts: Collection[str], wanted: Collection[str], check: Callable[[], None]
) -> None:
    """Take away the tabs and markers of those who review no longer."""
    for view in client.views(project_id):
        for former in [version for version in _markers(view) if version not in wanted]:
            check()
            if selects(view, former, alone=True):
                client.delete_view(int(view["id"]))
    for version in counts:
        if version.startswith(OF_REVIEWER) and version not in wanted:
            check()
            client.delete_model_version(project_id, version)


def _markers(view: object) -> list[str]:
    data = view.get("data") if isinstance(view, dict) else None
    items = ((data or {}).get("filters") or {}).get("items") or []
    values = [item.get("value") for item in items if isinstance(item.get("value"), list)]
    return [str(each) for value in values for each in value if str(each).startswith(OF_REVIEWER)]
