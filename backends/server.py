"""One HTTP server for every backend: the endpoints that stock Label Studio calls, standby, readiness, metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from flask import Flask, Response, request

from backends.answering import Answer, Answering, PlaceLike, read_request
from backends.loaded_models import Loader
from backends.prefetching import Media
from backends.server_metrics import BackendMetrics
from backends.serving import ServedLike, ServedModels
from labelloop.errors import LabelloopError, UsageError
from labelloop.hints import KNOWN_EVENTS, START_TRAINING, HintQueue, HintSender, event_name, project_of
from labelloop.http_serving import (
    SECRET_HEADER,
    answer_errors_as_json,
    drain_bodies,
    is_authorized,
    json_body,
    json_response,
    refusal,
    secret_matches,
)
from labelloop.settings import ServiceSettings

log = logging.getLogger(__name__)

#: A /predict body holds every selected task of a project; a webhook body one annotation, which may carry masks.
MAX_BODY_BYTES = 128 * 1024 * 1024
#: Requests that may be predicted at once; the server's other threads stay free for /health and /setup.
MAX_PREDICTING = 16
#: Standby loads at once: each holds a thread until its model is there.
MAX_PREPARING = 4
THREADS = 28
#: What anybody may ask: that the process lives, and the hint that something changed, which Label Studio's automatic
#: webhook posts without credentials.
OPEN_PATHS = frozenset({"/health", "/readiness", "/webhook"})


class BackendStore(Protocol):
    """The part of `labelloop.store.Store` that a backend needs."""

    def served_by(self, backend: str) -> Sequence[ServedLike]: ...

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> Mapping[int, PlaceLike]: ...

    def median_order_key(self, project_id: int, serving_id: str) -> float: ...

    def hidden_classes(self, project_id: int) -> Mapping[str, Collection[str]]: ...


def create_app(
    backend_name: str,
    loader: Loader,
    store: BackendStore,
    queue: HintQueue,
    settings: ServiceSettings,
    *,
    media: Media | None = None,
    poll: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Flask:
    """The app of one backend; with `poll`, a thread follows the served rows. `media` fetches images, where needed.

    `app.extensions["served_models"]` is its ServedModels.
    """
    metrics = BackendMetrics()
    folder = settings.data / "backends" / backend_name
    models = ServedModels(backend_name, loader, store, folder, clock=clock, on_batch=metrics.note_batch)
    hints = HintSender(queue)
    metrics.watch(models, hints)
    answering = Answering(models, store, media, budget_s=settings.predict_budget_s, clock=clock)
    app = Flask("labelloop.backend", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["served_models"] = models
    app.extensions["hints"] = hints
    app.extensions["answering"] = answering
    answer_errors_as_json(app)
    drain_bodies(app)
    _guard(app, settings)
    _add_predicting(app, backend_name, models, answering, hints, metrics)
    _add_hooks(app, models, hints, metrics, settings)
    _add_operations(app, backend_name, models, metrics, settings)
    if poll:
        models.start()
    return app


# -- who may ask -------------------------------------------------------------------------------------------------------


def _has_login(settings: ServiceSettings) -> bool:
    """Whether the request carries the backend's user and password, or its password as a token."""
    login = settings.backend_login
    return login is not None and is_authorized(request.headers.get("Authorization"), *login)


def _has_secret(settings: ServiceSettings) -> bool:
    """Whether the request carries the secret that labelloop's own processes share."""
    secret = settings.webhook_secret
    return secret is not None and secret_matches(request.headers.get(SECRET_HEADER), secret.get_secret_value())


def _guard(app: Flask, settings: ServiceSettings) -> None:
    """With a backend password, every path that is not open asks for it or for the secret."""
    if settings.backend_login is None:
        return

    @app.before_request
    def check() -> Response | None:
        if request.path in OPEN_PATHS or _has_login(settings) or _has_secret(settings):
            return None
        return refusal(
            "expected the backend's credentials: Authorization: Basic with user and password, or Token with the "
            "password; in Label Studio, the ML backend needs its authentication set",
            401,
        )


def _own_call(settings: ServiceSettings) -> Response | None:
    """None when the request carries a credential; else the answer to give. Such calls are never open to everybody."""
    if _has_login(settings) or _has_secret(settings):
        return None
    if settings.webhook_secret is None and settings.backend_login is None:
        return refusal("no secret is configured; set LABELLOOP_WEBHOOK_SECRET or LABELLOOP_BACKEND_PASSWORD", 403)
    return refusal(f"the header {SECRET_HEADER} or Authorization is missing or wrong", 401)


# -- predicting ----------------------------------------------------------------------------------------------------------


def _add_predicting(
    app: Flask,
    backend_name: str,
    models: ServedModels,
    answering: Answering,
    hints: HintSender,
    metrics: BackendMetrics,
) -> None:
    free = threading.BoundedSemaphore(MAX_PREDICTING)

    @app.post("/setup")
    def setup() -> Response:
        body = json_body()
        row = models.row(project_of(body.get("project") if isinstance(body, dict) else None))
        return json_response({"model_version": row.serving_id if row else f"{backend_name}-none"})

    @app.get("/versions")
    def versions() -> Response:
        return json_response({"versions": models.serving_ids() or [f"{backend_name}-none"]})

    @app.post("/predict")
    def predict() -> Response:
        if not free.acquire(blocking=False):  # Label Studio stores nothing on a 503 and asks again another time
            metrics.busy.inc()
            return refusal(f"{MAX_PREDICTING} requests are being predicted; try again later", 503)
        started = time.monotonic()
        try:
            asked = read_request(json_body())
            answers = answering.answer(asked)
        finally:
            free.release()
        seconds = time.monotonic() - started
        reasons = _counted(answers)
        metrics.note_request(reasons, seconds)
        log.info("predicted", extra={"project": asked.project_id, "reasons": reasons, "seconds": round(seconds, 3)})
        if "deadline" in reasons and asked.project_id is not None:
            hints.give("predict", asked.project_id)
        results = [_entry(each, asked.is_interactive) for each in answers]
        return json_response({"results": results, "reasons": [each.reason for each in answers]})


def _entry(answer: Answer, is_interactive: bool) -> Any:
    """An entry of `results`; for a task that had no turn an empty list, for which Label Studio stores nothing.

    It would store an empty prediction for good, never ask again, and show it before the one that a job pushes.
    """
    return [] if answer.reason == "deadline" and not is_interactive else answer.as_json()


def _counted(answers: Sequence[Answer]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for answer in answers:
        counts[answer.reason] = counts.get(answer.reason, 0) + 1
    return counts


# -- hooks -------------------------------------------------------------------------------------------------------------


def _add_hooks(
    app: Flask, models: ServedModels, hints: HintSender, metrics: BackendMetrics, settings: ServiceSettings
) -> None:
    def give(action: str, project_id: int) -> None:
        hints.give("train" if action == START_TRAINING else "reconcile", project_id)

    @app.post("/webhook")
    def webhook() -> Response:
        # An event is only a hint, and Label Studio's automatic webhook has no headers: it is taken without a
        # credential, but from strangers only for projects that are served here, and never to start a training.
        known = _has_login(settings) or _has_secret(settings)
        if SECRET_HEADER in request.headers and not known:
            return refusal(f"the header {SECRET_HEADER} is wrong", 401)
        body = json_body()
        action = event_name(body)
        if action is None:
            raise UsageError("expected an event: a JSON object with the key 'action'")
        guarded = settings.backend_login is not None and not known
        if guarded and action == START_TRAINING:
            return refusal("expected the backend's credentials with START_TRAINING", 401)
        metrics.events.labels(action if action in KNOWN_EVENTS else "unknown").inc()
        project_id = project_of(body.get("project"))
        accepted = project_id is not None and (not guarded or models.knows(project_id))
        if accepted and project_id is not None:
            give(action, project_id)
        return json_response({"accepted": accepted}, 202)

    @app.post("/train")
    def train() -> Response:
        if refused := _own_call(settings):
            return refused
        body = json_body()
        project_id = project_of(body.get("project") if isinstance(body, dict) else None)
        if project_id is None:
            raise UsageError('expected {"project": id}')
        give(START_TRAINING, project_id)
        return json_response({"accepted": True}, 202)


# -- operations --------------------------------------------------------------------------------------------------------


def _ready_request() -> tuple[int, str, str, str]:
    body = json_body()
    project_id = project_of(body.get("project")) if isinstance(body, dict) else None
    texts = [body.get(key) for key in ("model_version", "path", "digest")] if isinstance(body, dict) else []
    if project_id is None or not all(isinstance(text, str) and text for text in texts):
        raise UsageError('expected {"project": id, "model_version": "…", "path": "…", "digest": "…"}')
    return project_id, str(texts[0]), str(texts[1]), str(texts[2])


def _add_operations(
    app: Flask, backend_name: str, models: ServedModels, metrics: BackendMetrics, settings: ServiceSettings
) -> None:
    free = threading.BoundedSemaphore(MAX_PREPARING)

    @app.get("/health")
    def health() -> Response:
        return json_response({"status": "UP", "backend": backend_name})

    @app.get("/readiness")
    def readiness() -> Response:
        reasons = models.not_ready()
        told = reasons if settings.backend_login is None or _has_login(settings) or _has_secret(settings) else []
        if reasons:
            return refusal("not ready", 503, ready=False, reasons=told)
        return json_response({"ready": True, "reasons": []})

    @app.post("/ready")
    def ready() -> Response:
        if refused := _own_call(settings):
            return refused
        project_id, version, path, digest = _ready_request()
        if not free.acquire(blocking=False):
            return refusal("busy", 503, ready=False, reason=f"{MAX_PREPARING} versions are being loaded; ask again")
        try:
            models.prepare(project_id, version, path, digest)
        except LabelloopError as error:
            return refusal("not ready", 503, error=error, ready=False, reason=str(error))
        except Exception as error:  # whatever a model's library raises: the caller gets its kind, the log the places
            reason = f"loading {version} failed with {type(error).__name__}; see the backend's log"
            return refusal("not ready", 503, error=error, ready=False, reason=reason)
        finally:
            free.release()
        return json_response({"ready": True, "model_version": version, "digest": digest})

    @app.get("/metrics")
    def numbers() -> Response:
        return Response(metrics.text(), mimetype="text/plain; version=0.0.4")

    @app.get("/")
    def about() -> Response:
        return json_response(
            {"service": "labelloop backend", "backend": backend_name, "serving": models.serving_ids(), "status": "UP"}
        )
