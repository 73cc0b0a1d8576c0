"""How near points lie to each other, as object keypoint similarity tells it."""

from __future__ import annotations

import numpy as np

from qa.measures.ratings import Floats

#: Standard deviation of a click, as a share of the diagonal of the image.
SIGMA = 0.05


def point_likeness(first: Floats, second: Floats, diagonal: Floats, sigma: float = SIGMA) -> Floats:
    """exp(-d^2 / (2 (sigma * diagonal)^2)) of points (n, 2) that are d apart, in (0, 1].

    After the object keypoint similarity of COCO's key points, with the image in place of the object: single points have no size.
    It is 0.5 where two are 1.18 sigma of the diagonal apart.
    """
    apart = ((first - second) ** 2).sum(axis=1)
    found: Floats = np.exp(-apart / (2 * (sigma * diagonal) ** 2))
    return found
