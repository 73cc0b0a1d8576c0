"""Choices of a whole text: a class to a Label Studio region, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from labelloop.errors import DataError
from labelloop.values import Region

REGION_TYPE = "choices"


def choice_to_region(label: str, score: float | None, classes: Collection[str], control: str, to_name: str) -> Region:
    """The region that chooses `label`; `score` is its confidence in [0, 1]. DataError when it is none of `classes`."""
    if label not in classes:
        raise DataError(f"class {label!r} is not in the label config; it has {sorted(classes)}")
    region: Region = {
        "id": "c" + hashlib.blake2s(f"{control}:{label}".encode(), digest_size=5).hexdigest(),
        "from_name": control,
        "to_name": to_name,
        "type": REGION_TYPE,
        "value": {REGION_TYPE: [label]},
    }
    if score is not None:
        region["score"] = min(max(float(score), 0.0), 1.0)
    return region


def chosen_class(result: Iterable[Region], classes: Collection[str], control: str) -> str | None:
    """The first choice of one control that is among `classes`, or None where there is none."""
    for region in result:
        if region.get("type") == REGION_TYPE and region.get("from_name") == control:
            for label in (region.get("value") or {}).get(REGION_TYPE) or ():
                if label in classes:
                    return str(label)
    return None
