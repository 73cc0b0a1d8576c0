"""The Label Studio region that chooses classes, one shape for every backend; and what regions choose."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

from labelloop.values import Region

REGION_TYPE = "choices"


def choice_region(labels: Sequence[str], score: float | None, control: str, to_name: str) -> Region:
    """The region of a Choices control that chooses `labels`; `score` is the confidence, held to [0, 1].

    Its id follows from the control and the labels.
    """
    key = ":".join((control, *labels))
    region: Region = {
        "id": "c" + hashlib.blake2s(key.encode(), digest_size=5).hexdigest(),
        "from_name": control,
        "to_name": to_name,
        "type": REGION_TYPE,
        "value": {REGION_TYPE: list(labels)},
    }
    if score is not None:
        region["score"] = min(max(float(score), 0.0), 1.0)
    return region


def chosen_classes(result: Iterable[Region], classes: Collection[str], control: str) -> list[str]:
    """The choices of one control that are among `classes`, each once, in the order of the result."""
    found: dict[str, None] = {}
    for region in result:
        if region.get("type") == REGION_TYPE and region.get("from_name") == control:
            chosen = (region.get("value") or {}).get(REGION_TYPE) or ()
            found.update(dict.fromkeys(str(label) for label in chosen if label in classes))
    return list(found)
