"""Choices and Taxonomy: an image's class probabilities to one region."""

from __future__ import annotations

from collections.abc import Mapping

from backends.yolo.converters.frame import Frame
from labelloop.values import Region

CHOICES = "choices"
TAXONOMY = "taxonomy"


def probabilities_to_region(
    probabilities: Mapping[str, float],
    frame: Frame,
    *,
    thresholds: Mapping[str, float] | None = None,
    paths: Mapping[str, tuple[str, ...]] | None = None,
    floor: float = 0.0,
) -> Region | None:
    """The region that names the likeliest class, or with `thresholds` every class that reaches its own.

    Where none does, it names the likeliest class all the same, with its low score. None when no class reaches `floor`.
    The score is that of the likeliest class named. `paths` gives the path of each class of a Taxonomy.
    """
    ranked = sorted(probabilities, key=lambda name: -probabilities[name])
    if not ranked or probabilities[ranked[0]] < floor:
        return None
    chosen = [name for name in probabilities if thresholds and probabilities[name] >= thresholds[name]] or ranked[:1]
    named = [list(paths[name]) for name in chosen] if paths else chosen
    return frame.region("all", {frame.type: named}, max(probabilities[name] for name in chosen))
