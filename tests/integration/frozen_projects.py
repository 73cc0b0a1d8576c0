"""A project in a store with labels made by hand, for the tests of dataset versions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from labelloop.revisions import revision_hash
from labelloop.store import ProjectRow, Store
from labelloop.store.tables import revisions

AT = datetime(2026, 1, 1, tzinfo=UTC)
BOXES = (
    '<View><Image name="i" value="$image"/><RectangleLabels name="l" toName="i"><Label value="cat"/>'
    '<Label value="dog"/></RectangleLabels></View>'
)
CHOICES = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


def put_project(store: Store, xml: str = BOXES, **changes: Any) -> ProjectRow:
    values: dict[str, Any] = {"project_id": 1, "title": "P", "task_type": "bbox", "backend": "yolo", "settings": {}}
    return store.put_project(label_config=xml, **values | changes)


def task(task_id: int, role: str = "pool", **changes: Any) -> dict[str, Any]:
    return {
        "task_id": task_id, "data": {"image": f"/data/{task_id}.png", "text": f"text {task_id}"}, "meta": {"n": task_id},
        "overlap": 1, "content_hash": f"{task_id:064x}", "group_key": f"g{task_id}", "role": role,
    } | changes  # fmt: skip


def box(label: str = "cat", region: str = "r", x: float = 1.0) -> dict[str, Any]:
    value = {"x": x, "y": 2.0, "width": 3.0, "height": 4.0, "rotation": 0, "rectanglelabels": [label]}
    return {"id": region, "from_name": "l", "to_name": "i", "type": "rectanglelabels", "original_width": 100,
            "original_height": 50, "image_rotation": 0, "value": value}  # fmt: skip


def choice(*labels: str) -> dict[str, Any]:
    return {"id": "c", "from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": list(labels)}}


def label(
    task_id: int, person: int, *regions: dict[str, Any], rev: int = 1, at: datetime | None = None, **changes: Any
) -> dict[str, Any]:
    """One revision of one person's label of one task."""
    row = {
        "project_id": 1, "annotation_id": task_id * 100 + person, "task_id": task_id, "rev": rev, "person_id": person,
        "kind": "human", "state": "submitted", "ground_truth": False, "created_at": AT,
        "updated_at": at or AT + timedelta(minutes=task_id, seconds=10 * rev + person), "seen_at": AT, "lead_time_s": 1.5,
        "parent_prediction": None, "shown_serving_id": None, "config_hash": "x", "result": list(regions),
    } | changes  # fmt: skip
    return row | {"rev_hash": revision_hash(row["result"], row["state"], row["ground_truth"])}


def add(store: Store, rows: Iterable[dict[str, Any]]) -> None:
    with store.begin() as connection:
        store.insert_missing(connection, revisions, rows)
