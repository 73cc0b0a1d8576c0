"""The models that a backend serves: follows the served rows of the store, keeps local copies, swaps without a gap."""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import orjson

from backends.loaded_models import LoadedModel, LoadedModels, Loader
from labelloop.errors import NotReady
from labelloop.logs import error_fields

log = logging.getLogger(__name__)

#: Seconds that /ready waits for a load; the caller asks again.
PREPARE_S = 240.0


class ServedLike(Protocol):
    """What is read of a served row of the store."""

    @property
    def project_id(self) -> int: ...
    @property
    def backend(self) -> str: ...
    @property
    def model_version(self) -> str: ...
    @property
    def serving_id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def generation(self) -> int: ...


class ServingStore(Protocol):
    """The part of the store that says what is served."""

    def served_by(self, backend: str) -> Sequence[ServedLike]: ...


@dataclass(frozen=True)
class ServedRow:
    """A served row as this process remembers it, also across restarts."""

    project_id: int
    backend: str
    model_version: str
    serving_id: str
    path: str
    digest: str
    generation: int

    @classmethod
    def of(cls, row: ServedLike) -> ServedRow:
        """A copy of a row of the store."""
        return cls(**{each.name: getattr(row, each.name) for each in fields(cls)})


class ServedModels:
    """Per project the last served row that could be loaded, and a bounded number of models in memory.

    `poll` (called by a thread every `poll_s`) looks at the store. A model that does not load leaves the old one in
    place and is tried again after `retry_s`. With the store down, the last rows known stay, also over a restart.
    """

    def __init__(
        self,
        backend_name: str,
        loader: Loader,
        store: ServingStore,
        folder: Path,
        *,
        max_loaded: int = 8,
        max_copies: int = 16,
        poll_s: float = 2.0,
        retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.backend_name = backend_name
        self.folder = folder
        self._store = store
        self._max_copies = max_copies
        self._poll_s = poll_s
        # Held briefly, and never while asking `_models`, which asks `_needed` under its own lock.
        self._state = threading.Lock()
        self._polling = threading.Lock()
        self._wanted: dict[int, ServedRow] | None = None
        self._projects: frozenset[int] = frozenset()
        self._adopted: dict[int, ServedRow] = {}
        self._standby: dict[int, str] = {}
        self._models = LoadedModels(
            loader, folder, self._needed, max_loaded=max_loaded, retry_s=retry_s, clock=clock, on_batch=on_batch
        )
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.store_up = False

    # -- following the store ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Poll in a thread of its own until `stop`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="served-models", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.poll()
            except Exception as error:  # the thread must outlive anything that a model or a disk does
                log.error("poll failed", extra=error_fields(error))
            self._stopped.wait(self._poll_s)

    def poll(self) -> None:
        """Look at the store once, and adopt what is new."""
        with self._polling:
            rows = self._served_rows()
            if rows is None:
                return
            with self._state:
                changed = rows != self._wanted
                self._wanted = rows
                if self.store_up:
                    self._adopted = {project: row for project, row in self._adopted.items() if project in rows}
            if changed and self.store_up:
                self._remember(rows)
            loaded = self._models.digests  # those first: they wait for no other project's load
            for row in sorted(rows.values(), key=lambda row: row.digest not in loaded):
                self._adopt(row)
            if changed:
                self._models.trim()
                self._prune_copies()

    def _served_rows(self) -> dict[int, ServedRow] | None:
        """Rows by project: the store's; when it is down, those known last; None when none ever were."""
        try:
            found = self._store.served_by(self.backend_name)
        except Exception as error:  # every kind of database error; the last served rows stay
            if self.store_up or self._wanted is None:
                log.warning("store not reachable, the last served models stay", extra=error_fields(error))
            self.store_up = False
            return self._remembered() if self._wanted is None else self._wanted
        self.store_up = True
        self._projects = frozenset(row.project_id for row in found)
        # A row without a digest is a project's cold start: an order, and no model to load yet.
        return {row.project_id: ServedRow.of(row) for row in found if row.digest}

    @property
    def _memory(self) -> Path:
        return self.folder / "served.json"

    def _remember(self, rows: Mapping[int, ServedRow]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".served-{uuid.uuid4().hex}"
        partial.write_bytes(orjson.dumps([asdict(row) for row in rows.values()], option=orjson.OPT_INDENT_2))
        partial.replace(self._memory)

    def _remembered(self) -> dict[int, ServedRow] | None:
        try:
            rows = [ServedRow(**row) for row in orjson.loads(self._memory.read_bytes())]
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError, TypeError) as error:
            log.warning("served.json is not readable, starting without it", extra=error_fields(error))
            return None
        return {row.project_id: row for row in rows}

    def _adopt(self, row: ServedRow) -> None:
        if self.row(row.project_id) == row:
            return
        try:
            self._models.require_retry(row.digest)
            model = self._models.load(row.digest, row.path, self._poll_s)
        except (TimeoutError, NotReady):  # it loads on, or failed lately: the next poll looks again
            return
        except Exception as error:  # whatever a model's library raises: the old model stays
            log.error(
                "the old model stays",
                extra={"project": row.project_id, "version": row.model_version, **error_fields(error)},
            )
            return
        with self._state:
            self._adopted[row.project_id] = row
            if self._standby.get(row.project_id) == row.digest:
                del self._standby[row.project_id]
        self._models.keep(model)  # only now is the version before this one no longer needed
        log.info("now serving", extra={"project": row.project_id, "serving_id": row.serving_id})

    def _needed(self) -> set[str]:
        """Digests that are served, wanted or on standby."""
        with self._state:
            rows = [*(self._wanted or {}).values(), *self._adopted.values()]
            return {row.digest for row in rows} | set(self._standby.values())

    # -- models -----------------------------------------------------------------------------------------------------

    def _prune_copies(self) -> None:
        """Delete the oldest local copies that nobody needs, beyond `max_copies`."""
        needed = self._needed() | self._models.digests
        copies = [each for each in self.folder.glob("[0-9a-f]*") if each.is_dir() and len(each.name) == 64]
        spare = sorted((each for each in copies if each.name not in needed), key=lambda each: each.stat().st_mtime)
        for copy in spare[: max(0, len(copies) - self._max_copies)]:
            shutil.rmtree(copy, ignore_errors=True)

    def prepare(self, project_id: int, model_version: str, path: str, digest: str) -> None:
        """Load a version as standby, so that its later promotion costs no second load.

        Raises whatever fetching or loading raises, and NotReady when it takes too long to wait for.
        """
        try:
            model = self._models.load(digest, path, PREPARE_S)
        except TimeoutError as error:
            raise NotReady(f"{model_version} is still loading after {PREPARE_S:.0f} s; ask again") from error
        with self._state:
            self._standby[project_id] = digest
        self._models.keep(model)
        log.info("standby ready", extra={"project": project_id, "version": model_version})

    # -- what is served now -------------------------------------------------------------------------------------------

    def row(self, project_id: int | None) -> ServedRow | None:
        """The row that a project is served from now; instant."""
        with self._state:
            return self._adopted.get(project_id) if project_id is not None else None

    def current(self, project_id: int | None, timeout_s: float | None = None) -> tuple[ServedRow, LoadedModel] | None:
        """Row and model of a project, None when there is none; loads again what the bound has pushed out.

        Raises whatever that raises, NotReady when it failed lately, and TimeoutError while the load goes on.
        """
        while (row := self.row(project_id)) is not None:
            model = self._models.cached(row.digest)
            if model is not None:
                return row, model
            if self.row(project_id) != row:  # swapped in between: the old model is gone, the new one is there
                continue
            self._models.require_retry(row.digest)
            model = self._models.load(row.digest, row.path, timeout_s)
            self._models.keep(model)
            return row, model
        return None

    def knows(self, project_id: int) -> bool:
        """Whether the store had a served row of that project, with or without a model, when it answered last."""
        return project_id in self._projects or self.row(project_id) is not None

    def serving_ids(self) -> list[str]:
        """Every serving id that is answered now, sorted."""
        with self._state:
            return sorted(row.serving_id for row in self._adopted.values())

    @property
    def loaded_count(self) -> int:
        """How many models are in memory."""
        return len(self._models.digests)

    @property
    def load_failures(self) -> int:
        """How many loads have failed."""
        return self._models.failure_count

    def not_ready(self) -> list[str]:
        """Why this backend is not ready, one line per reason; empty when every served model is loaded."""
        with self._state:
            if self._wanted is None:
                return ["what is served is not known yet: the store was not reachable since the first start"]
            waiting = [row for project, row in sorted(self._wanted.items()) if self._adopted.get(project) != row]
        return [
            f"project {row.project_id}, {row.serving_id}: {self._models.failure(row.digest) or 'not loaded yet'}"
            for row in waiting
        ]
