"""How unsure the detector is of an image, by margin."""

from __future__ import annotations

from collections.abc import Sequence

_WEIGHTS = (0.6, 0.25, 0.15)


def detection_doubt(score: float, runner_up: float) -> float:
    """Doubt in one detection, 0..1: near 1 when it may as well be background (score 0.5) or another class.

    `score` is the confidence of its class, `runner_up` that of the next class at the same place. Up to 0.5 the doubt is
    2 * score: a faint detection is a small doubt, whatever its classes. Above, it is the larger of 2 * (1 - score) and
    runner_up / score.
    """
    if score <= 0.5:
        return 2.0 * max(score, 0.0)
    return min(1.0, max(2.0 * (1.0 - score), runner_up / score))


def image_uncertainty(doubts: Sequence[float]) -> float:
    """Uncertainty of an image in 0..1: the three largest doubts of its detections, weighted 0.6, 0.25 and 0.15.

    No detection gives 0.0, not 1.0: with every score below the floor the model is sure that nothing is there. An image
    with faint detections only comes a little above that, one with a detection at 0.5 far above. What a model overlooks
    with confidence no margin can show; the random share of the ordering finds it.
    """
    largest = sorted(doubts, reverse=True)[: len(_WEIGHTS)]
    return float(sum(weight * doubt for weight, doubt in zip(_WEIGHTS, largest, strict=False)))
