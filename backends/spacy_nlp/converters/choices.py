"""Choices of a whole text: the probabilities of a text classifier to one Label Studio region."""

from __future__ import annotations

from collections.abc import Mapping

from backends.choice_regions import choice_region
from labelloop.values import Region

#: From this probability up a class is among several choices, unless a better one was measured.
CHOSEN = 0.5


def choices_region(
    chances: Mapping[str, float], control: str, to_name: str, *, several: bool, least: float = CHOSEN
) -> Region | None:
    """The region of the likeliest class, or with `several` of every class from `least` up; None where there is none.

    Its score is the probability of the class, of several the smallest.
    """
    if several:
        chosen = {name: chance for name, chance in chances.items() if chance >= least}
    else:
        best = max(chances, key=lambda name: chances[name], default=None)
        chosen = {best: chances[best]} if best is not None else {}
    if not chosen:
        return None
    return choice_region(list(chosen), min(chosen.values()), control, to_name)
