"""The models in memory: a version is loaded once per process, in a thread of its own; what nobody needs goes."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backends.batching import ModelQueue
from backends.protocols import Backend
from backends.version_labels import ControlLabels, Thresholds, read_labels
from labelloop.artefacts import fetch_artefact
from labelloop.errors import LabelloopError, NotReady
from labelloop.logs import error_fields

log = logging.getLogger(__name__)

Loader = Callable[[Path], Backend]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory, what its version answers for, and the queue through which its tasks go."""

    digest: str
    backend: Backend
    controls: tuple[ControlLabels, ...]
    queue: ModelQueue

    @cached_property
    def thresholds(self) -> Thresholds:
        """Show threshold by class by control."""
        return {control.control: control.show_threshold for control in self.controls}


@dataclass(frozen=True)
class _Failure:
    at: float
    reason: str


def _reason(error: BaseException) -> str:
    """Why a load failed, in words that may leave this process."""
    return (
        str(error) if isinstance(error, LabelloopError) else f"loading failed with {type(error).__name__}; see the log"
    )


class LoadedModels:
    """Models by the digest of their artefact, whose verified copies lie in `folder`.

    `needed` names the digests that are served or about to be. Others leave memory at the next `keep`; needed ones only
    when there are more than `max_loaded`, the least recently used first.
    """

    def __init__(
        self,
        loader: Loader,
        folder: Path,
        needed: Callable[[], Set[str]],
        *,
        max_loaded: int = 8,
        retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._loader = loader
        self._folder = folder
        self._needed = needed
        self._max_loaded = max_loaded
        self._retry_s = retry_s
        self._clock = clock
        self._on_batch = on_batch
        self._state = threading.Lock()  # held briefly; guards the three mappings
        self._loading = threading.Lock()  # held while one model is fetched and loaded
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loads: dict[str, Future[LoadedModel]] = {}
        self._failures: dict[str, _Failure] = {}
        self.failure_count = 0

    def cached(self, digest: str) -> LoadedModel | None:
        """The model when it is in memory; it counts as used."""
        with self._state:
            model = self._loaded.get(digest)
            if model is not None:
                self._loaded.move_to_end(digest)
            return model

    def load(self, digest: str, path: str, timeout_s: float | None = None) -> LoadedModel:
        """The model, loaded unless it is there; callers that ask at the same time wait for one and the same load.

        Raises whatever fetching or loading raises, and TimeoutError while the load goes on.
        """
        with self._state:
            model = self._loaded.get(digest)
            if model is not None:
                self._loaded.move_to_end(digest)
                return model
            load = self._loads.get(digest)
            if load is None:
                load = self._loads[digest] = Future()
                threading.Thread(
                    target=self._run, args=(load, digest, path), name=f"load-{digest[:8]}", daemon=True
                ).start()
        return load.result(timeout_s)

    def _run(self, load: Future[LoadedModel], digest: str, path: str) -> None:
        try:
            with self._loading:
                model = self._read(digest, path)
        except BaseException as error:  # whatever a model's library raises; who waits must learn of it
            log.error("model not loaded", extra={"digest": digest[:12], **error_fields(error)})
            with self._state:
                self._failures[digest] = _Failure(self._clock(), _reason(error))
                self.failure_count += 1
                del self._loads[digest]
            load.set_exception(error)
            return
        with self._state:
            self._failures.pop(digest, None)
            self._loaded[digest] = model
            del self._loads[digest]
        load.set_result(model)

    def _read(self, digest: str, path: str) -> LoadedModel:
        started = self._clock()
        copy = fetch_artefact(path, digest, self._folder)
        controls = read_labels(copy)
        backend = self._loader(copy)
        model = LoadedModel(digest, backend, controls, ModelQueue(backend, clock=self._clock, on_batch=self._on_batch))
        log.info(
            "model loaded",
            extra={
                "version": Path(path).name,
                "digest": digest[:12],
                "labels": {control.control: list(control.classes) for control in controls},
                "seconds": round(self._clock() - started, 3),
            },
        )
        return model

    def keep(self, model: LoadedModel) -> None:
        """Hold a model in memory as the most recently used, and `trim`."""
        with self._state:
            self._loaded[model.digest] = model
            self._loaded.move_to_end(model.digest)
        self.trim()

    def trim(self) -> None:
        """Let go of what is needed no more, and of the least recently used models over the bound."""
        with self._state:
            needed = self._needed()
            gone = [digest for digest in self._loaded if digest not in needed]
            over = len(self._loaded) - len(gone) - self._max_loaded
            gone += [digest for digest in self._loaded if digest in needed][: max(0, over)]
            released = [self._loaded.pop(digest) for digest in gone]
            self._failures = {digest: failure for digest, failure in self._failures.items() if digest in needed}
        for each in released:
            log.info("model unloaded", extra={"digest": each.digest[:12]})
            each.queue.rest()

    def failure(self, digest: str) -> str | None:
        """Why the last load of a version failed, or None."""
        with self._state:
            failure = self._failures.get(digest)
            return failure.reason if failure is not None else None

    def require_retry(self, digest: str) -> None:
        """NotReady with the reason when a load failed so lately that another one would be too early."""
        with self._state:
            failure = self._failures.get(digest)
        if failure is not None and self._clock() - failure.at < self._retry_s:
            raise NotReady(failure.reason)

    @property
    def digests(self) -> set[str]:
        """What is in memory."""
        with self._state:
            return set(self._loaded)
