"""`python -m backends NAME`: one backend as a process of its own, under gunicorn."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends import backend_module
from labelloop.errors import LabelloopError, ServiceDown
from labelloop.settings import ServiceSettings, load_settings


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backends", description="Serve one backend to Label Studio.")
    parser.add_argument("name", help="yolo, spacy_nlp or sklearn_text")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--config", type=Path, default=None, help="labelloop.yaml")
    return parser.parse_args(argv)


class StoreOpenedLater:
    """The store, opened at the first question: with it down, a backend starts and serves what it remembers."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._store: Any = None
        self._opening = threading.Lock()

    @property
    def opened(self) -> Any:
        """The store itself; raises whatever opening it raises, and ServiceDown while another thread opens it.

        A database that hangs then holds the thread that polls, and no request.
        """
        if self._store is None:
            if not self._opening.acquire(blocking=False):
                raise ServiceDown("the store is being opened; ask again")
            try:
                from labelloop.store import open_store

                self._store = self._store or open_store(self._database_url)
            finally:
                self._opening.release()
        return self._store

    def served_by(self, backend: str) -> Sequence[Any]:
        """As the store's own."""
        return list(self.opened.served_by(backend))

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> Mapping[int, Any]:
        """As the store's own."""
        return dict(self.opened.places(project_id, serving_id, task_ids))

    def median_order_key(self, project_id: int, serving_id: str) -> float:
        """As the store's own."""
        return float(self.opened.median_order_key(project_id, serving_id))


def _label_studio_headers(services: ServiceSettings) -> Callable[[], Mapping[str, str]]:
    """What opens Label Studio's files; nothing without a token, which a backend for texts does not need."""
    from labelloop.label_studio.connection import Connection

    if services.label_studio_token is None:
        return dict
    return Connection(services.label_studio_url, services.token()).auth_headers


def make_app(name: str, services: ServiceSettings) -> Any:
    """The backend's Flask app on the real store, queue and Label Studio."""
    from backends.server import create_app
    from labelloop.hints import QueueOpenedLater
    from labelloop.media import MediaCache
    from labelloop.queueing import Queue

    module = backend_module(name)
    store = StoreOpenedLater(services.database)
    queue = QueueOpenedLater(lambda: Queue(services.redis_url, store.opened.instance, socket_timeout_s=0.5))
    url, headers = services.label_studio_url, _label_studio_headers(services)
    media = MediaCache(services.data / "media", url, headers, int(services.image_max_mb * 1_000_000))
    return create_app(
        name, lambda folder: module.load(folder, device=services.device), store, queue, services, media=media
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; 2 for a wrong name or setting, with one line that says which."""
    from labelloop.http_serving import run_under_gunicorn

    arguments = _arguments(argv)
    try:
        services = load_settings(arguments.config).services
        backend_module(arguments.name)
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
