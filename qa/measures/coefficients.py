"""What a measure of agreement returns: a number, or None and the reason why there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Coefficient:
    """One measured value; `value` is None exactly when `reason` says why, and never a nan.

    `n_units` counts the units that entered (tasks, tokens, matched boxes), `n_pairs` the pairs of values in them.
    """

    value: float | None
    reason: str | None
    n_units: int
    n_pairs: int

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a coefficient has a value or a reason, got value={self.value} reason={self.reason!r}")

    def to_json(self) -> dict[str, Any]:
        """The four fields as plain JSON values."""
        return asdict(self)


def measured(value: float, n_units: int, n_pairs: int) -> Coefficient:
    """A defined coefficient."""
    return Coefficient(float(value), None, int(n_units), int(n_pairs))


def undefined(reason: str, n_units: int = 0, n_pairs: int = 0) -> Coefficient:
    """A coefficient that cannot be computed, and why."""
    return Coefficient(None, reason, int(n_units), int(n_pairs))
