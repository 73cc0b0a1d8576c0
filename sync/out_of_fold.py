"""Class probabilities of texts by models that did not see them: near duplicates are held out together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import NotReady

FOLDS = 5
LEAST_TEXTS = 20
_MAX_ITER = 200
NO_SKLEARN = "out-of-fold predictions of texts need scikit-learn; install the extra: pip install 'labelloop[quality]'"


@dataclass(frozen=True)
class Example:
    """A text with the class that most people gave it; texts of one `group` are held out together."""

    task: int
    text: str
    label: str
    group: Hashable


@dataclass(frozen=True)
class SetExample:
    """A text with the classes that most people gave it."""

    task: int
    text: str
    labels: frozenset[str]
    group: Hashable


def text_chances(
    examples: Sequence[Example], *, folds: int = FOLDS, seed: int = 0, threads: int = 2
) -> dict[int, dict[str, float]]:
    """Task -> class -> probability, each by a model that was trained on the other folds (TF-IDF and logistic regression).

    NotReady where there are fewer than LEAST_TEXTS texts, one class only or one group only, and without scikit-learn.
    """
    names = sorted({each.label for each in examples})
    groups = len({each.group for each in examples})
    if len(examples) < LEAST_TEXTS or len(names) < 2 or groups < 2:
        raise NotReady(
            f"out-of-fold predictions need {LEAST_TEXTS} labelled texts of two classes that are not all near duplicates; "
            f"there are {len(examples)} of {len(names)} classes in {groups} groups"
        )

    def fit(kept: Sequence[int]) -> Predict:
        from backends.sklearn_text.pipeline import fit_pipeline, probabilities

        texts, labels = [examples[at].text for at in kept], [examples[at].label for at in kept]
        model = fit_pipeline(texts, labels, seed, _MAX_ITER, "tfidf")
        return lambda held: probabilities(model, held, names)

    fold = group_folds([each.label for each in examples], [each.group for each in examples], folds, seed)
    return _held_out(examples, names, fold, fit, threads)


def member_chances(
    examples: Sequence[SetExample], *, folds: int = FOLDS, seed: int = 0, threads: int = 2
) -> dict[int, dict[str, float]]:
    """Task -> class -> probability that the text has the class, each by models that were trained on the other folds.

    Classes are independent of each other. NotReady as `text_chances`.
    """
    names = sorted({name for each in examples for name in each.labels})
    groups = len({each.group for each in examples})
    if len(examples) < LEAST_TEXTS or not names or groups < 2:
        raise NotReady(
            f"out-of-fold predictions need {LEAST_TEXTS} labelled texts that are not all near duplicates; "
            f"there are {len(examples)} in {groups} groups"
        )
    has = np.array([[name in each.labels for name in names] for each in examples])

    def fit(kept: Sequence[int]) -> Predict:
        from backends.sklearn_text.pipeline import fit_members

        return fit_members([examples[at].text for at in kept], has[kept], seed, _MAX_ITER)

    strata = ["\n".join(sorted(each.labels)) for each in examples]
    fold = group_folds(strata, [each.group for each in examples], folds, seed)
    return _held_out(examples, names, fold, fit, threads)


Predict = Callable[[Sequence[str]], NDArray[np.float64]]
"""The probabilities (texts, classes) of texts."""


def _held_out(
    examples: Sequence[Example | SetExample],
    names: Sequence[str],
    fold: NDArray[np.int64],
    fit: Callable[[Sequence[int]], Predict],
    threads: int,
) -> dict[int, dict[str, float]]:
    """Task -> class -> probability by what `fit` makes of the places in all other folds."""
    found: dict[int, dict[str, float]] = {}
    try:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=threads):
            for number in np.unique(fold).tolist():
                kept, held = np.flatnonzero(fold != number).tolist(), np.flatnonzero(fold == number).tolist()
                if not kept:
                    continue
                rows = fit(kept)([examples[at].text for at in held])
                for at, row in zip(held, rows.tolist(), strict=True):
                    found[examples[at].task] = dict(zip(names, row, strict=True))
    except ImportError as error:
        raise NotReady(NO_SKLEARN) from error
    return found


def group_folds(labels: Sequence[str], groups: Sequence[Hashable], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each item, (n,): one for a whole group, with each class spread as evenly as that lets."""
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    rows = list(members.values())
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    # Large groups first: what comes later evens out.
    order.sort(key=lambda at: -len(rows[at]))
    filled = np.zeros(folds, dtype=np.int64)
    by_class: Mapping[str, NDArray[np.int64]] = {name: np.zeros(folds, dtype=np.int64) for name in set(labels)}
    fold = np.zeros(len(labels), dtype=np.int64)
    for at in order:
        counts = Counter(labels[place] for place in rows[at])
        held = sum((by_class[name] * count for name, count in counts.items()), np.zeros(folds, dtype=np.int64))
        chosen = int(np.lexsort((filled, held))[0])
        for name, count in counts.items():
            by_class[name][chosen] += count
        filled[chosen] += len(rows[at])
        fold[rows[at]] = chosen
    return fold
