"""Answers to one /predict request: roles and order keys from the store, regions from the model, N tasks in, N out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from backends.predicting import predict_each
from backends.serving import LoadedModel, ServedModels, ServedRow
from backends.showing import shown_regions
from labelloop.errors import DataError
from labelloop.hints import project_of
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.logs import error_fields
from labelloop.task_items import task_item
from labelloop.values import UNSHOWN_ROLES, Outcome, Region, TaskItem

log = logging.getLogger(__name__)

#: Order key where nothing is known; a null score would be served first on SQLite.
NO_ORDER_KEY = 0.5
#: Label Studio waits 100 s, gateways before it often 60 s.
BUDGET_S = 50.0
CHUNK = 8


class PlaceLike(Protocol):
    """A task's role, and its order key under one serving id."""

    @property
    def role(self) -> str: ...
    @property
    def order_key(self) -> float | None: ...


class PlaceStore(Protocol):
    """The part of the store that knows where a task stands."""

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> Mapping[int, PlaceLike]: ...

    def median_order_key(self, project_id: int, serving_id: str) -> float: ...


class Media(Protocol):
    """Fetches a task's media; MediaError with a reason code."""

    def fetch(self, address: str) -> Path: ...


@dataclass(frozen=True)
class PredictRequest:
    """What stock Label Studio asks: a project, its label config and the tasks."""

    project_id: int | None
    config: LabelConfig
    tasks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Answer:
    """One entry of `results`; `reason` is "ok" or a key of labelloop.values.REASONS (Label Studio ignores it)."""

    result: tuple[Region, ...]
    score: float
    model_version: str
    reason: str = "ok"

    def as_json(self) -> dict[str, Any]:
        """The entry as it goes on the wire."""
        return {
            "result": list(self.result),
            "score": self.score,
            "model_version": self.model_version,
            "reason": self.reason,
        }


_parsed = lru_cache(maxsize=64)(parse_label_config)


def read_request(body: Any) -> PredictRequest:
    """A /predict body, checked; DataError says which key is wrong."""
    if not isinstance(body, dict):
        raise DataError(f"expected a JSON object with tasks, project and label_config, got {type(body).__name__}")
    tasks, xml = body.get("tasks"), body.get("label_config")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DataError("'tasks' must be a list of tasks as Label Studio sends them")
    if not isinstance(xml, str):
        raise DataError("'label_config' must be the project's label config as text")
    return PredictRequest(project_of(body.get("project")), _parsed(xml), tuple(tasks))


def _task_id(task: Mapping[str, Any]) -> int | None:
    found = task.get("id")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


class Answering:
    """Answers requests; holds what they share: the models, the store, the media and the last medians."""

    def __init__(
        self,
        models: ServedModels,
        store: PlaceStore,
        media: Media | None,
        *,
        budget_s: float = BUDGET_S,
        chunk: int = CHUNK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._store = store
        self._media = media
        self._budget_s = budget_s
        self._chunk = chunk
        self._clock = clock
        self._medians: dict[int, tuple[str, float]] = {}
        self._fetching = ThreadPoolExecutor(4, thread_name_prefix="media")

    def answer(self, request: PredictRequest) -> list[Answer]:
        """One answer per task, in order, within the budget; a task that fails never costs another its result."""
        deadline = self._clock() + self._budget_s
        try:
            current = self._models.current(request.project_id)
        except Exception as error:  # a model that was pushed out of memory does not load again
            log.error("model not loaded", extra={"project": request.project_id, **error_fields(error)})
            current = None
        if current is None:
            none = f"{self._models.backend_name}-none"
            return [Answer((), NO_ORDER_KEY, none, "no_model") for _ in request.tasks]
        row, model = current
        places = self._places(row, request.tasks)
        median = self._median(row, places, request.tasks)
        reasons = [self._forbidden(task, places) for task in request.tasks]
        asked = [index for index, reason in enumerate(reasons) if reason is None]
        outcomes = dict(zip(asked, self._outcomes(model, request, asked, deadline), strict=True))
        answers = []
        for index, task in enumerate(request.tasks):
            place = places.get(_task_id(task) or -1) if places else None
            key = place.order_key if place is not None and place.order_key is not None else median
            regions, reason = self._shown(model, request.config, outcomes.get(index), reasons[index])
            answers.append(Answer(regions, min(1.0, max(0.0, key)), row.serving_id, reason))
        return answers

    # -- roles and order ----------------------------------------------------------------------------------------------

    def _places(self, row: ServedRow, tasks: Sequence[Mapping[str, Any]]) -> Mapping[int, PlaceLike] | None:
        """Places by task id; None when the store cannot say."""
        ids = [found for task in tasks if (found := _task_id(task)) is not None]
        try:
            return self._store.places(row.project_id, row.serving_id, ids)
        except Exception as error:  # every kind of database error: nothing is shown, and the reason says so
            log.warning("roles not known: store not reachable", extra=error_fields(error))
            return None

    def _median(
        self, row: ServedRow, places: Mapping[int, PlaceLike] | None, tasks: Sequence[Mapping[str, Any]]
    ) -> float:
        """The order key of tasks without one; with the store down, the last median of this serving id."""
        known = self._medians.get(row.project_id)
        last = known[1] if known is not None and known[0] == row.serving_id else NO_ORDER_KEY
        if places is None:
            return last
        found = [places.get(_task_id(task) or -1) for task in tasks]
        if all(place is not None and place.order_key is not None for place in found):
            return last
        try:
            median = self._store.median_order_key(row.project_id, row.serving_id)
        except Exception as error:  # as in _places
            log.warning("median order key not known: store not reachable", extra=error_fields(error))
            return last
        self._medians[row.project_id] = (row.serving_id, median)
        return median

    @staticmethod
    def _forbidden(task: Mapping[str, Any], places: Mapping[int, PlaceLike] | None) -> str | None:
        """Why a task may show no suggestion. A task that the store does not know yet may turn out to be holdout."""
        place = places.get(_task_id(task) or -1) if places is not None else None
        if place is None:
            return "role_unknown"
        return "blind" if place.role in UNSHOWN_ROLES else None

    # -- the model ----------------------------------------------------------------------------------------------------

    def _outcomes(
        self, model: LoadedModel, request: PredictRequest, asked: Sequence[int], deadline: float
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for start in range(0, len(asked), self._chunk):
            tasks = [request.tasks[index] for index in asked[start : start + self._chunk]]
            outcomes += self._chunk_outcomes(model, request.config, tasks, deadline)
        return outcomes

    def _chunk_outcomes(
        self, model: LoadedModel, config: LabelConfig, tasks: Sequence[Mapping[str, Any]], deadline: float
    ) -> list[Outcome]:
        late = [Outcome("deadline") for _ in tasks]
        if self._clock() >= deadline:
            return late
        items = self._items(tasks, config, deadline)
        usable = [item for item in items if isinstance(item, TaskItem)]
        if not usable:
            predicted = []
        elif model.lock.acquire(timeout=max(0.0, deadline - self._clock())):
            try:
                predicted = predict_each(model.backend, usable)
            finally:
                model.lock.release()
        else:
            return late
        results = iter(predicted)
        return [next(results) if isinstance(item, TaskItem) else item for item in items]

    def _items(
        self, tasks: Sequence[Mapping[str, Any]], config: LabelConfig, deadline: float
    ) -> list[TaskItem | Outcome]:
        """Each task with its media, several fetched at once; a fetch that the deadline overtakes is not waited for."""
        fetches = [self._fetching.submit(self._item, task, config) for task in tasks]
        wait(fetches, timeout=max(0.0, deadline - self._clock()))
        items: list[TaskItem | Outcome] = []
        for fetch in fetches:
            fetch.cancel()
            items.append(fetch.result() if fetch.done() and not fetch.cancelled() else Outcome("deadline"))
        return items

    def _item(self, task: Mapping[str, Any], config: LabelConfig) -> TaskItem | Outcome:
        """The task as a model sees it, with its media; or why there is none."""
        data = task.get("data")
        data = data if isinstance(data, dict) else {}
        try:
            return task_item(_task_id(task), data, config, self._media.fetch if self._media else None)
        except Exception as error:  # a full disk, a broken cache folder: this task's matter only
            log.error("media not fetched", extra={"task": _task_id(task), **error_fields(error)})
            return Outcome("error")

    @staticmethod
    def _shown(
        model: LoadedModel, config: LabelConfig, outcome: Outcome | None, forbidden: str | None
    ) -> tuple[tuple[Region, ...], str]:
        """What of an outcome people see, and the reason when that is nothing because of a failure."""
        if forbidden is not None or outcome is None:
            return (), forbidden or "error"
        if outcome.status != "ok":
            return (), outcome.status
        shown = shown_regions(outcome, model.thresholds)
        fitting = [region for region in shown if config.problem_with(region) is None]
        if shown and not fitting:
            return (), "class_not_in_config"
        return tuple(fitting), "ok"
