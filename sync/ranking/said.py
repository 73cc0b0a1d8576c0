"""What model versions say of tasks, as the pool that a strategy orders."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.ranking.committee import answer_disagreement, class_disagreement
from sync.ranking.pool import Floats, Pool

#: What a strategy looks at besides the uncertainty of the version that is served.
NEEDS: Mapping[str, frozenset[str]] = {
    "hybrid": frozenset({"vectors"}),
    "uncertainty": frozenset({"vectors"}),
    "least_confidence": frozenset({"vectors", "probs"}),
    "entropy": frozenset({"vectors", "probs"}),
    "class_balance": frozenset({"vectors", "probs", "counts"}),
    "committee": frozenset({"vectors", "probs", "committee"}),
    "diversity": frozenset({"vectors"}),
    "k_center": frozenset({"vectors"}),
    "random": frozenset(),
}
#: Versions of a committee, the served one among them.
MEMBERS = 3


@dataclass(frozen=True)
class Said:
    """What one version says of one task; `probs` has by control the classes' probabilities (a class left out has none)."""

    uncertainty: float | None = None
    confidence: float | None = None
    regions: Sequence[Region] = ()
    probs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    vector: Sequence[float] = ()


def pool_of(
    tasks: Sequence[int],
    said: Mapping[int, Said],
    config: LabelConfig,
    strategy: str,
    *,
    earlier: Sequence[Mapping[int, Said]] = (),
    groups: Sequence[Hashable] = (),
    counts: Mapping[str, Mapping[str, int]] | None = None,
) -> Pool:
    """The pool of these tasks for a strategy.

    `said` is by task what the served version says, `earlier` the same of versions before it, `counts` how many labels each
    class of each control has.
    """
    needs = NEEDS[strategy]
    given = [said.get(task, Said()) for task in tasks]
    classes = _classes(config, given) if "probs" in needs else {}
    members = [said, *earlier[: MEMBERS - 1]] if "committee" in needs else []
    return Pool(
        tasks,
        _column([each.uncertainty for each in given]),
        _column([each.confidence for each in given]),
        probs={name: _probs([each.probs.get(name) for each in given], known) for name, known in classes.items()},
        disagreement=_disagreement(tasks, members, classes, config) if len(members) > 1 else None,
        vectors=_vectors([each.vector for each in given]) if "vectors" in needs else np.zeros((len(tasks), 0)),
        groups=groups,
        counts={
            name: np.array([(counts or {}).get(name, {}).get(each, 0) for each in known], dtype=np.float64)
            for name, known in classes.items()
        },
    )


def _classes(config: LabelConfig, given: Sequence[Said]) -> dict[str, Sequence[str]]:
    """The controls that the version gives probabilities of, with their classes."""
    named = {name for each in given for name in each.probs}
    return {control.name: control.classes for control in config.controls if control.name in named and control.classes}


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _probs(rows: Sequence[Mapping[str, float] | None], classes: Sequence[str]) -> Floats:
    found = np.full((len(rows), len(classes)), np.nan)
    for place, row in enumerate(rows):
        if row:
            found[place] = [row.get(name, 0.0) for name in classes]
    return found


def _vectors(rows: Sequence[Sequence[float]]) -> Floats:
    """(n, width) vectors of the usual width; nan for a task that has none, or one of another width."""
    widths = [len(row) for row in rows if len(row)]
    width = max(set(widths), key=widths.count) if widths else 0
    found = np.full((len(rows), width), np.nan)
    for place, row in enumerate(rows):
        if width and len(row) == width:
            found[place] = row
    return found


def _disagreement(
    tasks: Sequence[int],
    members: Sequence[Mapping[int, Said]],
    classes: Mapping[str, Sequence[str]],
    config: LabelConfig,
) -> Floats:
    """(n,) how far members differ: by their probabilities where all of them give some of a task, else by their answers."""
    found = np.full(len(tasks), np.nan)
    if classes:
        by_control = []
        for name, known in classes.items():
            rows = np.stack(
                [_probs([each.get(task, Said()).probs.get(name) for task in tasks], known) for each in members]
            )
            whole = np.isfinite(rows).all(axis=(0, 2))
            scores = np.full(len(tasks), np.nan)
            scores[whole] = class_disagreement(rows[:, whole])
            by_control.append(scores)
        scored = np.stack(by_control)
        able = np.isfinite(scored).any(axis=0)
        found[able] = np.nanmean(scored[:, able], axis=0)
    open_ones = [task for task, score in zip(tasks, found.tolist(), strict=True) if np.isnan(score)]
    if open_ones:
        answers = [{task: each[task].regions for task in open_ones if task in each} for each in members]
        found[np.isnan(found)] = answer_disagreement(answers, open_ones, config)
    return found
