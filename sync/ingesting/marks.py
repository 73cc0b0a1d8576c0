"""What ingest writes into a task's meta, and what the store notes of a task: the same, whichever of the two comes first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from labelloop.errors import NotReady
from labelloop.settings import ProjectSettings
from labelloop.store.rows import ProjectRow
from sync.roles import RolePolicy, role_of

META_KEY = "labelloop"
#: The store's column holds no longer group key.
_LONGEST_KEY = 128


def mark_of(meta: Mapping[str, Any]) -> tuple[str, str] | None:
    """(content hash, group key) that ingest wrote into a task's meta, or None for a task that came another way."""
    mark = meta.get(META_KEY)
    if not isinstance(mark, Mapping) or "content" not in mark or "group" not in mark:
        return None
    return str(mark["content"]), str(mark["group"])


def group_key(group: str | None) -> str | None:
    """The key of a group that the source names; a long name is replaced by its hash."""
    if group is None or len(group) <= _LONGEST_KEY:
        return group or None
    return hashlib.sha256(group.encode()).hexdigest()


def task_meta(content: str, group: str, fingerprint: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """The meta of a task to be: the source's own, and the mark.

    The mark has what the next ingest compares with (content, group, fingerprint), the name of the file, the split that
    it came with, and the size of the image as a browser shows it (of several images: their sizes by key).
    """
    mark: dict[str, Any] = {"content": content, "group": group, "fingerprint": fingerprint}
    mark |= {"name": body.get("name"), "split": body.get("split")}
    sized = [medium for medium in body["media"] if medium["size"] is not None]
    if len(sized) == 1:
        mark["width"], mark["height"] = sized[0]["size"]
    elif sized:
        keys = dict.fromkeys(medium["key"] for medium in sized)
        mark["sizes"] = {key: [medium["size"] for medium in sized if medium["key"] == key] for key in keys}
    return {**body["meta"], META_KEY: {key: value for key, value in mark.items() if value is not None}}


def task_record(
    task_id: int, data: Mapping[str, Any], meta: Mapping[str, Any], overlap: int, policy: RolePolicy
) -> dict[str, Any]:
    """The store row of a task as Label Studio has it.

    A task that came another way is its own group, by the hash of its data.
    """
    content, group = mark_of(meta) or (data_hash(data),) * 2
    return {
        "task_id": task_id,
        "data": dict(data),
        "meta": dict(meta),
        "overlap": overlap,
        "content_hash": content,
        "group_key": group,
        "role": role_of(group, policy),
    }


def data_hash(data: Mapping[str, Any]) -> str:
    """SHA-256 of a task's whole data."""
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()


def policy_of(project: ProjectRow, settings: ProjectSettings) -> RolePolicy:
    """The project's role policy; NotReady before its holdout threshold is fixed (by the first ingest)."""
    if project.holdout_threshold is None:
        raise NotReady("this project has no holdout threshold yet; it is fixed when the first tasks come in (ingest)")
    return RolePolicy(
        salt=project.salt,
        holdout_below=project.holdout_threshold,
        blind_share=settings.active_learning.blind_share,
        overlap_share=settings.quality.overlap_share,
        people=settings.quality.min_annotators_per_sample,
    )
