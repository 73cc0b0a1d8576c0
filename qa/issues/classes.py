"""Wrong classes and ratings of tasks as wholes: by probabilities of a model that did not see the label, and by other people.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels") by cleanlab.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import NotReady
from labelloop.label_config import Control
from qa.issues.finding import Finding, Label, by_task
from qa.kinds.categories import sure
from qa.kinds.kind import Kind

CONFIDENT_LEARNING, CONSENSUS = "confident_learning", "consensus"
#: Labels below this number tell nothing of how classes are confused.
LEAST_LABELS = 20
NO_CLEANLAB = "label errors by confident learning need cleanlab; install the extra: pip install 'labelloop[quality]'"

#: odds: the given class against the likeliest other one. Of the three it ranked injected errors best in what was measured
#: (benchmarks/_injected_errors.py), as it minds neither how sure a model is of everything nor a third class.
RankedBy = Literal["odds", "self_confidence", "normalized_margin"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Opinion:
    """The class, or the number of stars, that one person gave a task."""

    label: Label
    value: str


def opinions(labels: Sequence[Label], control: Control, kind: Kind) -> list[Opinion]:
    """What people said under a control of classes or ratings; nothing, "unsure" and several classes at once are no opinion."""
    read = [(label, sure(kind.read(label.result, control, label.data), kind.name)) for label in labels]
    said = [(label, f"{value:g}" if isinstance(value, float) else value) for label, value in read if value is not None]
    return [Opinion(label, value) for label, value in said if value in control.classes or not control.classes]


def class_findings(
    labels: Sequence[Label],
    control: Control,
    kind: Kind,
    chances: Mapping[int, Mapping[str, float]],
    *,
    ranked_by: RankedBy = "odds",
) -> list[Finding]:
    """Labels whose class is likely wrong, each once, surest first.

    `chances` are a model's probabilities of the classes by task, from one that did not see the task's labels; tasks without
    are judged by the other people alone. NotReady names the extra where cleanlab is missing. A rating next to the one that others
    gave weighs less than one that is far from it.
    """
    said = opinions(labels, control, kind)
    found = {
        CONFIDENT_LEARNING: _by_model([each for each in said if each.label.task in chances], chances, ranked_by),
        CONSENSUS: _by_others(said),
    }
    told: dict[int, dict[str, _Row]] = defaultdict(dict)
    for name, part in found.items():
        for row in part:
            told[id(row[0])][name] = row
    merged = [_finding(each, control, _weight_of(said, kind)) for each in told.values()]
    return sorted(merged, key=lambda each: (-each.score, each.task, each.annotation or 0))


_Row = tuple[Opinion, str, float, dict[str, Any]]


def _weight_of(said: Sequence[Opinion], kind: Kind) -> Callable[[str, str], float]:
    """How far apart two answers are: 1 for classes, for ratings a share of the widest there is."""
    if kind.name != "ratings" or not said:
        return lambda given, suggested: 1.0
    stars = [float(each.value) for each in said]
    widest = max(stars) - min(stars)
    return lambda given, suggested: abs(float(given) - float(suggested)) / widest if widest else 1.0


def _finding(told: Mapping[str, _Row], control: Control, weight: Callable[[str, str], float]) -> Finding:
    """One finding of what one or both detectors say of a label; with both, the score is that one of them is right."""
    opinion, suggested, _, _ = told.get(CONSENSUS) or next(iter(told.values()))
    label = opinion.label
    score = 1.0 - float(np.prod([1.0 - row[2] for row in told.values()]))
    evidence = {key: value for row in told.values() for key, value in row[3].items()}
    return Finding(
        label.task, label.annotation, label.annotator, control.name, None, "wrong_class", opinion.value, suggested,
        score * weight(opinion.value, suggested),
        "+".join(told), evidence,
    )  # fmt: skip


def _by_model(said: Sequence[Opinion], chances: Mapping[int, Mapping[str, float]], ranked_by: RankedBy) -> list[_Row]:
    classes = sorted({each.value for each in said})
    if len(said) < LEAST_LABELS or len(classes) < 2:
        return []
    rows = np.array([[chances[each.label.task].get(name, 0.0) for name in classes] for each in said])
    sums = rows.sum(axis=1)
    able = np.flatnonzero(sums > 0)
    rows = rows[able] / sums[able, None]
    given = np.array([classes.index(said[place].value) for place in able.tolist()])
    found = []
    for at in suspicious(given, rows, ranked_by).tolist():
        row, mine = rows[at], int(given[at])
        other = int(np.argmax(np.where(np.arange(len(classes)) == mine, -1.0, row)))
        quality = float(_quality(given[[at]], rows[[at]], ranked_by)[0])
        evidence = {
            "probability_given": round(float(row[mine]), 4),
            "probability_suggested": round(float(row[other]), 4),
        }
        found.append((said[int(able[at])], classes[other], 1 - quality, evidence))
    return found


def suspicious(given: NDArray[np.int64], rows: Floats, ranked_by: RankedBy = "odds") -> NDArray[np.int64]:
    """Places of the labels that confident learning would remove, worst first.

    `given` are codes (n,), each of 0..k-1 among them; `rows` (n, k) out-of-fold probabilities. NotReady without cleanlab.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise NotReady(NO_CLEANLAB) from error
    # By class rather than by pair of classes: with many classes a pair has too few errors to estimate its own number.
    # One process: others would each read the tables again, for what takes seconds.
    found = np.flatnonzero(find_label_issues(given, rows, filter_by="prune_by_class", n_jobs=1))
    return np.asarray(found[np.argsort(_quality(given[found], rows[found], ranked_by), kind="stable")], dtype=np.int64)


def _quality(given: NDArray[np.int64], rows: Floats, ranked_by: RankedBy) -> Floats:
    """How far the model stands by each given class, (n,) in [0, 1]."""
    places = np.arange(len(given))
    own = rows[places, given]
    others = rows.copy()
    others[places, given] = -1.0
    best = others.max(axis=1, initial=-1.0)
    if ranked_by == "odds":
        return np.asarray(np.divide(own, own + best, out=np.zeros_like(own), where=own + best > 0), dtype=np.float64)
    return np.asarray((own - best + 1) / 2 if ranked_by == "normalized_margin" else own, dtype=np.float64)


def _by_others(said: Sequence[Opinion]) -> list[_Row]:
    """Labels that more than half of at least two other people contradict with one class."""
    at = {id(each.label): each for each in said}
    found = []
    for group in by_task(each.label for each in said).values():
        votes = Counter(at[id(label)].value for label in group)
        for label in group:
            mine = at[id(label)]
            others = votes - Counter([mine.value])
            total = len(group) - 1
            best, count = max(others.items(), key=lambda each: (each[1], each[0]), default=("", 0))
            if total >= 2 and best != mine.value and 2 * count > total:
                # One vote is kept back: that of two people means less than that of twenty.
                score = (count - others[mine.value]) / (total + 1)
                found.append((mine, best, score, {"others": dict(sorted(others.items()))}))
    return found
