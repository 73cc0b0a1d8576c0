"""Answers to one /predict request: roles and order keys from the store, regions from the model, N tasks in, N out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from backends.gathering import Gathering
from backends.loaded_models import LoadedModel
from backends.prefetching import Media, Prefetch, read_task, task_id_of
from backends.serving import ServedModels, ServedRow
from backends.showing import shown_regions
from backends.thresholds import without_hidden
from backends.version_labels import Thresholds
from labelloop.errors import DataError
from labelloop.hints import project_of
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.logs import error_fields
from labelloop.values import UNSHOWN_ROLES, Outcome, Region, TaskItem

log = logging.getLogger(__name__)

#: Order key where nothing is known; a null score would be served first on SQLite.
NO_ORDER_KEY = 0.5
#: Label Studio waits 100 s, gateways before it often 60 s.
BUDGET_S = 50.0
#: Tasks of one request at most; Label Studio sends every selected task of a project in one.
MAX_TASKS = 50_000
#: A serving id's median order key hardly moves: its predictions are written at once.
MEDIAN_S = 30.0
#: Tasks of one request that are being fetched or wait for the model, at least and at most.
AHEAD = (16, 64)


class PlaceLike(Protocol):
    """A task's role, and its order key under one serving id."""

    @property
    def role(self) -> str: ...
    @property
    def order_key(self) -> float | None: ...


class PlaceStore(Protocol):
    """The part of the store that knows where a task stands, and which classes nobody is shown."""

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> Mapping[int, PlaceLike]: ...

    def median_order_key(self, project_id: int, serving_id: str) -> float: ...

    def hidden_classes(self, project_id: int) -> Mapping[str, Collection[str]]: ...


@dataclass(frozen=True)
class PredictRequest:
    """What stock Label Studio asks: a project, its label config and the tasks."""

    project_id: int | None
    config: LabelConfig
    tasks: tuple[Mapping[str, Any], ...]
    is_interactive: bool = False


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
    if len(tasks) > MAX_TASKS:
        raise DataError(
            f"{len(tasks)} tasks in one request, at most {MAX_TASKS} are answered; select fewer, or let "
            "`labelloop prelabel` push the predictions of the whole project"
        )
    if not isinstance(xml, str):
        raise DataError("'label_config' must be the project's label config as text")
    params = body.get("params")
    is_interactive = isinstance(params, dict) and params.get("context") is not None
    return PredictRequest(project_of(body.get("project")), _parsed(xml), tuple(tasks), is_interactive)


@dataclass(frozen=True)
class _Median:
    serving_id: str
    key: float
    at: float


def _forbidden(place: PlaceLike | None) -> str | None:
    """Why a task may show no suggestion. A task that the store does not know yet may turn out to be holdout."""
    if place is None:
        return "role_unknown"
    return "blind" if place.role in UNSHOWN_ROLES else None


class Answering:
    """Answers requests; holds what they share: the models, the store, the media and the last medians."""

    def __init__(
        self,
        models: ServedModels,
        store: PlaceStore,
        media: Media | None,
        *,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._store = store
        self._budget_s = budget_s
        self._clock = clock
        self._medians: dict[int, _Median] = {}
        self._prefetch = Prefetch(media)
        self._looked_at: set[tuple[str, str]] = set()

    def answer(self, request: PredictRequest) -> list[Answer]:
        """One answer per task, in order, within the budget; a task that fails never costs another its result."""
        deadline = self._clock() + self._budget_s
        try:
            current = self._models.current(request.project_id, self._budget_s)
        except TimeoutError:  # pushed out of memory, and waiting its turn to be loaded again
            return self._without_model(request, "deadline")
        except Exception as error:  # a model that was pushed out of memory does not load again
            log.error("model not loaded", extra={"project": request.project_id, **error_fields(error)})
            current = None
        if current is None:
            return self._without_model(request, "no_model")
        row, model = current
        self._look_at(model, request.config)
        ids = [task_id_of(task) for task in request.tasks]
        places = self._places(row, [found for found in ids if found is not None])
        of_tasks = [places.get(found) if places and found is not None else None for found in ids]
        median = self._median(row, places is not None, of_tasks)
        reasons = [_forbidden(place) for place in of_tasks]
        asked = [index for index, reason in enumerate(reasons) if reason is None]
        outcomes = dict(zip(asked, self._outcomes(model, request, asked, deadline), strict=True))
        thresholds = self._thresholds(row, model) if asked else {}
        answers = []
        for index, place in enumerate(of_tasks):
            key = place.order_key if place is not None and place.order_key is not None else median
            regions, reason = self._shown(thresholds, request.config, outcomes.get(index), reasons[index])
            answers.append(Answer(regions, min(1.0, max(0.0, key)), row.serving_id, reason))
        return answers

    def _without_model(self, request: PredictRequest, reason: str) -> list[Answer]:
        row = self._models.row(request.project_id)
        serving_id = row.serving_id if row is not None else f"{self._models.backend_name}-none"
        return [Answer((), NO_ORDER_KEY, serving_id, reason) for _ in request.tasks]

    def _look_at(self, model: LoadedModel, config: LabelConfig) -> None:
        """Say once per version and label config which classes of the version the config does not have."""
        key = (model.digest, config.xml)
        if key in self._looked_at:
            return
        if len(self._looked_at) >= 1000:
            self._looked_at.clear()
        self._looked_at.add(key)
        have = {control.name: set(control.classes) for control in config.controls}
        outside = {
            control.control: [name for name in control.classes if name not in have.get(control.control, ())]
            for control in model.controls
        }
        if any(outside.values()):
            log.warning("classes not in the label config", extra={"digest": model.digest[:12], "classes": outside})

    # -- roles and order ----------------------------------------------------------------------------------------------

    def _places(self, row: ServedRow, ids: Sequence[int]) -> Mapping[int, PlaceLike] | None:
        """Places by task id; None when the store cannot say."""
        try:
            return self._store.places(row.project_id, row.serving_id, ids)
        except Exception as error:  # every kind of database error: nothing is shown, and the reason says so
            log.warning("roles not known: store not reachable", extra=error_fields(error))
            return None

    def _median(self, row: ServedRow, store_up: bool, places: Sequence[PlaceLike | None]) -> float:
        """The order key of tasks without one; with the store down, the last median of this serving id."""
        known = self._medians.get(row.project_id)
        if known is not None and known.serving_id != row.serving_id:
            known = None
        last = known.key if known is not None else NO_ORDER_KEY
        if not store_up or all(place is not None and place.order_key is not None for place in places):
            return last
        if known is not None and self._clock() - known.at < MEDIAN_S:
            return last
        try:
            median = self._store.median_order_key(row.project_id, row.serving_id)
        except Exception as error:  # as in _places
            log.warning("median order key not known: store not reachable", extra=error_fields(error))
            return last
        self._medians[row.project_id] = _Median(row.serving_id, median, self._clock())
        return median

    def _thresholds(self, row: ServedRow, model: LoadedModel) -> Thresholds:
        """What is shown of the model, without the classes that slow people down."""
        try:
            return without_hidden(model.thresholds, self._store.hidden_classes(row.project_id))
        except Exception as error:  # the store went away since the roles were known
            log.warning("hidden classes not known: store not reachable", extra=error_fields(error))
            return model.thresholds

    # -- the model ----------------------------------------------------------------------------------------------------

    def _outcomes(
        self, model: LoadedModel, request: PredictRequest, asked: Sequence[int], deadline: float
    ) -> list[Outcome]:
        """One outcome per asked task, in order; those that the deadline overtakes say so."""
        if not asked:
            return []
        gathering = Gathering(len(asked), deadline, self._clock)
        tasks = [request.tasks[index] for index in asked]
        try:
            if request.config.has_media:
                self._feed(gathering, tasks, request.config, model)
            else:
                found = [read_task(task, request.config, None, "unused") for task in tasks]
                gathering.settle((at, each) for at, each in enumerate(found) if isinstance(each, Outcome))
                model.queue.add(gathering, ((at, each) for at, each in enumerate(found) if isinstance(each, TaskItem)))
            return gathering.close()
        finally:
            self._prefetch.drop(gathering)
            model.queue.drop(gathering)

    def _feed(
        self, gathering: Gathering, tasks: Sequence[Mapping[str, Any]], config: LabelConfig, model: LoadedModel
    ) -> None:
        """Hand tasks to the prefetching threads, only so far ahead of the model that memory stays bounded."""
        least, most = AHEAD
        for at, task in enumerate(tasks):
            if not gathering.begin(max(least, min(most, 2 * model.queue.batch_size))):
                return
            self._prefetch.add(gathering, at, task, config, model)

    @staticmethod
    def _shown(
        thresholds: Thresholds, config: LabelConfig, outcome: Outcome | None, forbidden: str | None
    ) -> tuple[tuple[Region, ...], str]:
        """What of an outcome people see, and the reason when that is nothing because of a failure."""
        if forbidden is not None or outcome is None:
            return (), forbidden or "error"
        if outcome.status != "ok":
            return (), outcome.status
        shown = [config.as_stored(region) for region in shown_regions(outcome, thresholds)]
        fitting = [region for region in shown if config.problem_with(region) is None]
        if shown and not fitting:
            return (), "class_not_in_config"
        return tuple(fitting), "ok"
