"""What the people who made a page's annotations were shown: looked up in the store, else copied from Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelloop.label_studio import LabelStudio, ShownPrediction, TaskRow
from labelloop.store import Store
from labelloop.store.shown import UNVERSIONED, Shown, shown_predictions, versions_served

#: Length of the column; Label Studio takes longer names.
SERVING_ID = 128
#: (task, prediction)
Parent = tuple[int, int]


@dataclass(frozen=True)
class WasShown:
    """By (task, prediction) the serving id that was shown, None where it had no regions; and copies not stored yet."""

    serving: dict[Parent, str | None]
    new: list[Shown]


def what_was_shown(store: Store, client: LabelStudio, project_id: int, page: Sequence[TaskRow]) -> WasShown:
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
        for copy in shown_predictions(store, project_id, [prediction for _, prediction in parents])
        if (copy.task_id, copy.ls_prediction_id) in parents
    ]
    unknown = parents - {(copy.task_id, copy.ls_prediction_id) for copy in known}
    new = _copied(store, client, project_id, unknown) if unknown else []
    serving = {
        (copy.task_id, copy.ls_prediction_id): copy.serving_id if copy.result else None for copy in (*known, *new)
    }
    return WasShown(serving, new)


def _copied(store: Store, client: LabelStudio, project_id: int, parents: set[Parent]) -> list[Shown]:
    found = [
        prediction
        for prediction in client.predictions_of(project_id, sorted({task_id for task_id, _ in parents}))
        if (prediction.task_id, prediction.prediction_id) in parents
    ]
    ours = versions_served(store, project_id, {prediction.model_version for prediction in found})
    return [_copy(prediction, ours.get(prediction.model_version)) for prediction in found]


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
