"""One HTTP server for every backend: the endpoints that stock Label Studio calls, standby, readiness, metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from backends.answering import Answer, Answering, Media, PlaceLike, read_request
from backends.serving import Loader, ServedLike, ServedModels
from labelloop.errors import LabelloopError, UsageError
from labelloop.hints import KNOWN_EVENTS, START_TRAINING, HintQueue, HintSender, event_name, project_of
from labelloop.http_serving import SECRET_HEADER, answer_errors_as_json, drain_bodies, json_response, secret_matches
from labelloop.logs import error_fields
from labelloop.settings import ServiceSettings

log = logging.getLogger(__name__)

#: A /predict body holds every selected task of a project; a webhook body one annotation, which may carry masks.
MAX_BODY_BYTES = 128 * 1024 * 1024
#: Requests that may wait for the model at once; the server's other threads stay free for /health and /setup.
MAX_PREDICTING = 6
THREADS = 12


class BackendStore(Protocol):
    """The part of `labelloop.store.Store` that a backend needs."""

    def served_by(self, backend: str) -> Sequence[ServedLike]: ...

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> Mapping[int, PlaceLike]: ...

    def median_order_key(self, project_id: int, serving_id: str) -> float: ...


class BackendMetrics:
    """The numbers of one backend, in a registry of its own."""

    def __init__(self, models: ServedModels, hints: HintSender) -> None:
        self.registry = CollectorRegistry()
        self.tasks = Counter("labelloop_predict_tasks", "Tasks answered, by reason", ["reason"], registry=self.registry)
        self.seconds = Histogram(
            "labelloop_predict_seconds",
            "Seconds per /predict request",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.events = Counter("labelloop_webhook_events", "Events received", ["action"], registry=self.registry)
        self.errors = Counter("labelloop_busy", "Requests refused because all were busy", registry=self.registry)
        self._gauge("labelloop_models_loaded", "Models in memory", lambda: models.loaded_count)
        self._gauge("labelloop_model_load_failures", "Loads that failed", lambda: models.load_failures)
        self._gauge("labelloop_store_up", "1 when the store answered last time", lambda: int(models.store_up))
        self._gauge("labelloop_hints_failed", "Hints that Redis did not take", lambda: hints.failed)
        self._gauge("labelloop_hints_waiting", "Hints not yet taken", lambda: hints.waiting)

    def _gauge(self, name: str, text: str, read: Any) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


def create_app(
    backend_name: str,
    loader: Loader,
    store: BackendStore,
    queue: HintQueue,
    settings: ServiceSettings,
    *,
    media: Media | None = None,
    poll: bool = True,
) -> Flask:
    """The app of one backend; with `poll`, a thread follows the served rows. `media` fetches images, where needed.

    `app.extensions["served_models"]` is its ServedModels.
    """
    models = ServedModels(backend_name, loader, store, settings.data / "backends" / backend_name)
    hints = HintSender(queue)
    metrics = BackendMetrics(models, hints)
    app = Flask("labelloop.backend", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["served_models"] = models
    app.extensions["hints"] = hints
    answer_errors_as_json(app)
    drain_bodies(app)
    _add_predicting(app, backend_name, models, Answering(models, store, media), metrics)
    _add_hooks(app, hints, metrics, settings)
    _add_operations(app, backend_name, models, metrics, settings)
    if poll:
        models.start()
    return app


def _body() -> Any:
    """The request's JSON; UsageError when it is none (so a wrong content type does no harm)."""
    body = request.get_json(force=True, silent=True)
    if body is None:
        raise UsageError("expected a JSON body")
    return body


def _require_secret(settings: ServiceSettings) -> Response | None:
    """None when the request carries the secret; else the answer to give."""
    if settings.webhook_secret is None:
        return json_response({"error": "no secret is configured; set LABELLOOP_WEBHOOK_SECRET"}, 403)
    if not secret_matches(request.headers.get(SECRET_HEADER), settings.webhook_secret.get_secret_value()):
        return json_response({"error": f"the header {SECRET_HEADER} is missing or wrong"}, 401)
    return None


def _add_predicting(
    app: Flask, backend_name: str, models: ServedModels, answering: Answering, metrics: BackendMetrics
) -> None:
    free = threading.BoundedSemaphore(MAX_PREDICTING)

    @app.post("/setup")
    def setup() -> Response:
        row = models.row(project_of(_body().get("project")))
        return json_response({"model_version": row.serving_id if row else f"{backend_name}-none"})

    @app.get("/versions")
    def versions() -> Response:
        return json_response({"versions": models.serving_ids() or [f"{backend_name}-none"]})

    @app.post("/predict")
    def predict() -> Response:
        asked = read_request(_body())
        if not free.acquire(blocking=False):  # Label Studio stores nothing on a 503 and asks again another time
            metrics.errors.inc()
            return json_response({"error": f"{MAX_PREDICTING} requests are being predicted; try again later"}, 503)
        started = time.monotonic()
        try:
            answers = answering.answer(asked)
        finally:
            free.release()
        _note(asked.project_id, answers, time.monotonic() - started, metrics)
        return json_response({"results": [each.as_json() for each in answers]})


def _note(project_id: int | None, answers: Sequence[Answer], seconds: float, metrics: BackendMetrics) -> None:
    counts: dict[str, int] = {}
    for answer in answers:
        counts[answer.reason] = counts.get(answer.reason, 0) + 1
    for reason, count in counts.items():
        metrics.tasks.labels(reason).inc(count)
    metrics.seconds.observe(seconds)
    log.info("predicted", extra={"project": project_id, "reasons": counts, "seconds": round(seconds, 3)})


def _add_hooks(app: Flask, hints: HintSender, metrics: BackendMetrics, settings: ServiceSettings) -> None:
    def give(action: str, project_id: int) -> None:
        hints.give("train" if action == START_TRAINING else "reconcile", project_id)

    @app.post("/webhook")
    def webhook() -> Response:
        # Label Studio makes this webhook itself, without headers, and START_TRAINING has none either: an event is
        # only a hint, so it is taken without the secret; a wrong secret is refused.
        if SECRET_HEADER in request.headers and (refusal := _require_secret(settings)):
            return refusal
        body = _body()
        action = event_name(body)
        if action is None:
            raise UsageError("expected an event: a JSON object with the key 'action'")
        metrics.events.labels(action if action in KNOWN_EVENTS else "unknown").inc()
        project_id = project_of(body.get("project"))
        if project_id is not None:
            give(action, project_id)
        return json_response({"accepted": project_id is not None}, 202)

    @app.post("/train")
    def train() -> Response:
        if refusal := _require_secret(settings):
            return refusal
        body = _body()
        project_id = project_of(body.get("project") if isinstance(body, dict) else None)
        if project_id is None:
            raise UsageError('expected {"project": id}')
        give(START_TRAINING, project_id)
        return json_response({"accepted": True}, 202)


def _ready_request() -> tuple[int, str, str, str]:
    body = _body()
    project_id = project_of(body.get("project")) if isinstance(body, dict) else None
    texts = [body.get(key) for key in ("model_version", "path", "digest")] if isinstance(body, dict) else []
    if project_id is None or not all(isinstance(text, str) and text for text in texts):
        raise UsageError('expected {"project": id, "model_version": "…", "path": "…", "digest": "…"}')
    return project_id, str(texts[0]), str(texts[1]), str(texts[2])


def _add_operations(
    app: Flask, backend_name: str, models: ServedModels, metrics: BackendMetrics, settings: ServiceSettings
) -> None:
    @app.get("/health")
    def health() -> Response:
        return json_response({"status": "UP", "backend": backend_name})

    @app.get("/readiness")
    def readiness() -> Response:
        reasons = models.not_ready()
        return json_response({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.post("/ready")
    def ready() -> Response:
        if refusal := _require_secret(settings):
            return refusal
        project_id, version, path, digest = _ready_request()
        try:
            models.prepare(project_id, version, path, digest)
        except LabelloopError as error:
            return json_response({"ready": False, "reason": str(error)}, 503)
        except Exception as error:  # whatever a model's library raises: the caller gets its kind, the log the places
            log.error("standby not loaded", extra={"version": version, **error_fields(error)})
            reason = f"loading {version} failed with {type(error).__name__}; see the backend's log"
            return json_response({"ready": False, "reason": reason}, 503)
        return json_response({"ready": True, "model_version": version, "digest": digest})

    @app.get("/metrics")
    def numbers() -> Response:
        return Response(metrics.text(), mimetype="text/plain; version=0.0.4")

    @app.get("/")
    def about() -> Response:
        return json_response(
            {"service": "labelloop backend", "backend": backend_name, "serving": models.serving_ids(), "status": "UP"}
        )
