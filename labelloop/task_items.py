"""A task as a model sees it: its data, with the media that the label config names fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from labelloop.errors import MediaError
from labelloop.label_config import LabelConfig
from labelloop.values import Outcome, TaskItem

Fetch = Callable[[str], Path]
"""Gives the local file of a media address; MediaError with a reason code."""
MediaUse = Literal["needed", "optional", "unused"]
"""What a model wants of a task's media."""


def task_item(
    task_id: int | None,
    data: Mapping[str, Any],
    config: LabelConfig,
    fetch: Fetch | None,
    *,
    meta: Mapping[str, Any] | None = None,
    media_use: MediaUse = "needed",
) -> TaskItem | Outcome:
    """The task with its media, or the outcome that says why none of its media can be had.

    An address that fails stands in `media` with its error, so that a task keeps its other images. A model that reads
    no media gets none, and one that can do without gets a task whose every address has failed.
    """
    meta = meta or {}
    if not config.has_media or media_use == "unused":
        return TaskItem(task_id, data, {}, meta)
    addresses = config.media_addresses(data)
    if (not addresses or fetch is None) and media_use == "optional":
        return TaskItem(task_id, data, {}, meta)
    if not addresses or fetch is None:
        keys = sorted({control.data_key for control in config.controls if control.object_tag == "Image"})
        return Outcome("not_found", detail=f"the task has no image address under {' or '.join(map(repr, keys))}")
    media = {address: _fetched(fetch, address) for address in addresses}
    errors = [found for found in media.values() if isinstance(found, MediaError)]
    if len(errors) == len(media) and media_use == "needed":
        return Outcome(errors[0].reason, detail=str(errors[0]))
    return TaskItem(task_id, data, media, meta)


def _fetched(fetch: Fetch, address: str) -> Path | MediaError:
    try:
        return fetch(address)
    except MediaError as error:
        return error
