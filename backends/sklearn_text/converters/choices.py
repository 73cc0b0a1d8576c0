"""Choices of a whole text: a class to a Label Studio region, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from backends.choice_regions import REGION_TYPE, choice_region
from labelloop.errors import DataError
from labelloop.values import Region


def choice_to_region(label: str, score: float | None, classes: Collection[str], control: str, to_name: str) -> Region:
    """The region that chooses `label`; `score` is its confidence in [0, 1]. DataError when it is none of `classes`."""
    if label not in classes:
        raise DataError(f"class {label!r} is not in the label config; it has {sorted(classes)}")
    return choice_region([label], score, control, to_name)


def chosen_class(result: Iterable[Region], classes: Collection[str], control: str) -> str | None:
    """The first choice of one control that is among `classes`, or None where there is none."""
    for region in result:
        if region.get("type") == REGION_TYPE and region.get("from_name") == control:
            for label in (region.get("value") or {}).get(REGION_TYPE) or ():
                if label in classes:
                    return str(label)
    return None
