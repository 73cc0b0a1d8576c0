"""A label as the cost of corrections counts it: how long it took, what was suggested, and what became of that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Fate = Literal["accepted", "moved", "relabelled", "added", "deleted"]
FATES: tuple[Fate, ...] = ("accepted", "moved", "relabelled", "added", "deleted")
#: A class under its control, by the names of the label config.
ClassOf = tuple[str, str]


@dataclass(frozen=True)
class CostLabel:
    """One person's label. `model_version` is what suggested something, None for a blind one.

    `classes` are those of the suggestion, of a blind label its own. `seconds` is None where the time is not known, `person_id`
    for a person who was deleted. `hardness` is in [0, 1]: the place of its task among all that were labelled while the same model
    version was served, by how unsure that was of it; None where it said nothing.
    """

    task_id: int
    person_id: int | None
    seconds: float | None
    at: datetime
    model_version: str | None
    classes: frozenset[ClassOf]
    fates: Counter[tuple[ClassOf, Fate]] = field(default_factory=Counter)
    hardness: float | None = None


@dataclass(frozen=True)
class Standing:
    """The last that was decided about showing suggestions of a class."""

    hidden: bool
    at: datetime
    by: str
    reason: str
