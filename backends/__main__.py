"""`python -m backends NAME`: one backend as a process of its own, under gunicorn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends import BACKENDS, backend_module
from labelloop.errors import LabelloopError, SettingsError
from labelloop.settings import ServiceSettings, load_settings


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backends", description="Serve one backend to Label Studio.")
    parser.add_argument("name", help=", ".join(BACKENDS))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--config", type=Path, default=None, help="labelloop.yaml")
    return parser.parse_args(argv)


def make_app(name: str, services: ServiceSettings) -> Any:
    """The backend's Flask app on the real store, queue and Label Studio."""
    from backends.connections import connect
    from backends.server import create_app

    real = connect(name, services)
    return create_app(name, real.loader, real.store, real.queue, services, media=real.media)


def require_credential(host: str, services: ServiceSettings) -> None:
    """SettingsError when other machines could reach the backend and none would be asked for a password."""
    from labelloop.http_serving import is_loopback

    if not is_loopback(host) and services.backend_login is None:
        raise SettingsError(
            f"a backend on {host} can be reached by other machines; set LABELLOOP_BACKEND_PASSWORD or "
            "LABELLOOP_BACKEND_PASSWORD_FILE, or bind it to 127.0.0.1"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; 2 for a wrong name or setting, with one line that says which."""
    from labelloop.http_serving import run_under_gunicorn

    arguments = _arguments(argv)
    try:
        services = load_settings(arguments.config).services
        backend_module(arguments.name)
        require_credential(arguments.host, services)
    except LabelloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    from backends.server import THREADS

    run_under_gunicorn(
        lambda: make_app(arguments.name, services),
        arguments.host,
        arguments.port,
        threads=THREADS,
        log_level=services.log_level,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
