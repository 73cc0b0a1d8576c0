"""Classes whose suggestions slow people down beyond doubt are shown no longer, until somebody wants them shown again."""

from __future__ import annotations

import logging

from backends.thresholds import without_hidden
from backends.version_labels import Thresholds, thresholds_of
from labelloop.artefacts import fetch_artefact
from labelloop.errors import UsageError
from labelloop.logs import error_fields
from labelloop.store import ProjectRow, Store
from labelloop.store.leases import HeldLease
from labelloop.store.showings import Showing, hidden_classes, last_showings, put_showings
from labelloop.store.types import utc_now
from qa.corrections.labels import ClassOf
from qa.corrections.report import ClassCost, saving_words
from sync.correction_cost import cost_of
from sync.runtime import Runtime

log = logging.getLogger(__name__)

#: Who decides by the figures.
BY_FIGURES = "labelloop"


def shown_thresholds(runtime: Runtime, project: ProjectRow, path: str, digest: str) -> Thresholds:
    """What is shown of a model version: its own thresholds, and of hidden classes nothing."""
    folder = fetch_artefact(path, digest, runtime.services.data.absolute() / "versions")
    return without_hidden(thresholds_of(folder), hidden_classes(runtime.store, project.project_id))


def hide_slow_classes(store: Store, project: ProjectRow, lease: HeldLease) -> list[ClassOf]:
    """Hide the classes that slow people down, under a ranking's lease; those newly hidden.

    A fault in the figures costs nobody the ranking: then everything stays as it is.
    """
    try:
        slow = [each for each in cost_of(store, project, fates=False).classes if each.slows and not each.is_hidden]
    except Exception as error:
        log.exception(
            "what suggestions cost is not known", extra={"project": project.project_id, **error_fields(error)}
        )
        return []
    found = [_hidden(each) for each in slow]
    if found:
        with lease.writing() as connection:
            put_showings(store, connection, project.project_id, found)
    for each in found:
        log.warning(
            "suggestions of a class are shown no longer",
            extra={"project": project.project_id, "class": [each.control, each.class_name], "reason": each.reason},
        )
    return [each.name for each in slow]


def show_again(store: Store, project: ProjectRow, wanted: str) -> list[ClassOf]:
    """Show a class's suggestions again, under every control where they are hidden; UsageError names those that are.

    What led to hiding it is no evidence from now on. Live answers show it at once, predictions in bulk from the next ranking.
    """
    hidden = [key for key, each in last_showings(store, project.project_id).items() if each.verdict == "hidden"]
    found = [key for key in hidden if key[1] == wanted]
    if not found:
        names = ", ".join(sorted(repr(name) for _, name in hidden)) or "none"
        raise UsageError(
            f"--show: suggestions of {wanted!r} are not hidden in project {project.title!r}; hidden: {names}"
        )
    with store.begin() as connection:
        again = [Showing(*key, "shown", "command line", "asked for", utc_now(), {}) for key in found]
        put_showings(store, connection, project.project_id, again)
    return found


def _hidden(found: ClassCost) -> Showing:
    saving = found.saving.to_json()
    return Showing(*found.name, "hidden", BY_FIGURES, f"suggestions {saving_words(saving)} per task", utc_now(), saving)
