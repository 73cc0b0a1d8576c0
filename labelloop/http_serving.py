"""What our small HTTP services share: gunicorn around a WSGI app, JSON errors with an id, the secret header."""

from __future__ import annotations

import hmac
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.errors import DataError, NotReady, ServiceError, UsageError
from labelloop.label_studio.wiring import SECRET_HEADER
from labelloop.logs import error_fields, logging_config

if TYPE_CHECKING:
    from flask import Flask, Response

__all__ = [
    "SECRET_HEADER",
    "answer_errors_as_json",
    "drain_bodies",
    "json_response",
    "run_under_gunicorn",
    "secret_matches",
]

log = logging.getLogger(__name__)

_DRAINED_BYTES = 1024 * 1024


def secret_matches(given: str | None, expected: str) -> bool:
    """Whether a header value is the secret, compared in constant time."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


def json_response(body: Any, status: int = 200) -> Response:
    """A Flask response with `body` as JSON; numbers that are not finite become null."""
    from flask import Response

    return Response(orjson.dumps(body), status=status, mimetype="application/json")


def _status_of(error: Exception) -> int | None:
    if isinstance(error, UsageError | DataError):
        return 400
    return 503 if isinstance(error, NotReady | ServiceError) else None


def answer_errors_as_json(app: Flask) -> None:
    """Our errors become 400 or 503 with their message, HTTP errors keep their status, all else is a 500 with an id."""
    from werkzeug.exceptions import HTTPException

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        return json_response({"error": error.description or error.name}, error.code or 500)

    @app.errorhandler(Exception)
    def _any(error: Exception) -> Response:
        status = _status_of(error)
        if status is not None:
            return json_response({"error": str(error)}, status)
        error_id = uuid.uuid4().hex[:12]
        log.error("unhandled error", extra={"id": error_id, **error_fields(error)})
        return json_response({"error": f"internal error; look for id {error_id} in the log", "id": error_id}, 500)


def drain_bodies(app: Flask) -> None:
    """Read what a refused request still sends, up to a bound: gunicorn would close the connection under the client."""
    from flask import request

    @app.after_request
    def _drain(response: Response) -> Response:
        stream, left = request.environ["wsgi.input"], _DRAINED_BYTES
        while left > 0 and (part := stream.read(min(left, 65536))):
            left -= len(part)
        return response


def run_under_gunicorn(
    make_app: Callable[[], Any], host: str, port: int, *, threads: int = 8, log_level: str = "INFO"
) -> None:
    """Serve the app that `make_app` builds (in the worker, after the fork) until a signal ends this process.

    One worker process with several threads: models and hints live once. Raises SystemExit as gunicorn does.
    """
    from gunicorn.app.base import BaseApplication

    options = {
        "bind": [f"{host}:{port}"],
        "workers": 1,
        "worker_class": "gthread",
        "threads": threads,
        "timeout": 180,
        "graceful_timeout": 10,
        # At its end a gthread worker waits for idle connections as long as for busy ones, until it is killed.
        "keepalive": 0,
        "logconfig_dict": logging_config(log_level),
        # Newer versions open a control socket, at one and the same path for every process of this user.
        "control_socket_disable": True,
    }

    class _Embedded(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for key, value in options.items():
                if key in self.cfg.settings:
                    self.cfg.set(key, value)

        def load(self) -> Any:
            return make_app()

    _Embedded().run()
