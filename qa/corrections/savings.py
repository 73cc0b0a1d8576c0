"""Seconds that suggestions save per task: the same people's times with a suggestion against their times without one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qa.measures.ratings import Floats, Ints

#: Tasks on either side below which nothing is told.
LEAST_TASKS = 30
#: How sure an interval is that is told.
SURE = 0.95
#: A label that alone tells of its person or kind has no residual.
_NO_ROOM = 1e-9


@dataclass(frozen=True, eq=False)
class Times:
    """Labels in columns: task, person, seconds that it took (above 0), when it was made (seconds since 1970), and its kind.

    Kinds are whatever tells tasks apart that take different times.
    """

    task: Ints
    person: Ints
    seconds: Floats
    at: Floats
    kind: Ints

    def __len__(self) -> int:
        return len(self.task)

    def where(self, which: NDArray[Any]) -> Times:
        """Some of them."""
        return Times(self.task[which], self.person[which], self.seconds[which], self.at[which], self.kind[which])

    def followed_by(self, other: Times) -> Times:
        """These, then others."""
        task, person, kind = (
            np.concatenate(pair)
            for pair in ((self.task, other.task), (self.person, other.person), (self.kind, other.kind))
        )
        seconds, at = (np.concatenate(pair) for pair in ((self.seconds, other.seconds), (self.at, other.at)))
        return Times(task, person, seconds, at, kind)


@dataclass(frozen=True)
class Saving:
    """Seconds saved per task, below 0 where suggestions slow people down; `value` is None exactly when `reason` says why.

    `blind_s` is what the suggested tasks would typically have taken these people without a suggestion, `suggested_s` what they
    took: geometric means, whose difference is the value. `error` is its standard error, with `freedom` degrees of freedom.
    """

    value: float | None
    error: float | None
    freedom: int
    blind_s: float | None
    suggested_s: float | None
    n_blind: int
    n_suggested: int
    people: int
    reason: str | None = None

    def interval(self, sure: float = SURE) -> tuple[float, float] | None:
        """The interval that holds the value in a share `sure` of cases."""
        if self.value is None or self.error is None:
            return None
        half = float(special.stdtrit(self.freedom, (1 + sure) / 2)) * self.error
        return self.value - half, self.value + half

    def slows(self, sure: float) -> bool:
        """Whether the whole interval lies below 0."""
        found = self.interval(sure)
        return found is not None and found[1] < 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, seconds with two digits."""
        bounds = self.interval()
        return {
            "value": _rounded(self.value),
            "ci": None if bounds is None else [_rounded(bound) for bound in bounds],
            "blind_s": _rounded(self.blind_s),
            "suggested_s": _rounded(self.suggested_s),
            "n_blind": self.n_blind,
            "n_suggested": self.n_suggested,
            "people": self.people,
            "reason": self.reason,
        }


def comparable(blind: Times, suggested: Times) -> tuple[Times, Times]:
    """The labels of people who have both kinds, blind ones from each person's first suggestion on.

    Before it people were new to the work, and slower for that: it would count as a saving.
    """
    people, place = np.unique(suggested.person, return_inverse=True)
    if not len(people):
        return blind.where(np.zeros(len(blind), np.bool_)), suggested
    first = np.full(len(people), np.inf)
    np.minimum.at(first, place, suggested.at)
    at = np.clip(np.searchsorted(people, blind.person), 0, len(people) - 1)
    blind = blind.where((people[at] == blind.person) & (blind.at >= first[at]))
    return blind, suggested.where(np.isin(suggested.person, blind.person))


def seconds_saved(blind: Times, suggested: Times) -> Saving:
    """What one suggestion saves, of people with labels of both kinds (`comparable`); unknown below LEAST_TASKS on a side.

    The logarithm of a time is its person's plus its kind's plus one effect of the suggestion, by least squares: a fast person
    who saw more suggestions counts as fast, not as helped. Times of one act spread in proportion to their size, which is why
    logarithms are compared (Baayen and Milin 2010, "Analyzing Reaction Times"), and no long time is trimmed away: a long
    correction is the very cost that is asked for. The standard error sums each label's influence by task, as several people may
    have labelled the same hard one (Liang and Zeger 1986, "Longitudinal data analysis using generalized linear models"), with
    residuals widened by their leverage (MacKinnon and White 1985, HC2), and goes from logarithms to seconds by the delta method.
    """
    blind, suggested = comparable(blind, suggested)
    n_blind, n_suggested = len(np.unique(blind.task)), len(np.unique(suggested.task))
    people = len(np.unique(suggested.person))
    if n_blind < LEAST_TASKS or n_suggested < LEAST_TASKS:
        return Saving(None, None, 0, None, None, n_blind, n_suggested, people, _too_few(n_blind, n_suggested))
    both = blind.followed_by(suggested)
    shown = np.arange(len(both)) >= len(blind)
    logs = np.log(both.seconds)
    design: Floats = np.column_stack([_indicators(both.person), _indicators(both.kind)[:, 1:], shown])
    solved: Floats = design @ np.linalg.pinv(design.T @ design)
    residual = logs - design @ (solved.T @ logs)
    room = 1 - (solved * design).sum(axis=1)
    residual /= np.sqrt(np.where(room > _NO_ROOM, room, 1.0))
    took = math.exp(float(logs[shown].mean()))
    would = took * math.exp(-float(solved[:, -1] @ logs))
    # How much each label moves the value, by the residual of its logarithm.
    influence = residual * ((would - took) * shown / shown.sum() - would * solved[:, -1])
    error = math.sqrt(sum(_squares(both.task[side], influence[side]) for side in (shown, ~shown)))
    freedom = max(1, min(len(blind), len(suggested)) - design.shape[1] + 1)
    return Saving(would - took, error, freedom, would, took, n_blind, n_suggested, people)


def _indicators(values: Ints) -> Floats:
    """A column for each value, 1 where it stands."""
    _, place = np.unique(values, return_inverse=True)
    return np.eye(int(place.max()) + 1)[place]


def _squares(task: Ints, influence: Floats) -> float:
    """The sum of squares of what the labels of each task do together."""
    _, place = np.unique(task, return_inverse=True)
    return float(np.square(np.bincount(place, weights=influence)).sum())


def _too_few(n_blind: int, n_suggested: int) -> str:
    sides = [f"{n} {what} tasks" for n, what in ((n_blind, "blind"), (n_suggested, "suggested")) if n < LEAST_TASKS]
    return f"{' and '.join(sides)} that can be compared, {LEAST_TASKS} are needed"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
