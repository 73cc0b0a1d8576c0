"""The webhook receiver: takes Label Studio's events as hints, answers at once, whatever Redis does.

`python -m sync.receiver --host 127.0.0.1 --port 9100` serves it under gunicorn.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from werkzeug.exceptions import RequestEntityTooLarge

from labelloop.errors import LabelloopError, UsageError
from labelloop.hints import KNOWN_EVENTS, START_TRAINING, HintQueue, HintSender, QueueOpenedLater, event_name
from labelloop.http_serving import (
    SECRET_HEADER,
    answer_errors_as_json,
    drain_bodies,
    json_response,
    refusal,
    run_under_gunicorn,
    secret_matches,
)
from labelloop.settings import ServiceSettings, load_settings

log = logging.getLogger(__name__)

#: An event with payload carries one annotation, with its task and project; masks can be large.
MAX_BODY_BYTES = 32 * 1024 * 1024


def create_receiver(queue: HintQueue, settings: ServiceSettings) -> Flask:
    """The receiver's app; SettingsError without a webhook secret."""
    secret = settings.secret()
    hints = HintSender(queue)
    registry = CollectorRegistry()
    events = Counter("labelloop_webhook_events", "Events received", ["action", "project"], registry=registry)
    refused = Counter("labelloop_webhook_refused", "Requests refused", ["why"], registry=registry)
    Gauge("labelloop_hints_failed", "Hints that Redis did not take", registry=registry).set_function(
        lambda: hints.failed
    )
    Gauge("labelloop_hints_waiting", "Hints not yet taken", registry=registry).set_function(lambda: hints.waiting)
    app = Flask("labelloop.receiver", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["hints"] = hints
    answer_errors_as_json(app)
    drain_bodies(app)

    @app.post("/hooks/label-studio/<int:project_id>")
    def hook(project_id: int) -> Response:
        if not secret_matches(request.headers.get(SECRET_HEADER), secret):
            refused.labels("secret").inc()
            return refusal(f"the header {SECRET_HEADER} is missing or wrong", 401)
        try:
            action = event_name(request.get_json(force=True, silent=True))
        except RequestEntityTooLarge:
            # Label Studio never repeats an event, and this one is genuine: something did change.
            refused.labels("too_large").inc()
            hints.give("reconcile", project_id)
            raise
        if action is None:
            refused.labels("no_event").inc()
            raise UsageError("expected an event: a JSON object with the key 'action'")
        events.labels(action if action in KNOWN_EVENTS else "unknown", str(project_id)).inc()
        hints.give("train" if action == START_TRAINING else "reconcile", project_id)
        return json_response({"accepted": True}, 202)

    @app.get("/health")
    def health() -> Response:
        return json_response(
            {"status": "UP", "hints": {"delivered": hints.delivered, "failed": hints.failed, "waiting": hints.waiting}}
        )

    @app.get("/metrics")
    def numbers() -> Response:
        return Response(generate_latest(registry), mimetype="text/plain; version=0.0.4")

    return app


def _open_queue(services: ServiceSettings) -> HintQueue:
    from labelloop.queueing import Queue
    from labelloop.store import open_store

    store = open_store(services.database)
    try:
        return Queue(services.redis_url, store.instance, socket_timeout_s=0.5)
    finally:
        store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; 2 for a wrong setting, with one line that says which."""
    parser = argparse.ArgumentParser(prog="python -m sync.receiver", description="Receive Label Studio's webhooks.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--config", type=Path, default=None, help="labelloop.yaml")
    arguments = parser.parse_args(argv)
    try:
        services = load_settings(arguments.config).services
        services.secret()
    except LabelloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    run_under_gunicorn(
        lambda: create_receiver(QueueOpenedLater(lambda: _open_queue(services)), services),
        arguments.host,
        arguments.port,
        threads=8,
        log_level=services.log_level,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
