"""From which score up a component that scores everything says something: where F1 is best on texts it has not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: As long as too little was judged to choose better: below a half, as what is rare gets low scores for long.
USUAL = 0.3
LEAST = 0.05
_STEPS = np.round(np.arange(LEAST, 0.91, 0.05), 2)
_LEAST_TRUE = 10


def deciding_score(scores: NDArray[np.float64], right: NDArray[np.bool_], true: int) -> float:
    """The score from which up the F1 of scored answers (n,) is highest, given how many there are in truth.

    Of equals the lowest; USUAL while there are fewer than ten in truth, or where nothing is right.
    """
    f1 = [2 * right[scores >= least].sum() / max((scores >= least).sum() + true, 1) for least in _STEPS]
    best = int(np.argmax(f1))
    return float(_STEPS[best]) if true >= _LEAST_TRUE and f1[best] > 0 else USUAL
