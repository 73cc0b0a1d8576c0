"""Which rows of fingerprints are near which earlier ones: by buckets, never all pairs. Pure.

Locality-sensitive hashing: a fingerprint is cut into bands, and only rows that agree in a whole band are compared. For
Hamming distances d + 1 bands miss nothing (one of them has no differing bit); for MinHash the bands are chosen so that a
pair at the threshold is compared with a probability of 0.99 or more (Indyk and Motwani 1998; Broder 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Of rows that agree in one band, at most so many of the last ones are compared with: what bounds the work where a whole
#: collection agrees. Rows that are near share more than one band, so that they are met in another.
BUCKET_LIMIT = 1000
_RECALL = 0.99

Skip = Callable[[int, "NDArray[np.int64]"], "NDArray[np.bool_]"]
"""(row, earlier rows) -> which of those need no comparing."""


@dataclass(frozen=True)
class Near:
    """An earlier row near a row; `measure` is the distance in bits, or the similarity."""

    row: int
    earlier: int
    measure: float


def near_images(rows: NDArray[np.uint64], first: int, distance: int, skip: Skip) -> Iterator[Near]:
    """Pairs at most `distance` bits apart of each row from `first` on with every row before it."""
    keys = [_mixed(_bits_of(rows, chosen)) for chosen in _bit_bands(rows.shape[1] * 64, distance + 1)]

    def measure(row: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(np.bitwise_count(rows[others] ^ rows[row]).sum(axis=1), dtype=np.float64)

    yield from _compared(keys, first, skip, measure, lambda found: found <= distance)


def near_texts(rows: NDArray[np.uint16], first: int, similarity: float, skip: Skip) -> Iterator[Near]:
    """Pairs of an estimated Jaccard similarity of at least `similarity`, of each row from `first` on with those before it."""
    length = band_length(similarity, rows.shape[1])
    bands = rows.reshape(len(rows), -1, length)
    keys = [_mixed(bands[:, band, :]) for band in range(bands.shape[1])]

    def measure(row: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray((rows[others] == rows[row]).mean(axis=1), dtype=np.float64)

    yield from _compared(keys, first, skip, measure, lambda found: found >= similarity)


def band_length(similarity: float, minima: int) -> int:
    """The longest band with which a pair at the threshold agrees in at least one with a probability of 0.99."""
    lengths = [length for length in (16, 8, 4, 2) if minima % length == 0]
    fit = [each for each in lengths if 1 - (1 - similarity**each) ** (minima // each) >= _RECALL]
    return fit[0] if fit else 1


def _compared(
    keys: list[NDArray[np.uint64]],
    first: int,
    skip: Skip,
    measure: Callable[[int, NDArray[np.int64]], NDArray[np.float64]],
    is_near: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> Iterator[Near]:
    buckets = [_Buckets(each) for each in keys]
    lonely = np.ones(len(keys[0]), dtype=bool) if keys else np.zeros(0, dtype=bool)
    for each in buckets:
        lonely &= each.place == each.start
    for row in np.flatnonzero(~lonely):
        if row < first:
            continue
        others = np.unique(np.concatenate([each.earlier(int(row)) for each in buckets]))
        others = others[~skip(int(row), others)]
        if len(others) == 0:
            continue
        found = measure(int(row), others)
        for place in np.flatnonzero(is_near(found)):
            yield Near(int(row), int(others[place]), float(found[place]))


class _Buckets:
    """The rows that agree in one band, each bucket in the order of the rows."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self.order = np.argsort(keys, kind="stable").astype(np.int64)
        ordered = keys[self.order]
        begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        start = np.repeat(begins, np.diff(np.append(begins, len(keys))))
        self.place = np.empty(len(keys), dtype=np.int64)
        self.place[self.order] = np.arange(len(keys))
        self.start = np.empty(len(keys), dtype=np.int64)
        self.start[self.order] = start

    def earlier(self, row: int) -> NDArray[np.int64]:
        """The last rows before this one in its bucket."""
        place = int(self.place[row])
        return self.order[max(int(self.start[row]), place - BUCKET_LIMIT) : place]


def _bit_bands(bits: int, count: int) -> list[NDArray[np.int64]]:
    """Which bits each band has: dealt out in an order that mixes coarse and fine ones, the same for ever."""
    shuffled = np.random.RandomState(1).permutation(bits)
    return [shuffled[band::count] for band in range(min(count, bits))]


def _bits_of(rows: NDArray[np.uint64], chosen: NDArray[np.int64]) -> NDArray[Any]:
    """Some bits of each row, packed into bytes."""
    single = (rows[:, chosen // 64] >> (np.uint64(63) - (chosen % 64).astype(np.uint64))) & np.uint64(1)
    return np.packbits(single.astype(np.uint8), axis=1)


def _mixed(parts: NDArray[Any]) -> NDArray[np.uint64]:
    """One 64-bit key of the values of each row; that two differing rows get one costs a comparison, no more."""
    key: NDArray[np.uint64] = np.zeros(len(parts), dtype=np.uint64)
    for column in range(parts.shape[1]):
        key = (key ^ parts[:, column].astype(np.uint64)) * np.uint64(0x100000001B3) + np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(31)
    return key
