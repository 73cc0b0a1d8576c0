"""Strategies: each puts first what it stands for, keeps every task, and lets neither copies nor odd ones crowd the front."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelloop.label_config import parse_label_config
from sync.ranking.committee import answer_disagreement, class_disagreement, divergence, vote_entropy
from sync.ranking.diversity import far_out, k_center, k_means
from sync.ranking.pool import Pool, unknown_pool
from sync.ranking.said import NEEDS, Said, pool_of
from sync.ranking.strategies import STRATEGIES, order_pool
from sync.ranking.uncertainty import entropy, least_confidence, rarity

CLASSES = parse_label_config(
    '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/><Choice value="b"/>'
    '<Choice value="x"/></Choices></View>'
)
BOXES = parse_label_config(
    '<View><Image name="i" value="$i"/><RectangleLabels name="b" toName="i"><Label value="a"/></RectangleLabels></View>'
)


def made(uncertainty: Any, **more: Any) -> Pool:
    values = np.array(uncertainty, dtype=float)
    return Pool(
        list(range(10, 10 + len(values))), values, 1 - values, **{"vectors": np.zeros((len(values), 0)), **more}
    )


def blobs(sizes: list[int], width: int = 8, seed: int = 0) -> np.ndarray:
    """Vectors around as many directions as there are sizes."""
    source = np.random.default_rng(seed)
    return np.concatenate([np.eye(width)[at] + source.normal(0, 0.05, (n, width)) for at, n in enumerate(sizes)])


@given(
    n=st.integers(0, 60), strategy=st.sampled_from(STRATEGIES), batch=st.integers(1, 20), head=st.integers(1, 40),
    seed=st.integers(0, 2**48), known=st.sampled_from(["none", "some", "all"]), judged=st.booleans(),
)  # fmt: skip
def test_every_task_has_one_place_and_the_same_seed_the_same_order(
    n: int, strategy: str, batch: int, head: int, seed: int, known: str, judged: bool
) -> None:
    source = np.random.default_rng(n)
    vectors = source.normal(size=(n, 0 if known == "none" else 4))
    if known == "some":
        vectors[::3] = np.nan
    values = source.random(n) if judged else np.full(n, np.nan)
    pool = made(values, vectors=vectors, groups=source.integers(0, max(n // 2, 1), n).tolist())
    order = order_pool(pool, strategy, batch=batch, head=head, seed=seed)
    assert sorted(order) == list(pool.tasks)
    assert order == order_pool(pool, strategy, batch=batch, head=head, seed=seed)


def test_every_strategy_has_its_needs_told() -> None:
    assert set(NEEDS) == set(STRATEGIES)


@pytest.mark.parametrize(
    "strategy", ["uncertainty", "least_confidence", "entropy", "committee", "class_balance", "hybrid"]
)
def test_without_anything_else_the_most_uncertain_come_first(strategy: str) -> None:
    assert order_pool(made([0.1, 0.9, np.nan, 0.5]), strategy, batch=2, head=4, seed=1) == [12, 11, 13, 10]


def test_ties_go_at_random() -> None:
    orders = {tuple(order_pool(made([0.5] * 20), "uncertainty", batch=5, head=5, seed=seed)) for seed in range(3)}
    assert len(orders) == 3


def test_measures_of_uncertainty_by_hand() -> None:
    probs = {"c": np.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0], [np.nan] * 3])}
    pool = made([0.9, 0.8, 0.0, 0.7], probs=probs)
    assert least_confidence(pool) == pytest.approx([0.5, 0.6, 0.0, 0.7])
    wanted = [np.log(2), -(0.4 * np.log(0.4) + 0.6 * np.log(0.3)), 0.0]
    assert entropy(pool) == pytest.approx([*(np.array(wanted) / np.log(3)), 0.7])


def test_class_balance_asks_for_classes_that_have_few_labels() -> None:
    probs = {"c": np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])}
    pool = made([0.5, 0.5], probs=probs, counts={"c": np.array([99.0, 9.0, 0.0])})
    assert rarity(pool) == pytest.approx(
        np.array([0.6 * 0.01 + 0.3 * 0.1 + 0.1, 0.1 * 0.01 + 0.3 * 0.1 + 0.6]) * 0.5**0.5
    )
    assert order_pool(pool, "class_balance", batch=1, head=1, seed=0)[0] == 11


def test_committees_of_classes_by_hand() -> None:
    agreed, split = [0.9, 0.1], [0.1, 0.9]
    members = np.array([[agreed, agreed], [agreed, split]])
    assert vote_entropy(members) == pytest.approx([0.0, 1.0])
    kl = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert divergence(members) == pytest.approx([0.0, kl / np.log(2)])
    assert class_disagreement(members)[1] == pytest.approx((1 + kl / np.log(2)) / 2)
    assert divergence(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])) == pytest.approx([1.0])


def box(x: float, score: float = 0.9) -> dict[str, Any]:
    value = {"x": x, "y": 10.0, "width": 10.0, "height": 10.0, "rotation": 0, "rectanglelabels": ["a"]}
    return {
        "id": f"{x}", "from_name": "b", "to_name": "i", "type": "rectanglelabels", "value": value, "score": score,
        "original_width": 100, "original_height": 100,
    }  # fmt: skip


def test_committees_of_boxes_differ_by_what_is_not_matched() -> None:
    one = {1: [box(10)], 2: [box(10)], 3: [box(10), box(50)], 4: [], 5: [box(10)]}
    other = {1: [box(11)], 2: [box(60)], 3: [box(10)], 4: [box(10, score=0.2)], 6: []}
    found = answer_disagreement([one, other], [1, 2, 3, 4, 5, 6], BOXES)
    assert found[[0, 1, 3]] == pytest.approx([0.0, 1.0, 0.0])
    assert found[2] == pytest.approx(1 / 3) and np.isnan(found[[4, 5]]).all()


def test_a_committee_asks_about_what_its_members_differ_in() -> None:
    sure = {"c": {"a": 0.95, "b": 0.05}}
    said = {1: Said(0.1, 0.95, (), sure), 2: Said(0.1, 0.95, (), sure)}
    before = {1: Said(0.1, 0.95, (), {"c": {"b": 0.95, "a": 0.05}}), 2: said[2]}
    pool = pool_of([1, 2], said, CLASSES, "committee", earlier=[before])
    assert order_pool(pool, "committee", batch=1, head=1, seed=0) == [1, 2]
    assert pool.disagreement is not None and pool.disagreement[1] == pytest.approx(0.0)


def test_hybrid_takes_a_batch_from_all_corners_of_the_most_uncertain() -> None:
    vectors = blobs([80, 10, 10, 100])
    values = np.concatenate([np.full(80, 0.9), np.full(20, 0.8), np.full(100, 0.1)])
    order = order_pool(made(values, vectors=vectors), "hybrid", batch=20, head=20, seed=3)
    where = [(task - 10) for task in order[:20]]
    assert sum(80 <= at < 90 for at in where) >= 1 and sum(90 <= at < 100 for at in where) >= 1
    assert all(at < 100 for at in where)
    margin = order_pool(made(values, vectors=vectors), "uncertainty", batch=20, head=20, seed=3)
    assert all(task - 10 < 80 for task in margin[:20])


@pytest.mark.parametrize("strategy", ["diversity", "k_center"])
def test_diversity_meets_every_cluster_first(strategy: str) -> None:
    vectors = blobs([300, 40, 30, 20, 10])
    order = order_pool(made(np.full(400, 0.5), vectors=vectors), strategy, batch=5, head=5, seed=1)
    assert len({int(vectors[task - 10].argmax()) for task in order[:5]}) == 5


def test_before_any_model_the_first_tasks_are_of_all_clusters() -> None:
    vectors = blobs([300, 40, 30, 20, 10])
    pool = made(np.full(400, np.nan), vectors=vectors)
    for strategy in ("hybrid", "uncertainty"):
        order = order_pool(pool, strategy, batch=5, head=5, seed=2)
        assert len({int(vectors[task - 10].argmax()) for task in order[:5]}) == 5
    blind = order_pool(unknown_pool(list(range(100))), "hybrid", batch=5, head=5, seed=2)
    assert sorted(blind) == list(range(100)) and blind != sorted(blind)


def test_copies_come_behind_the_first_of_their_group() -> None:
    pool = made([0.9, 0.89, 0.88, 0.5, 0.4, 0.3], groups=["g", "g", "g", "a", "b", "b"])
    assert order_pool(pool, "uncertainty", batch=2, head=2, seed=0) == [10, 13, 14, 11, 15, 12]


def test_odd_ones_get_their_share_and_no_more() -> None:
    source = np.random.default_rng(5)
    vectors = np.concatenate([np.ones((190, 16)) + source.normal(0, 0.1, (190, 16)), source.normal(0, 1, (10, 16))])
    values = np.concatenate([np.linspace(0.1, 0.8, 190), np.full(10, 0.95)])
    order = order_pool(made(values, vectors=vectors), "uncertainty", batch=20, head=20, seed=0)
    odd = [at for at, task in enumerate(order) if task >= 200]
    assert len(odd) == 10 and sum(at < 40 for at in odd) == 2 and sum(at < 100 for at in odd) == 5
    assert far_out(vectors, 0)[190:].all() and not far_out(vectors, 0)[:190].any()


def test_k_center_is_never_further_from_any_than_twice_the_best() -> None:
    vectors = blobs([50, 50, 50])
    chosen = k_center(vectors, 3, seed=0)
    assert (
        len({int(vectors[at].argmax()) for at in chosen}) == 3
        and len(set(k_center(vectors, 100, seed=0).tolist())) == 100
    )


def test_none_of_many_is_none() -> None:
    assert len(k_means(blobs([20]), 0, seed=0)) == len(k_center(blobs([20]), 0, seed=0)) == 0


def test_k_means_of_equal_vectors_still_gives_as_many() -> None:
    chosen = k_means(np.ones((30, 4)), 7, seed=0)
    assert len(set(chosen.tolist())) == 7
