"""What our small HTTP services share: gunicorn around a WSGI app, JSON errors with an id, the secrets of a request."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.errors import DataError, LabelloopError, NotReady, ServiceError, UsageError
from labelloop.label_studio.wiring import SECRET_HEADER
from labelloop.logs import error_fields, logging_config

if TYPE_CHECKING:
    from flask import Flask, Response

__all__ = [
    "SECRET_HEADER",
    "answer_errors_as_json",
    "drain_bodies",
    "is_authorized",
    "is_loopback",
    "json_body",
    "json_response",
    "refusal",
    "run_under_gunicorn",
    "secret_matches",
]

log = logging.getLogger(__name__)

_DRAINED_BYTES = 1024 * 1024


def _same(given: bytes, expected: bytes) -> bool:
    """Whether two secrets are equal; the time it takes tells neither where they differ nor how long one is."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())


def secret_matches(given: str | None, expected: str) -> bool:
    """Whether a header value is the secret, compared in constant time."""
    return given is not None and _same(given.encode(), expected.encode())


def is_authorized(header: str | None, user: str, password: str) -> bool:
    """Whether an Authorization header is `Basic` with user and password, or `Token` or `Bearer` with the password."""
    scheme, _, value = (header or "").strip().partition(" ")
    if scheme.lower() in ("token", "bearer"):
        return _same(value.strip().encode(), password.encode())
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    pair = f"{user}:{password}"
    if pair.isascii():
        return _same(given, pair.encode())
    # Label Studio's client writes Latin-1 where that is possible; curl and browsers write UTF-8.
    return any(_same(given, pair.encode(name, "backslashreplace")) for name in ("utf-8", "latin-1"))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that is bound to `host`; False for a name that may be any address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def json_response(body: Any, status: int = 200) -> Response:
    """A Flask response with `body` as JSON; numbers that are not finite become null."""
    from flask import Response

    try:
        text = orjson.dumps(body)
    except TypeError:  # half of a surrogate pair in a text, which has no UTF-8 and can only be escaped
        text = json.dumps(body).encode()
    return Response(text, status=status, mimetype="application/json")


def json_body() -> Any:
    """The current request's JSON, whatever content type it says; UsageError when it is none."""
    from flask import request

    data = request.get_data(cache=False)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:  # Python's own JSON, as Label Studio writes it, may hold NaN and half of a surrogate pair
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("expected a JSON body") from error


def refusal(message: str, status: int, *, error: BaseException | None = None, **fields: Any) -> Response:
    """An error as JSON: `error`, `fields`, and an `error_id` that the log line of this refusal carries, too."""
    from flask import request

    error_id = uuid.uuid4().hex[:12]
    said = error_fields(error) if error is not None else {"why": message}
    log.log(
        logging.ERROR if status == 500 else logging.WARNING,
        "request failed" if status >= 500 else "request refused",
        extra={"error_id": error_id, "status": status, "path": request.path[:200], **said},
    )
    response = json_response({"error": message, "error_id": error_id, **fields}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="labelloop"'
    return response


def _status_of(error: LabelloopError) -> int | None:
    if isinstance(error, UsageError | DataError):
        return 400
    return 503 if isinstance(error, NotReady | ServiceError) else None


def answer_errors_as_json(app: Flask) -> None:
    """Our errors become 400 or 503 with their message, HTTP errors keep their status, all else is a 500; each has an id."""
    from werkzeug.exceptions import HTTPException

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        return refusal(error.description or error.name, error.code or 500)

    @app.errorhandler(Exception)
    def _any(error: Exception) -> Response:
        status = _status_of(error) if isinstance(error, LabelloopError) else None
        if status is not None:
            return refusal(str(error), status)
        return refusal("internal error; look for the error_id in the log", 500, error=error)


def drain_bodies(app: Flask) -> None:
    """Read what a refused request still sends, up to a bound: gunicorn would close the connection under the client."""
    from flask import request

    @app.after_request
    def _drain(response: Response) -> Response:
        if not request.environ.get("wsgi.input_terminated"):  # another server, where a read past the end would wait
            return response
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
        "bind": [f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"],
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
