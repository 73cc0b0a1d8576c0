"""Judgments coded as numbers, who said what of which unit, and the patterns in which they fall.

Most units look like many others: of 2,500,000 units that four people judged by 20 values at most 8,855 are different when it
does not matter who said what. Every coefficient of this package is a sum over these patterns, and so is each of its
bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: One entry per judgment.
Column = Sequence[Any] | NDArray[Any] | pl.Series
#: Keys of patterns are exact up to here, as integers and as floats.
_KEYS, _EXACT = 1 << 62, 1 << 53
#: So many texts are looked at to see how different they are.
_TRIED = 10_000
_NONE: Ints = np.zeros(0, np.int64)
#: Between the members of a set that is one value. No class holds it.
BETWEEN = "\x1f"


@dataclass(frozen=True)
class Patterns:
    """What units look like: `counts[i]` units were judged `sizes[i]` times, with `values[starts[i]:][:sizes[i]]`, in order."""

    counts: Ints
    sizes: Ints
    values: Ints

    @cached_property
    def starts(self) -> Ints:
        """Where the values of each pattern begin."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def owners(self) -> Ints:
        """Of each of `values` the pattern that it belongs to."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


@dataclass(frozen=True)
class Ratings:
    """Judgments in any order: codes from 0, and the names behind the codes, sorted.

    Every value that was possible has a name, also one that nobody gave.
    """

    units: Ints
    raters: Ints
    values: Ints
    unit_names: NDArray[Any]
    rater_names: NDArray[Any]
    value_names: NDArray[Any]

    def __len__(self) -> int:
        return len(self.units)

    @cached_property
    def sizes(self) -> Ints:
        """How many judgments each unit has."""
        return np.bincount(self.units, minlength=len(self.unit_names)).astype(np.int64)

    @cached_property
    def is_repeated(self) -> bool:
        """Whether somebody judged a unit twice."""
        of_rater = np.sort(self.units * max(1, len(self.rater_names)) + self.raters)
        return bool((of_rater[1:] == of_rater[:-1]).any())

    @cached_property
    def starts(self) -> Ints:
        """Where the judgments of each unit begin, in `by_unit`."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def by_unit(self) -> Ratings:
        """The same judgments in order of their units, then values."""
        order = np.argsort(self.units * max(1, len(self.value_names)) + self.values, kind="stable")
        return replace(self, units=self.units[order], raters=self.raters[order], values=self.values[order])

    @cached_property
    def patterns(self) -> Patterns:
        """What its units look like."""
        sizes, k = self.sizes, len(self.value_names)
        base = int(sizes.max(initial=0)) + 1
        if len(self) and base**k <= _EXACT:
            return self._counted(base, k)
        values = self.by_unit.values
        counts, lengths, given = [_NONE], [_NONE], [_NONE]
        for size in np.unique(sizes).tolist():
            often, rows = _distinct(values[self.starts[sizes == size][:, None] + np.arange(size)], max(1, k))
            counts.append(often)
            lengths.append(np.full(len(often), size, np.int64))
            given.append(rows.ravel())
        return Patterns(np.concatenate(counts), np.concatenate(lengths), np.concatenate(given))

    def _counted(self, base: int, k: int) -> Patterns:
        """The patterns from how often each value stands in a unit: digits of a number, so that nothing is sorted."""
        powers = float(base) ** np.arange(k)
        keys = np.bincount(self.units, weights=powers[self.values], minlength=len(self.unit_names)).astype(np.int64)
        if base**k <= 4 * len(keys) + 1024:
            counts = np.bincount(keys)
            distinct = np.flatnonzero(counts)
            counts = counts[distinct]
        else:
            distinct, counts = np.unique(keys, return_counts=True)
        digits = distinct[:, None] // base ** np.arange(k, dtype=np.int64) % base
        values = np.repeat(np.tile(np.arange(k), len(distinct)), digits.ravel())
        return Patterns(counts.astype(np.int64), digits.sum(axis=1), values)

    @cached_property
    def meetings(self) -> tuple[Ints, Ints, Ints]:
        """Every two judgments of a unit by two raters: (code of the pair, value of the lower rater, value of the other).

        The code is the lower rater's times the number of raters, plus the other's.
        """
        ordered = self.by_unit
        units, raters, values = ordered.units, ordered.raters, ordered.values
        pairs, left, right = [_NONE], [_NONE], [_NONE]
        for apart in range(1, int(self.sizes.max(initial=0))):
            here = np.flatnonzero(units[apart:] == units[:-apart])
            here = here[raters[here] != raters[here + apart]]
            turned = raters[here] > raters[here + apart]
            low, high = np.where(turned, here + apart, here), np.where(turned, here, here + apart)
            pairs.append(raters[low] * len(self.rater_names) + raters[high])
            left.append(values[low])
            right.append(values[high])
        return np.concatenate(pairs), np.concatenate(left), np.concatenate(right)


def ratings_of(units: Column, raters: Column, values: Column, *, possible: Sequence[Any] = ()) -> Ratings:
    """Code judgments, one entry each in the three columns; a value of None or nan is no judgment.

    `possible` are values that may have been given, whether they were or not. Texts are coded fastest out of a polars Series,
    numbers out of an array. ValueError when the columns differ in length.
    """
    if not len(units) == len(raters) == len(values):
        raise ValueError(
            f"expected a unit, a rater and a value for each judgment, got {len(units)}, {len(raters)} and {len(values)}"
        )
    given = _given(values)
    if given is not None:
        units, raters, values = (_only(column, given) for column in (units, raters, values))
    unit_codes, unit_names = _coded(units)
    rater_codes, rater_names = _coded(raters)
    value_codes, value_names = _coded(values, possible)
    return Ratings(unit_codes, rater_codes, value_codes, unit_names, rater_names, value_names)


def _given(values: Column) -> NDArray[np.bool_] | None:
    """Which values are judgments; None when all are."""
    if isinstance(values, pl.Series):
        gone = values.is_null()
        if values.dtype.is_float():
            gone |= values.is_nan().fill_null(True)
        return ~gone.to_numpy() if gone.any() else None
    column = np.asarray(values)
    if column.dtype.kind == "f":
        missing = np.isnan(column)
    elif column.dtype.kind == "O":
        missing = np.fromiter((value is None or value != value for value in column), np.bool_, len(column))
    else:
        return None
    return ~missing if missing.any() else None


def _only(column: Column, given: NDArray[np.bool_]) -> Column:
    return column.filter(given) if isinstance(column, pl.Series) else np.asarray(column)[given]


def _coded(column: Column, possible: Sequence[Any] = ()) -> tuple[Ints, NDArray[Any]]:
    """(the place of each entry among the names, the names in order)"""
    if isinstance(column, pl.Series):
        if column.dtype in (pl.String, pl.Categorical, pl.Enum):
            return _coded_texts(column.cast(pl.String), possible)
        column = column.to_numpy()
    given = np.asarray(column)
    count = len(given)
    whole = np.concatenate([given, np.asarray(possible)]) if len(possible) else given
    if not len(whole):
        return np.zeros(0, np.int64), whole
    if whole.dtype.kind == "f" and -_EXACT < float(whole.min()) <= float(whole.max()) < _EXACT:
        numbers = whole.astype(np.int64)
        if (numbers == whole).all():
            codes, names = _coded(numbers)
            return codes[:count], names.astype(whole.dtype)
    if whole.dtype.kind in "iu":
        low, high = int(whole.min()), int(whole.max())
        if high - low <= 4 * len(whole) + 1024:
            shifted = whole.astype(np.int64, copy=False)
            shifted = shifted - low if low else shifted
            there = np.zeros(high - low + 1, np.bool_)
            # Where few are different, some of them tell of all.
            there[shifted[:: 1 + len(shifted) // 10_000]] = True
            if not there.all():
                there[shifted] = True
            if there.all():
                return shifted[:count], np.arange(low, high + 1).astype(whole.dtype)
            return (np.cumsum(there) - 1)[shifted[:count]], (np.flatnonzero(there) + low).astype(whole.dtype)
    if whole.dtype.kind in "OU" and all(isinstance(each, str) for each in whole[:1000].tolist()):
        return _coded_texts(pl.Series(given.tolist(), dtype=pl.String), possible)
    names, codes = np.unique(whole, return_inverse=True)
    return codes[:count].astype(np.int64), names


def _coded_texts(texts: pl.Series, possible: Sequence[Any]) -> tuple[Ints, NDArray[Any]]:
    # Files have the judgments of a unit one after the other: each run of equal texts is coded once.
    starts = (texts != texts.shift(1)).fill_null(True)
    runs = texts.filter(starts)
    if not len(possible) and runs[:_TRIED].n_unique() > _TRIED // 2:
        # Nearly all are different: sorted once, where a table of names would be as long as they are.
        order = runs.arg_sort()
        ordered = runs.gather(order)
        first = (ordered != ordered.shift(1)).fill_null(True)
        codes = np.empty(len(runs), np.int64)
        codes[order.to_numpy()] = np.cumsum(first.to_numpy()) - 1
        names = ordered.filter(first)
    else:
        names = pl.concat([runs.unique(), pl.Series(list(possible), dtype=pl.String)]).unique().sort()
        codes = runs.cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()
    spread = codes if len(runs) == len(texts) else codes[np.cumsum(starts.to_numpy()) - 1]
    return spread, np.asarray(names.to_list(), dtype=object)


def _distinct(rows: Ints, k: int) -> tuple[Ints, Ints]:
    """(how often each, the distinct ones) of rows of codes below k."""
    size = rows.shape[1]
    if (k + 1) ** size < _KEYS:
        keys = rows @ ((k + 1) ** np.arange(size, dtype=np.int64))
        _, at, counts = np.unique(keys, return_index=True, return_counts=True)
        return counts.astype(np.int64), rows[at]
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    return counts.astype(np.int64), distinct
