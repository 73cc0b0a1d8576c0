"""Threads that fetch a request's media, and decode it where a backend can, while the model computes earlier tasks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backends.gathering import Gathering
from backends.loaded_models import LoadedModel
from backends.predicting import media_use_of
from backends.turns import Turns
from labelloop.label_config import LabelConfig
from labelloop.logs import error_fields
from labelloop.task_items import MediaUse, task_item
from labelloop.values import Outcome, TaskItem

log = logging.getLogger(__name__)

THREADS = 8


class Media(Protocol):
    """Fetches a task's media; MediaError with a reason code."""

    def fetch(self, address: str) -> Path: ...


@dataclass(frozen=True)
class _Piece:
    gathering: Gathering
    index: int
    task: Mapping[str, Any]
    config: LabelConfig
    model: LoadedModel


def task_id_of(task: Mapping[str, Any]) -> int | None:
    """The id of a task as /predict carries it; None when it is none."""
    found = task.get("id")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def read_task(
    task: Mapping[str, Any], config: LabelConfig, fetch: Callable[[str], Path] | None, media_use: MediaUse
) -> TaskItem | Outcome:
    """The task as a model sees it, with its media; or why there is none."""
    data, meta = (found if isinstance(found := task.get(key), dict) else {} for key in ("data", "meta"))
    try:
        return task_item(task_id_of(task), data, config, fetch, meta=meta, media_use=media_use)
    except Exception as error:  # a full disk, a broken cache folder: this task's matter only
        log.error("media not fetched", extra={"task": task_id_of(task), **error_fields(error)})
        return Outcome("error")


class Prefetch:
    """A few threads for all requests; each request gets one task done in turn."""

    def __init__(self, media: Media | None, *, threads: int = THREADS) -> None:
        self._media = media
        self._threads = threads
        self._turns: Turns[_Piece] = Turns()
        self._starting = threading.Lock()
        self._started = False

    def add(
        self, gathering: Gathering, index: int, task: Mapping[str, Any], config: LabelConfig, model: LoadedModel
    ) -> None:
        """Prepare one task in another thread and hand it to its model; what fails goes to the gathering."""
        self._turns.add(gathering, [_Piece(gathering, index, task, config, model)])
        with self._starting:
            if not self._started:  # with the first task, so after a server has forked
                self._started = True
                for number in range(self._threads):
                    threading.Thread(target=self._run, name=f"media-{number}", daemon=True).start()

    def drop(self, gathering: Gathering) -> None:
        """Forget a request's tasks that still wait."""
        self._turns.drop(gathering)

    def _run(self) -> None:
        while True:
            for piece in self._turns.take(1):
                found = self._prepared(piece)
                if isinstance(found, Outcome):
                    piece.gathering.settle([(piece.index, found)])
                else:
                    piece.model.queue.add(piece.gathering, [(piece.index, found)])
                del piece, found  # or the last model stays in memory while the thread waits

    def _prepared(self, piece: _Piece) -> TaskItem | Outcome:
        if piece.gathering.is_late:
            return Outcome("deadline")
        use = media_use_of(piece.model.backend)
        item = read_task(piece.task, piece.config, self._media.fetch if self._media else None, use)
        prepare = getattr(piece.model.backend, "prepare", None)
        if prepare is None or isinstance(item, Outcome) or piece.gathering.is_late:
            return item
        try:
            prepared: TaskItem = prepare(item)
        except Exception as error:  # whatever a decoder raises: the model may still say what is wrong
            log.warning("task not prepared", extra={"task": item.task_id, **error_fields(error)})
            return item
        return prepared
