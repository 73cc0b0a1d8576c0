"""What a backend stands on, whoever serves it: model loader, store, queue and media, each opened when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends import backend_module
from backends.loaded_models import Loader
from labelloop.errors import ServiceDown
from labelloop.hints import HintQueue, QueueOpenedLater
from labelloop.media import MediaCache
from labelloop.queueing import Queue
from labelloop.settings import ServiceSettings


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

    def hidden_classes(self, project_id: int) -> Mapping[str, frozenset[str]]:
        """By control the classes whose suggestions are shown to nobody."""
        from labelloop.store.showings import hidden_classes

        return hidden_classes(self.opened, project_id)


@dataclass(frozen=True)
class Connections:
    """A backend's loader, and the services that it asks."""

    loader: Loader
    store: StoreOpenedLater
    queue: HintQueue
    media: MediaCache


def connect(name: str, services: ServiceSettings) -> Connections:
    """The connections of the backend of that name; nothing is opened yet. UsageError as `backend_module` raises it."""
    module = backend_module(name)
    store = StoreOpenedLater(services.database)
    return Connections(
        loader=lambda folder: module.load(folder, device=services.device, threads=services.threads),
        store=store,
        queue=QueueOpenedLater(lambda: Queue(services.redis_url, store.opened.instance, socket_timeout_s=0.5)),
        media=MediaCache.of(services, _label_studio_headers(services)),
    )


def _label_studio_headers(services: ServiceSettings) -> Callable[[], Mapping[str, str]]:
    """What opens Label Studio's files; nothing without a token, which a backend for texts does not need."""
    from labelloop.label_studio.connection import Connection

    if services.label_studio_token is None:
        return dict
    return Connection(services.label_studio_url, services.token()).auth_headers
