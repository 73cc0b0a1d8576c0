"""The classifier itself: words and parts of words, weighed by TF-IDF or hashed, into a logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES = ("tfidf", "hashing")
_STRENGTH = 8.0
_EMBEDDING_WIDTH = 64


def fit_pipeline(texts: Sequence[str], labels: Sequence[str], seed: int, max_iter: int, features: str) -> Any:
    """A fitted scikit-learn pipeline; with one class only, one that always says it.

    `features` is one of FEATURES: "hashing" keeps no vocabulary, so that its size does not grow with the texts.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import Pipeline

    several = len(set(labels)) > 1
    last = OneVsRestClassifier(_one_class(seed, max_iter)) if several else DummyClassifier(strategy="most_frequent")
    steps = [("features", _vectorizer(features)), ("classifier", last)]
    return Pipeline(steps).fit(list(texts), np.array(labels, dtype=np.str_))


def fit_members(
    texts: Sequence[str], has: NDArray[np.bool_], seed: int, max_iter: int, features: str = "tfidf"
) -> Callable[[Sequence[str]], NDArray[np.float64]]:
    """What gives the probabilities (texts, k) that new texts have each of k classes, fitted to `has` (texts, k).

    Each class is a question of its own; one that all texts have, or none, is always or never given.
    """
    vectorizer = _vectorizer(features)
    words = vectorizer.fit_transform(list(texts))
    models = [
        _one_class(seed, max_iter).fit(words, column) if 0 < column.sum() < len(column) else None for column in has.T
    ]
    constant = has.mean(axis=0)

    def predict(new: Sequence[str]) -> NDArray[np.float64]:
        rows = vectorizer.transform(list(new))
        found = np.tile(constant, (len(new), 1))
        for at, model in enumerate(models):
            if model is not None:
                found[:, at] = model.predict_proba(rows)[:, 1]
        return found

    return predict


def _one_class(seed: int, max_iter: int) -> Any:
    """The dual of a few hundred texts with thousands of features is solved in a hundredth of the multinomial's time."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(
        C=_STRENGTH,
        solver="liblinear",
        dual=True,
        class_weight="balanced",
        max_iter=max_iter,
        random_state=seed,
    )


def _vectorizer(features: str) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    if features == "hashing":
        words = HashingVectorizer(ngram_range=(1, 2), n_features=2**18)
        parts = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=2**17)
    else:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000)
        parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=30_000)
    return FeatureUnion([("words", words), ("parts", parts)])


def probabilities(pipeline: Any, texts: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """(texts, classes) probabilities; the model's columns are matched by name, a class it never saw has 0."""
    raw = np.asarray(pipeline.predict_proba(list(texts)), dtype=np.float64)
    known = [str(name) for name in pipeline.classes_]
    out = np.zeros((len(texts), len(classes)))
    for column, name in enumerate(known):
        if name in classes:
            out[:, list(classes).index(name)] = raw[:, column]
    return out


def embed(texts: Sequence[str]) -> NDArray[np.float64]:
    """(texts, 64) hashed word counts of length 1 (0 for a text without words): near texts share words."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(n_features=_EMBEDDING_WIDTH, alternate_sign=True).transform(list(texts))
    return np.asarray(hashed.toarray(), dtype=np.float64)
