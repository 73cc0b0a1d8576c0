"""What the store knows of the tasks that want labels, gathered for a strategy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from sqlalchemy import select

from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.store import ProjectRow, Store, TaskRow
from labelloop.store.promotions import promotions_of
from labelloop.store.signals import unpack
from labelloop.store.tables import outcomes, signals
from sync.near_groups import image_bits, noted_print, shown_text, text_keys
from sync.prediction import outcome_ids
from sync.ranking.committee import answer_disagreement
from sync.ranking.pool import Floats, Pool
from sync.ranking.said import MEMBERS, NEEDS, Said, pool_of
from sync.trigger import TRAINING_ROLES

#: Tasks that two versions are compared on.
_COMPARED = 2000
#: Width of the vectors of texts that no model has seen.
_TEXT_WIDTH = 256


def gather(store: Store, project: ProjectRow, model_version: str, tasks: Sequence[TaskRow], strategy: str) -> Pool:
    """The pool of these tasks, by what this version said of them; without one, by what they show."""
    config = parse_label_config(project.label_config)
    needs = NEEDS[strategy]
    wanted = {task.task_id for task in tasks}
    said = said_by(store, project, model_version, wanted, needs)
    ids = [task.task_id for task in tasks]
    groups = [task.group_key or task.task_id for task in tasks]
    if not any(each.uncertainty is not None for each in said.values()):
        vectors = cold_vectors(tasks, config) if needs else np.zeros((len(ids), 0))
        nothing = np.full(len(ids), np.nan)
        return Pool(ids, nothing, nothing, vectors=vectors, groups=groups)
    earlier = []
    if "committee" in needs:
        before = _versions_before(store, project.project_id, model_version)[: MEMBERS - 1]
        earlier = [said_by(store, project, version, wanted, needs) for version in before]
    counts = label_counts(store, project.project_id, config) if "counts" in needs else None
    return pool_of(ids, said, config, strategy, earlier=earlier, groups=groups, counts=counts)


def said_by(
    store: Store, project: ProjectRow, model_version: str, wanted: set[int], needs: frozenset[str]
) -> dict[int, Said]:
    """By task what a version said of the wanted ones; probabilities and embeddings where they are needed."""
    o, s = outcomes.c, signals.c
    columns = [o.task_id, o.uncertainty, o.confidence] + ([o.result] if "committee" in needs else [])
    heads = select(*columns).where(
        store.scope(outcomes, project.project_id), o.model_version == model_version, o.status == "ok"
    )
    probs: dict[int, dict[str, Mapping[str, float]]] = {}
    vectors: dict[int, Sequence[float]] = {}
    found: dict[int, Said] = {}
    with store.read() as connection:
        if needs & {"probs", "vectors"}:
            query = select(s.task_id, s.control, s.probs, s.embedding).where(
                store.scope(signals, project.project_id), s.model_version == model_version
            )
            for task_id, control, chances, embedding in connection.execute(query):
                if task_id not in wanted:
                    continue
                if chances and "probs" in needs:
                    probs.setdefault(task_id, {})[control] = chances
                if embedding and "vectors" in needs:
                    vectors[task_id] = unpack(embedding)
        for row in connection.execute(heads):
            if row.task_id in wanted:
                regions = row.result if "committee" in needs else ()
                found[row.task_id] = Said(
                    row.uncertainty, row.confidence, regions, probs.get(row.task_id, {}), vectors.get(row.task_id, ())
                )
    return found


def label_counts(store: Store, project_id: int, config: LabelConfig) -> dict[str, Counter[str]]:
    """By control how often each class is in the labels that train."""
    results = (label.result for label in store.labels(project_id) if label.role in TRAINING_ROLES)
    return counted_classes(results, config)


def counted_classes(results: Iterable[Sequence[Mapping[str, Any]]], config: LabelConfig) -> dict[str, Counter[str]]:
    """By control how often each class is in these results."""
    keys = {control.name: control.value_key for control in config.controls if control.classes}
    found: dict[str, Counter[str]] = {name: Counter() for name in keys}
    for result in results:
        for region in result:
            name, value = str(region.get("from_name")), region.get("value")
            said = value.get(keys[name]) if name in keys and isinstance(value, Mapping) else None
            if isinstance(said, list):
                found[name].update(str(each) for each in said)
    return found


class Shown(Protocol):
    """What a task shows."""

    @property
    def data(self) -> Mapping[str, Any]: ...

    @property
    def meta(self) -> Mapping[str, Any]: ...


def cold_vectors(tasks: Sequence[Shown], config: LabelConfig) -> Floats:
    """(n, width) what tasks show, before any model: hashed words and parts of words of texts, the bits of an image's fingerprint.

    nan for a task of which nothing is known; (n, 0) where that is all of them.
    """
    keys = text_keys(config)
    texts = [shown_text(task.data, keys) for task in tasks]
    if any(texts):
        return text_vectors(texts)
    bits = [image_bits(noted_print(task.meta)) for task in tasks]
    width = max((len(each) for each in bits if each is not None), default=0)
    found = np.full((len(tasks), width), np.nan)
    for place, each in enumerate(bits):
        if each is not None and len(each) == width:
            found[place] = each
    return found


def text_vectors(texts: Sequence[str]) -> Floats:
    """(n, 256) of length 1: texts with words in common are near each other; nan for an empty one."""
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(n_features=_TEXT_WIDTH, ngram_range=(1, 1)).transform(texts)
    parts = HashingVectorizer(n_features=_TEXT_WIDTH, analyzer="char_wb", ngram_range=(3, 5)).transform(texts)
    found = np.asarray((words + parts).toarray(), dtype=np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = np.divide(found, lengths, out=np.full_like(found, np.nan), where=lengths > 0)
    return unit


def stability(store: Store, project: ProjectRow, model_version: str, *, seed: int = 0) -> float | None:
    """How far this version and the one before it say the same of tasks that both looked at, 0..1; None without such tasks.

    Bloodgood and Vijay-Shanker, A Method for Stopping Active Learning Based on Stabilizing Predictions (2009), with
    agreement in place of kappa, which boxes and spans have none of. At most _COMPARED tasks are compared, drawn at random.
    """
    before = _versions_before(store, project.project_id, model_version)[:1]
    if not before:
        return None
    both = set.intersection(*(outcome_ids(store, project.project_id, each) for each in (model_version, *before)))
    drawn = np.random.default_rng(seed).permutation(sorted(both))[:_COMPARED].tolist()
    said = [
        {task: each.regions for task, each in said_by(store, project, version, set(drawn), NEEDS["committee"]).items()}
        for version in (model_version, *before)
    ]
    differ = answer_disagreement(said, drawn, parse_label_config(project.label_config))
    known = differ[~np.isnan(differ)]
    return 1 - float(known.mean()) if len(known) else None


def _versions_before(store: Store, project_id: int, model_version: str) -> list[str]:
    """Versions that were promoted before this one, the latest first."""
    found: list[str] = []
    for steps in reversed(promotions_of(store, project_id)):
        detail = steps[0].detail
        name = str(detail["model_version"])
        if detail["digest"] and name != model_version and name not in found:
            found.append(name)
    return found
