"""The moves of a spaCy entity recogniser as arrays: which column is which move, and which are valid in which state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Truths = NDArray[np.bool_]

#: States outside an entity: one may begin and go on, only one of a single token may be, none may be (white space).
FREE, SINGLE, BLANK = 0, 1, 2
_STATES = 3
_ACTIONS = "BILU"


@dataclass(frozen=True)
class Moves:
    """Columns by action and label, and validity by state.

    `valid` (states, moves) has the rows FREE, SINGLE and BLANK, then two for each label: inside an entity of it that may
    go on, and inside one that must end. Labels are numbered as in `labels`; `hashes` are spaCy's numbers for them.
    """

    labels: tuple[str, ...]
    hashes: NDArray[np.uint64]
    out: int
    columns: Numbers
    """(4, labels): the column of B, I, L and U of each label; -1 where the model has none."""
    valid: Truths

    @classmethod
    def of(cls, ner: Any) -> Moves:
        """The moves of an `ner` or `beam_ner` component as it is now."""
        names = [ner.moves.get_class_name(index) for index in range(ner.moves.n_moves)]
        labels = tuple(dict.fromkeys(name[2:] for name in names if len(name) > 2))
        columns = np.full((len(_ACTIONS), len(labels)), -1, dtype=np.int64)
        for column, name in enumerate(names):
            if len(name) > 2 and name[0] in _ACTIONS:
                columns[_ACTIONS.index(name[0]), labels.index(name[2:])] = column
        hashes = np.array([ner.vocab.strings[label] for label in labels], dtype=np.uint64)
        out = names.index("O")
        return cls(labels, hashes, out, columns, _validity(columns, len(names), out))

    def numbers(self, hashes: NDArray[np.uint64]) -> Numbers:
        """The number of each label given by its hash; each must be one of the model's."""
        order = np.argsort(self.hashes)
        return np.asarray(order[np.searchsorted(self.hashes, hashes, sorter=order)], dtype=np.int64)

    def inside(self, numbers: Numbers, must_end: Truths) -> Numbers:
        """The state inside an entity of each label."""
        return _STATES + 2 * numbers + must_end

    def column(self, action: str, numbers: Numbers) -> Numbers:
        """The column of an action for each label."""
        return np.asarray(self.columns[_ACTIONS.index(action), numbers], dtype=np.int64)

    def starting(self, number: int) -> Sequence[int]:
        """The columns of the moves that begin an entity of a label."""
        return [int(self.columns[row, number]) for row in (0, 3) if self.columns[row, number] >= 0]


def _validity(columns: Numbers, width: int, out: int) -> Truths:
    begins, inners, lasts, units = columns
    valid = np.zeros((_STATES + 2 * columns.shape[1], width), dtype=np.bool_)
    valid[FREE, [out, *begins[begins >= 0], *units[units >= 0]]] = True
    valid[SINGLE, [out, *units[units >= 0]]] = True
    valid[BLANK, out] = True
    for number, (inner, last) in enumerate(zip(inners, lasts, strict=True)):
        valid[_STATES + 2 * number, [column for column in (inner, last) if column >= 0]] = True
        valid[_STATES + 2 * number + 1, [last] if last >= 0 else []] = True
    return valid
