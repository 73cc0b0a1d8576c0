"""Near duplicates get one group, so that roles and splits keep them on one side; or they are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sync.ingesting.fingerprints import IMAGE_KIND, TEXT_KIND, image_rows, kind_of, text_rows
from sync.ingesting.journal import Journal
from sync.ingesting.near import Near, Skip, near_images, near_texts
from sync.ingesting.run_files import RunFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

Search = Callable[[Any, int, Skip], Iterator[Near]]


@dataclass(frozen=True)
class NearOptions:
    """What counts as near: at most `distance` of the 256 bits of an image's hash, at least `similarity` (Jaccard) of texts."""

    distance: int = 20
    similarity: float = 0.85
    drop: bool = False


@dataclass
class NearCounts:
    """`found` items are near another; of these `to_project` near a task of the project; `dropped` were left out.

    `groups` are those that near duplicates make; `largest` is how many of what comes in the largest of them has.
    """

    found: int = 0
    to_project: int = 0
    dropped: int = 0
    largest: int = 0
    groups: int = 0


def group_near(journal: Journal, options: NearOptions, files: RunFiles) -> NearCounts:
    """Give near candidates one key, that of the project's task where one is near; or drop them."""
    counts = NearCounts()
    searches: dict[str, tuple[Callable[[Sequence[str]], Any], Search]] = {
        IMAGE_KIND: (image_rows, lambda rows, first, skip: near_images(rows, first, options.distance, skip)),
        TEXT_KIND: (text_rows, lambda rows, first, skip: near_texts(rows, first, options.similarity, skip)),
    }
    for kind, (rows_of, search) in searches.items():
        entries = _Entries.of(journal, kind)
        if entries.first < len(entries.keys):
            pairs = _Dropping(entries) if options.drop else _Joining(entries)
            rows = rows_of(entries.prints)
            _note(journal, entries, files, counts, pairs, search(rows, entries.first, pairs.skip))
            pairs.apply(journal, counts)
    return counts


@dataclass
class _Entries:
    """Fingerprints of one kind: of the project's tasks, then, from `first` on, of the candidates."""

    ids: list[int]
    keys: list[str]
    prints: list[str]
    first: int

    @classmethod
    def of(cls, journal: Journal, kind: str) -> _Entries:
        held = [row for row in journal.held_prints() if kind_of(row[2]) == kind]
        new = [row for row in journal.prints() if kind_of(row[2]) == kind]
        both = [*held, *new]
        return cls([row[0] for row in both], [row[1] for row in both], [row[2] for row in both], len(held))


class _Joining:
    """Groups of rows, joined as pairs come. Two groups of the project stay two: their roles are given."""

    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        numbers: dict[str, int] = {}
        self.group = np.array([numbers.setdefault(key, len(numbers)) for key in entries.keys], dtype=np.int64)
        self._keys = list(numbers)
        self._fixed = np.zeros(len(numbers), dtype=bool)
        self._fixed[self.group[: entries.first]] = True
        self._joined: set[int] = set()

    def skip(self, row: int, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that are in the same group already."""
        return np.asarray(self.group[others] == self.group[row], dtype=bool)

    def take(self, near: Near) -> None:
        """Make one group of two."""
        one, other = int(self.group[near.earlier]), int(self.group[near.row])
        if one == other or (self._fixed[one] and self._fixed[other]):
            return
        # The project's group stays, else the one that came first.
        kept, gone = sorted((one, other), key=lambda group: (not self._fixed[group], group))
        self.group[self.group == gone] = kept
        self._joined.add(kept)

    def apply(self, journal: Journal, counts: NearCounts) -> None:
        """Write the keys of the groups to the candidates."""
        entries = self._entries
        changed = [
            (entries.ids[row], self._keys[self.group[row]])
            for row in range(entries.first, len(entries.keys))
            if self._keys[self.group[row]] != entries.keys[row]
        ]
        journal.regroup(changed)
        sizes = Counter(self.group[entries.first :].tolist())
        members = [sizes[group] for group in self._joined if sizes[group]]
        counts.groups += len(members)
        counts.largest = max([counts.largest, *members])


class _Dropping:
    """Candidates that are near a task of the project, or an earlier candidate that stays."""

    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        self.gone = np.zeros(len(entries.keys), dtype=bool)

    def skip(self, row: int, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that do not stay themselves."""
        return self.gone[others]

    def take(self, near: Near) -> None:
        """Leave the later one out."""
        self.gone[near.row] = True

    def apply(self, journal: Journal, counts: NearCounts) -> None:
        """Take them out of the candidates."""
        dropped = [self._entries.ids[row] for row in np.flatnonzero(self.gone)]
        journal.drop(dropped)
        counts.dropped += len(dropped)


def _note(
    journal: Journal,
    entries: _Entries,
    files: RunFiles,
    counts: NearCounts,
    pairs: _Joining | _Dropping,
    found: Iterator[Near],
) -> None:
    """Take the pairs; write down, for each candidate, the first that it is near."""
    last = -1
    for near in found:
        pairs.take(near)
        if near.row == last:
            continue
        last = near.row
        of_project = near.earlier < entries.first
        counts.found += 1
        counts.to_project += of_project
        other = entries.ids[near.earlier]
        same_as = f"task {other}" if of_project else journal.source_of(other)
        files.duplicate(journal.source_of(entries.ids[near.row]), same_as, "near", near.measure)
