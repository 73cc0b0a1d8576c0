"""What the people who made a page's annotations were shown: looked up in the store, else copied from Label Studio."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from labelloop.errors import ServiceError
from labelloop.label_studio import LabelStudio, ShownPrediction, TaskRow
from labelloop.label_studio.prediction_dump import PredictionDump
from labelloop.logs import error_fields
from labelloop.store import Store
from labelloop.store.shown import UNVERSIONED, Shown, shown_predictions, versions_served

log = logging.getLogger(__name__)

#: Length of the column; Label Studio takes longer names.
SERVING_ID = 128
#: So many unknown predictions of one page raise the question whether all of the project's are cheaper to fetch at once.
MANY = 100
#: The server holds all of them in memory.
MOST_AT_ONCE = 200_000
#: What a task's predictions cost when asked for by task, in predictions of the answer that has them all.
_COST = 6

#: (task, prediction)
Parent = tuple[int, int]


@dataclass(frozen=True)
class WasShown:
    """By (task, prediction) the serving id that was shown, None where it had no regions; and copies not stored yet."""

    serving: dict[Parent, str | None]
    new: list[Shown]


class ShownSource:
    """Tells what was shown; a context, as it may keep a temporary file. `of_all`: every task of the project will come."""

    def __init__(self, store: Store, client: LabelStudio, project_id: int, *, of_all: bool = False) -> None:
        self.store, self.client, self.project_id = store, client, project_id
        self._may_dump = of_all
        self._dump: PredictionDump | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._dump is not None:
            self._dump.close()

    def of(self, page: Sequence[TaskRow]) -> WasShown:
        """Of every prediction that an annotation of the page began from; those that are gone already are absent."""
        parents = {
            (task.task_id, annotation.parent_prediction)
            for task in page
            for annotation in task.annotations
            if annotation.parent_prediction is not None
        }
        if not parents:
            return WasShown({}, [])
        known = [
            copy
            for copy in shown_predictions(self.store, self.project_id, [prediction for _, prediction in parents])
            if (copy.task_id, copy.ls_prediction_id) in parents
        ]
        unknown = parents - {(copy.task_id, copy.ls_prediction_id) for copy in known}
        new = self._copied(unknown, len(page)) if unknown else []
        serving = {
            (copy.task_id, copy.ls_prediction_id): copy.serving_id if copy.result else None for copy in (*known, *new)
        }
        return WasShown(serving, new)

    def _copied(self, parents: set[Parent], of_tasks: int) -> list[Shown]:
        if self._may_dump and len(parents) >= MANY:
            self._may_dump = False
            self._dump = self._dumped(len({task_id for task_id, _ in parents}) / of_tasks)
        found = self._dump.of([prediction for _, prediction in parents]) if self._dump is not None else []
        missing = parents - {(prediction.task_id, prediction.prediction_id) for prediction in found}
        if missing:
            found += self.client.predictions_of(self.project_id, sorted({task_id for task_id, _ in missing}))
        wanted = [prediction for prediction in found if (prediction.task_id, prediction.prediction_id) in parents]
        ours = versions_served(self.store, self.project_id, {prediction.model_version for prediction in wanted})
        return [_copy(prediction, ours.get(prediction.model_version)) for prediction in wanted]

    def _dumped(self, share: float) -> PredictionDump | None:
        """All of the project's predictions, where `share` of the tasks will ask for theirs and that costs more."""
        counts = self.client.counts(self.project_id)
        if not 0 < counts.predictions <= min(MOST_AT_ONCE, _COST * share * counts.tasks):
            return None
        try:
            return self.client.dump_predictions(self.project_id)
        except (ServiceError, ValueError) as error:
            # A server short of memory or time; each task's can still be asked for.
            log.warning("predictions are asked for task by task", extra=error_fields(error))
            return None


def _copy(prediction: ShownPrediction, model_version: str | None) -> Shown:
    name = prediction.model_version[:SERVING_ID] or UNVERSIONED
    return Shown(
        prediction.prediction_id,
        prediction.task_id,
        model_version or name,
        name,
        prediction.created_at,
        prediction.score,
        prediction.result,
    )
