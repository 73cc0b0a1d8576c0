"""Choices of a whole task: the classes to one Label Studio region, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from backends.choice_regions import REGION_TYPE, choice_region
from labelloop.label_config import Control
from labelloop.values import Region


def choices_to_region(labels: Sequence[str], score: float, control: Control) -> Region:
    """The region that chooses these labels; `score` is the confidence in the least sure of them."""
    return choice_region(labels, score, control.name, control.to_name)


def chosen_classes(result: Iterable[Region], classes: Collection[str], control: str) -> list[str]:
    """The choices of one control that are among `classes`, each once, in the order of the result."""
    found: dict[str, None] = {}
    for region in result:
        if region.get("type") == REGION_TYPE and region.get("from_name") == control:
            chosen = (region.get("value") or {}).get(REGION_TYPE) or ()
            found.update(dict.fromkeys(str(label) for label in chosen if label in classes))
    return list(found)
