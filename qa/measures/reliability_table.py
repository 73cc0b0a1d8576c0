"""Patterns of a reliability table, people x units, counted without naming a judgment: the form that libraries take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qa.measures.ratings import Floats, Ints, Patterns, ratings_of

#: Keys of units are exact integers up to here, and values are exact as floats.
_KEYS, _EXACT = 1 << 62, 1 << 52
#: Units that are read at a time: what is made of them stays in the processor's cache.
_BLOCK = 1 << 14


def patterns_of_table(table: npt.ArrayLike | Sequence[Sequence[object]]) -> tuple[Patterns, npt.NDArray[Any]]:
    """What the units of a table look like, and the names of its values in order: what `qa.measures.chance.agreement_in` takes.

    One row per person and one column per unit, as the library `krippendorff` takes it; nan or None where somebody did not
    judge a unit. Few different whole numbers are counted block by block, everything else goes the way of lists of judgments.
    ValueError where it has not two dimensions.
    """
    given = np.asarray(table)
    if given.dtype.kind == "U" and not isinstance(table, np.ndarray):
        # Texts beside nan: NumPy has made "nan" of it.
        given = np.asarray(table, dtype=object)
    if given.ndim != 2:
        raise ValueError(f"expected a table of people x units, got {given.ndim} dimension(s)")
    if given.dtype.kind in "iuf" and given.size:
        low, high = float(np.fmin.reduce(given, axis=None)), float(np.fmax.reduce(given, axis=None))
        # A difference of nan (nobody judged) or infinity is not below anything.
        if high - low < 1 << 14 and abs(low) < _EXACT and (high - low + 2) ** len(given) < _KEYS:
            keys = _keys(given, low, int(high - low) + 2)
            if keys is not None:
                return _counted(keys, low, int(high - low) + 2, given)
    judged = given == given
    if given.dtype.kind == "O":
        judged &= given != np.array(None)
    people, units = np.nonzero(judged)
    ratings = ratings_of(units, people, given[people, units])
    return ratings.patterns, ratings.value_names


def _keys(table: npt.NDArray[Any], low: float, base: int) -> Ints | None:
    """Of each unit a number whose digits are what the people said, 0 for nothing; None where a value is no whole number."""
    keys = np.empty(table.shape[1], np.int64)
    for start in range(0, table.shape[1], _BLOCK):
        block = np.s_[start : start + _BLOCK]
        # fmax takes the number of two of which one is nan.
        shifted: Floats = np.fmax(np.subtract(table[:, block], low - 1.0, dtype=np.float64), 0.0)
        digits = shifted.astype(np.int16)
        if not (digits == shifted).all():
            return None
        key = keys[block]
        key[:] = digits[0]
        for row in digits[1:]:
            key *= base
            key += row
    return keys


def _counted(keys: Ints, low: float, base: int, table: npt.NDArray[Any]) -> tuple[Patterns, npt.NDArray[Any]]:
    """The patterns behind such numbers, and the values behind their digits, in the table's type."""
    people = len(table)
    if base**people <= 4 * len(keys) + 1024:
        every = np.bincount(keys)
        distinct = np.flatnonzero(every)
        counts = every[distinct]
    else:
        distinct, counts = np.unique(keys, return_counts=True)
    digits = distinct[:, None] // base ** np.arange(people, dtype=np.int64) % base
    # Who said what does not matter from here on: units whose values are the same in order are one pattern.
    digits.sort(axis=1)
    at = np.lexsort(digits.T)
    digits, counts = digits[at], counts[at]
    first = np.concatenate([[True], (digits[1:] != digits[:-1]).any(axis=1)])
    counts, digits = np.add.reduceat(counts, np.flatnonzero(first)), digits[first]
    judged = digits > 0
    some = judged.any(axis=1)
    values = digits[judged]
    there = np.unique(values)
    names = (there + (low - 1)).astype(table.dtype)
    patterns = Patterns(counts[some].astype(np.int64), judged.sum(axis=1)[some], np.searchsorted(there, values))
    return patterns, names
