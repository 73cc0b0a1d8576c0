"""How unsure the entity recogniser is of a text, by the margins of its transitions."""

from __future__ import annotations

from collections.abc import Sequence

_WEIGHTS = (0.6, 0.25, 0.15)


def text_uncertainty(doubts: Sequence[float]) -> float:
    """Uncertainty of a text in 0..1 from the doubts (1 - margin) of its transitions: the three largest, weighted.

    A transition that begins no entity where one nearly began is among them, so a name that was possibly missed counts
    like one that was possibly wrong.
    """
    largest = sorted(doubts, reverse=True)[: len(_WEIGHTS)]
    return float(sum(weight * doubt for weight, doubt in zip(_WEIGHTS, largest, strict=False)))
