"""Problems of data rather than of single labels: duplicates with conflicting labels, leakage, outliers, drift of classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import NotReady

Floats = NDArray[np.float64]

NO_SKLEARN = "unusual texts need scikit-learn; install the extra: pip install 'labelloop[quality]'"
#: Neighbours whose mean distance tells how lonely an item is; and how far beyond the quartiles is far out (Tukey 1977).
NEIGHBOURS, FAR_OUT = 10, 3.0
LEAST_ITEMS, MOST_ITEMS = 50, 50_000
#: A week's classes have drifted when chance would give as much in one case of a hundred over all weeks together, and the
#: population stability index is one that practice acts on (Siddiqi 2006, "Credit Risk Scorecards").
DRIFT_CHANCE, DRIFT_PSI, LEAST_OF_WEEK = 0.01, 0.2, 30
#: Classes that so many groups of duplicates conflict in are not well told apart by the guideline.
GUIDELINE = 3


@dataclass(frozen=True)
class DataProblem:
    """A problem of some tasks; `score` in [0, 1] orders those of one type. Only conflicts are of labels, and have a cause."""

    type: str
    control: str | None
    key: str
    tasks: tuple[int, ...]
    score: float
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cause: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type, "control": self.control, "key": self.key, "tasks": list(self.tasks),
            "score": round(min(max(self.score, 0.0), 1.0), 6), "cause": self.cause, "evidence": dict(self.evidence),
        }  # fmt: skip


def duplicate_problems(groups: Iterable[Sequence[int]]) -> list[DataProblem]:
    """Groups of tasks that show nearly the same, largest first."""
    rows = sorted((tuple(sorted(group)) for group in groups if len(group) > 1), key=lambda each: (-len(each), each))
    return [DataProblem("duplicate", None, f"task {row[0]}", row, 1.0, {"n": len(row)}) for row in rows]


#: What one person said of a task: (annotator, class).
Answer = tuple[int, str]


def conflicts(
    groups: Iterable[Sequence[int]], control: str, answers: Mapping[int, Sequence[Answer]]
) -> list[DataProblem]:
    """Groups of duplicates whose tasks got different classes, most evenly split first, each with its likeliest cause.

    `answers` are what people said of a task; the task's own class is what most of them said. Tasks on which people of one
    task are split evenly count with each of their classes. It is a slip where one person gave both; else the guideline where
    these classes are what GUIDELINE groups or more conflict in; else the content is ambiguous.
    """
    found = []
    for group in groups:
        by_class: dict[str, list[int]] = defaultdict(list)
        by_person: dict[int, set[str]] = defaultdict(set)
        said = 0
        for task in sorted(group):
            counts = Counter(name for _, name in answers.get(task, ()))
            most = max(counts.values(), default=0)
            said += bool(counts)
            for name in sorted(name for name, n in counts.items() if n == most):
                by_class[name].append(task)
            for person, name in answers.get(task, ()):
                by_person[person].add(name)
        tasks = tuple(sorted({task for part in by_class.values() for task in part}))
        if len(tasks) < 2 or len(by_class) < 2 or all(set(part) == set(tasks) for part in by_class.values()):
            continue
        largest = max(len(part) for part in by_class.values())
        own = any(len(names & by_class.keys()) > 1 for names in by_person.values())
        found.append(
            DataProblem(
                "conflict", control, f"task {tasks[0]}", tasks, 1 - largest / (said + 1), {"labels": dict(by_class)},
                "slip" if own else None,
            )
        )  # fmt: skip
    often = Counter(frozenset(each.evidence["labels"]) for each in found)
    told = [
        replace(
            each, cause="guideline" if often[frozenset(each.evidence["labels"])] >= GUIDELINE else "ambiguous"
        ) if each.cause is None else each
        for each in found
    ]  # fmt: skip
    return sorted(told, key=lambda each: (-each.score, each.tasks))


def leakage(groups: Iterable[Sequence[int]], splits: Mapping[int, str]) -> list[DataProblem]:
    """Groups of duplicates that lie in several splits: what is trained on is then in what the model is judged by."""
    found = []
    for group in groups:
        by_split: dict[str, list[int]] = defaultdict(list)
        for task in sorted(group):
            if task in splits:
                by_split[splits[task]].append(task)
        if len(by_split) > 1:
            tasks = tuple(sorted(task for part in by_split.values() for task in part))
            found.append(
                DataProblem("leakage", None, " and ".join(sorted(by_split)), tasks, 1.0, {"splits": dict(by_split)})
            )
    return sorted(found, key=lambda each: (-len(each.tasks), each.tasks))


def outliers(tasks: Sequence[int], vectors: Floats) -> list[DataProblem]:
    """Tasks whose embedding (n, width) lies far from its nearest neighbours by cosine distance, furthest first.

    NotReady with fewer than LEAST_ITEMS or more than MOST_ITEMS tasks.
    """
    _check_count(len(tasks), "embeddings")
    return _far_out(tasks, neighbour_distance(vectors), FAR_OUT)


def outlying_texts(texts: Mapping[int, str]) -> list[DataProblem]:
    """Tasks whose text, by task, has little in common with those most like it, furthest first.

    Likeness is the cosine of parts of words weighed by TF-IDF. It is bounded by nothing in common, so that its inner fence
    takes the place of the outer one. NotReady with fewer than LEAST_ITEMS or more than MOST_ITEMS texts, and without
    scikit-learn.
    """
    _check_count(len(texts), "texts")
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise NotReady(NO_SKLEARN) from error
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, dtype=np.float32)
    try:
        words = parts.fit_transform(list(texts.values()))
    except ValueError as error:
        raise NotReady(f"unusual texts can't be told: {error}") from error
    return _far_out(list(texts), _neighbour_distance(words, NEIGHBOURS, 256), FAR_OUT / 2)


def _check_count(count: int, what: str) -> None:
    if not LEAST_ITEMS <= count <= MOST_ITEMS:
        raise NotReady(f"outliers need {LEAST_ITEMS} to {MOST_ITEMS} {what}; there are {count}")


def _far_out(tasks: Sequence[int], distance: Floats, fence: float) -> list[DataProblem]:
    """What lies more than `fence` times the range of the quartiles beyond them."""
    low, high = np.percentile(distance, (25, 75)).tolist()
    limit = high + fence * (high - low)
    far = [at for at in np.argsort(-distance, kind="stable").tolist() if distance[at] > max(limit, 1e-9)]
    return [
        DataProblem(
            "outlier", None, f"task {tasks[at]}", (int(tasks[at]),), min(float(distance[at]), 1.0),
            {"distance": round(float(distance[at]), 4), "limit": round(float(limit), 4)},
        )
        for at in far
    ]  # fmt: skip


def neighbour_distance(vectors: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Of each vector (n, width) the mean cosine distance to its nearest others, (n,)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return _neighbour_distance(
        np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), neighbours, 1024
    )


def _neighbour_distance(unit: Any, neighbours: int, block: int) -> Floats:
    """The same of vectors of length 1, dense or sparse; `block` rows are compared with all at once."""
    count = unit.shape[0]
    k = min(neighbours, count - 1)
    found = np.zeros(count)
    turned = unit.T.tocsr() if hasattr(unit, "tocsr") else unit.T
    for first in range(0, count, block):
        near = unit[first : first + block] @ turned
        near = near.toarray() if hasattr(near, "toarray") else near
        near[np.arange(len(near)), first + np.arange(len(near))] = -np.inf
        found[first : first + block] = 1.0 - np.partition(near, -k, axis=1)[:, -k:].mean(axis=1)
    return found


def class_drift(control: str, said: Sequence[tuple[int, str, str]]) -> list[DataProblem]:
    """Weeks whose classes differ from those of all other weeks, by the chi-square test and the population stability index.

    `said` are (task, week, class). Weeks with fewer than LEAST_OF_WEEK labels are not tested.
    """
    from scipy.stats import chi2_contingency

    weeks, names = sorted({row[1] for row in said}), sorted({row[2] for row in said})
    counts = np.zeros((len(weeks), len(names)))
    places = ({week: at for at, week in enumerate(weeks)}, {name: at for at, name in enumerate(names)})
    for _, week, name in said:
        counts[places[0][week], places[1][name]] += 1
    tested = [
        at for at in range(len(weeks)) if min(counts[at].sum(), (counts.sum(0) - counts[at]).sum()) >= LEAST_OF_WEEK
    ]
    found = []
    for at in tested:
        here, elsewhere = counts[at], counts.sum(axis=0) - counts[at]
        # Classes that are rare in both are one, else the test's distribution does not hold.
        table = _lumped(np.stack([here, elsewhere]))
        if table.shape[1] < 2:
            continue
        chance = float(chi2_contingency(table, correction=False).pvalue)
        psi = stability_index(here, elsewhere)
        if chance * len(tested) >= DRIFT_CHANCE or psi < DRIFT_PSI:
            continue
        shares = {
            name: [round(float(a), 4), round(float(b), 4)]
            for name, a, b in zip(names, here / here.sum(), elsewhere / elsewhere.sum(), strict=True)
        }
        most = sorted(names, key=lambda name: -abs(shares[name][0] - shares[name][1]))[:5]
        tasks = tuple(sorted({task for task, week, name in said if week == weeks[at] and name in most}))
        evidence = {"psi": round(psi, 4), "p": chance * len(tested), "shares": {name: shares[name] for name in most}}
        found.append(DataProblem("drift", control, weeks[at], tasks, psi / (1 + psi), evidence))
    return sorted(found, key=lambda each: (-each.score, each.key))


def stability_index(here: Floats, elsewhere: Floats) -> float:
    """The population stability index of two rows of counts; half a label is added to each, for classes that are missing."""
    a, b = (here + 0.5) / (here + 0.5).sum(), (elsewhere + 0.5) / (elsewhere + 0.5).sum()
    return float(((a - b) * np.log(a / b)).sum())


def _lumped(table: Floats) -> Floats:
    """The table (2, k) without empty columns, those with an expected count below 5 taken as one."""
    expected = table.sum(axis=0) * (table.sum(axis=1) / table.sum())[:, None]
    rare = expected.min(axis=0) < 5
    lumped = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    return np.asarray(lumped[:, lumped.sum(axis=0) > 0], dtype=np.float64)
