"""N tasks in, N outcomes out, whatever a model does: a batch that fails is halved until the bad task stands alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from backends.protocols import Backend
from labelloop.logs import error_fields
from labelloop.task_items import MediaUse
from labelloop.values import Outcome, TaskItem

log = logging.getLogger(__name__)

REGIONS_ONLY = frozenset({"regions"})


def predict_each(backend: Backend, items: Sequence[TaskItem], *, want: frozenset[str] = REGIONS_ONLY) -> list[Outcome]:
    """One outcome per item, in order; never raises.

    A batch that raises or miscounts is asked again in two halves (one bad task of 200 costs 16 calls more, not 200),
    and a task that fails alone has the status "error".
    """
    if not items:
        return []
    try:
        outcomes = list(backend.predict(items, want=want))
    except Exception as error:  # whatever the model's library raises
        if len(items) == 1:
            log.error("model failed on a task", extra={"task": items[0].task_id, **error_fields(error)})
            return [Outcome("error", detail=f"the model failed with {type(error).__name__}")]
    else:
        if len(outcomes) == len(items):
            return outcomes
        log.error("model broke its contract", extra={"tasks": len(items), "outcomes": len(outcomes)})
        if len(items) == 1:
            return [Outcome("error", detail=f"the model gave {len(outcomes)} outcomes for one task")]
    middle = len(items) // 2
    return predict_each(backend, items[:middle], want=want) + predict_each(backend, items[middle:], want=want)


def media_use_of(backend: Backend) -> MediaUse:
    """What a model wants of a task's media: all there is to have, unless it says otherwise."""
    use: MediaUse = getattr(backend, "media_use", "needed")
    return use
