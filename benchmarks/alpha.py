"""Krippendorff's alpha of 1,000,000 units x 5 people with 20% missing, beside the library `krippendorff`."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks._comparison import arguments, in_turn, released, show
from qa.measures.chance import agreement_of
from qa.measures.ratings import ratings_of

UNITS, PEOPLE, VALUES, MISSING = 1_000_000, 5, 4, 0.2
LEVELS: tuple[Literal["nominal", "interval"], ...] = ("nominal", "interval")
TOLERANCE = 1e-9


def judgments(units: int = UNITS, seed: int = 1) -> NDArray[np.float64]:
    """People x units: the true value two times of three, any value otherwise, nan where nobody judged."""
    source = np.random.default_rng(seed)
    truth = source.integers(VALUES, size=units)
    guessed = source.integers(VALUES, size=(PEOPLE, units))
    given = np.where(source.random((PEOPLE, units)) < 2 / 3, truth, guessed).astype(np.float64)
    given[source.random((PEOPLE, units)) < MISSING] = np.nan
    return given


def measure(repeats: int, units: int = UNITS) -> list[dict[str, Any]]:
    """One comparison per level; each side gets the judgments in the form that it takes, made before the clock starts."""
    import krippendorff

    table = judgments(units)
    person, unit = np.nonzero(~np.isnan(table))
    values = table[person, unit]
    found = []
    for level in LEVELS:
        timings = in_turn(
            partial(_ours, unit, person, values, level),
            partial(krippendorff.alpha, table, level_of_measurement=level),
            repeats,
        )
        equal = timings.ours is not None and abs(timings.ours - timings.peer) <= TOLERANCE
        found.append(
            {
                "what": f"alpha, {level}",
                "peer": released("krippendorff"),
                **timings.to_json(),
                "units": units,
                "judgments": len(values),
                "ours_value": timings.ours,
                "peer_value": float(timings.peer),
                "equal": bool(equal),
            }
        )
    return found


def _ours(unit: Any, person: Any, values: Any, level: Literal["nominal", "interval"]) -> float | None:
    """All coefficients of the level; the peer gives alpha alone."""
    return agreement_of(ratings_of(unit, person, values), level, samples=0)["krippendorff_alpha"].coefficient.value


def main() -> None:
    """Print the comparison."""
    given = arguments(__doc__ or "", repeats=5)
    show("alpha", measure(given.repeats), as_json=given.json)


if __name__ == "__main__":
    main()
