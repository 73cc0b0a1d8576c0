"""Choices of a whole task: the classes to one Label Studio region."""

from __future__ import annotations

from collections.abc import Sequence

from backends.choice_regions import choice_region
from labelloop.label_config import Control
from labelloop.values import Region


def choices_to_region(labels: Sequence[str], score: float, control: Control) -> Region:
    """The region that chooses these labels; `score` is the confidence in the least sure of them."""
    return choice_region(labels, score, control.name, control.to_name)
