"""Krippendorff's alpha of 1,000,000 units x 5 people with 20% missing, beside the library `krippendorff`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks._comparison import in_turn, released
from qa.measures import patterns_of_table
from qa.measures.chance import agreement_in, agreement_of
from qa.measures.ratings import ratings_of

UNITS, PEOPLE, VALUES, MISSING = 1_000_000, 5, 4, 0.2
TOLERANCE = 1e-9
Level = Literal["nominal", "interval"]


def judgments(units: int = UNITS, seed: int = 1) -> NDArray[np.float64]:
    """People x units: the true value two times of three, any value otherwise, nan where nobody judged."""
    source = np.random.default_rng(seed)
    truth = source.integers(VALUES, size=units)
    guessed = source.integers(VALUES, size=(PEOPLE, units))
    given = np.where(source.random((PEOPLE, units)) < 2 / 3, truth, guessed).astype(np.float64)
    given[source.random((PEOPLE, units)) < MISSING] = np.nan
    return given


def alpha_rows(repeats: int, units: int = UNITS) -> list[dict[str, Any]]:
    """Both sides on the same table, then each on the other forms that either takes."""
    import krippendorff

    table = judgments(units)
    person, unit = np.nonzero(~np.isnan(table))
    values = table[person, unit]

    def peer(level: Level) -> Callable[[], Any]:
        return partial(krippendorff.alpha, reliability_data=table, level_of_measurement=level)

    def peer_counts() -> Any:
        counts = np.stack([(table == value).sum(axis=0) for value in range(VALUES)], axis=1)
        return krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")

    cases: list[tuple[str, Callable[[], float | None], Callable[[], Any], float | None]] = [
        ("alpha, nominal", partial(_of_table, table, "nominal"), peer("nominal"), 10.0),
        ("alpha, interval", partial(_of_table, table, "interval"), peer("interval"), None),
        ("alpha, nominal, peer tallied by hand", partial(_of_table, table, "nominal"), peer_counts, None),
        ("alpha, nominal, ours of a list", partial(_of_list, unit, person, values), peer("nominal"), None),
    ]
    found = []
    for what, ours, theirs, must_be in cases:
        timings = in_turn(ours, theirs, repeats)
        equal = timings.ours is not None and abs(timings.ours - timings.peer) <= TOLERANCE
        found.append(
            {
                "what": what,
                "peer": released("krippendorff"),
                **timings.to_json(),
                "must_be": must_be,
                "units": units,
                "judgments": len(values),
                "ours_value": timings.ours,
                "peer_value": float(timings.peer),
                "equal": bool(equal),
            }
        )
    return found


def _of_table(table: NDArray[np.float64], level: Level) -> float | None:
    """All coefficients of the level; the peer gives alpha alone."""
    return agreement_in(*patterns_of_table(table), level, samples=0)["krippendorff_alpha"].coefficient.value


def _of_list(unit: Any, person: Any, values: Any) -> float | None:
    """The same of one entry per judgment, which have to be named and tallied."""
    return agreement_of(ratings_of(unit, person, values), samples=0)["krippendorff_alpha"].coefficient.value
