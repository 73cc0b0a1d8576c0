"""Detectors of wrong classes and of data problems, each on labels that are made by hand or beside a plain loop."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from labelloop.errors import NotReady
from labelloop.label_config import Control, parse_label_config
from qa.issues import Label, error_report
from qa.issues.causes import disputed_tasks, hotspots, with_causes
from qa.issues.classes import class_findings, suspicious
from qa.issues.data_problems import (
    class_drift,
    conflicts,
    leakage,
    neighbour_distance,
    outliers,
    outlying_texts,
    stability_index,
)
from qa.issues.finding import Finding
from qa.issues.report import Clues
from qa.issues.sets import chosen, set_findings

# -- classes -------------------------------------------------------------------------------------------------------

sys.path.insert(0, str(Path(__file__).parent))
from issue_labels import AT, CONFIG, KINDS, MOOD, OTHERS, box, label, mood, told


def test_one_person_against_all_others_is_found_without_a_model() -> None:
    labels = [label(1, who, mood("good")) for who in (1, 2, 3)] + [label(1, 4, mood("bad"))]
    labels += [label(2, 1, mood("good")), label(2, 2, mood("bad"))]  # nobody can tell which of two is wrong
    labels += [label(3, who, mood("good")) for who in (1, 2)] + [label(3, 3, mood("Unsure"))]
    (found,) = class_findings(labels, MOOD, KINDS["mood"], {})
    assert (found.task, found.annotator, found.given, found.suggested) == (1, 4, "bad", "good")
    assert found.score == pytest.approx(3 / 4) and found.evidence == {"others": {"good": 3}}


def test_a_model_and_the_others_together_are_surer_than_either() -> None:
    labels = [label(task, 1, mood("good" if task % 2 else "bad")) for task in range(40)]
    chances = {task: {"good": 0.9, "bad": 0.1} if task % 2 else {"good": 0.1, "bad": 0.9} for task in range(40)}
    chances[1] = {"good": 0.05, "bad": 0.95}
    (alone,) = class_findings(labels, MOOD, KINDS["mood"], chances)
    assert (alone.task, alone.suggested, alone.detector) == (1, "bad", "confident_learning")
    both = class_findings([*labels, label(1, 2, mood("bad")), label(1, 3, mood("bad"))], MOOD, KINDS["mood"], chances)
    assert (both[0].task, both[0].annotator, both[0].detector) == (1, 1, "confident_learning+consensus")
    assert both[0].score > alone.score


@pytest.mark.parametrize("ranked_by", ["odds", "self_confidence", "normalized_margin"])
def test_flipped_labels_rank_first_whatever_ranks_them(ranked_by: Any) -> None:
    source = np.random.default_rng(0)
    truth = source.integers(3, size=300)
    rows = np.full((300, 3), 0.1)
    rows[np.arange(300), truth] = 0.8
    rows += source.uniform(0, 0.05, rows.shape)
    rows /= rows.sum(axis=1, keepdims=True)
    flipped = source.choice(300, 30, replace=False)
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + 1) % 3
    found = suspicious(labels, rows, ranked_by)
    assert len(set(found[:30].tolist()) & set(flipped.tolist())) >= 28


# -- several classes, and ratings ----------------------------------------------------------------------------------


def tags(*names: str) -> dict[str, Any]:
    return {"from_name": "tags", "to_name": "text", "type": "choices", "value": {"choices": list(names)}}


def of_sets(name: str, labels: list[Label], chances: dict[int, dict[str, float]] | None = None) -> list[Finding]:
    control = OTHERS.control(name)
    return set_findings(chosen(labels, control, KINDS[name]), control, chances or {})


def test_others_tell_which_class_is_missing_and_which_is_too_many() -> None:
    labels = [label(1, who, tags("x", "y")) for who in (1, 2)] + [label(1, 3, tags("x")), label(2, 1, tags("z"))]
    (found,) = of_sets("tags", labels)
    assert (found.annotator, found.type, found.given, found.suggested) == (3, "missing", None, "y")
    assert found.evidence == {"others_with_it": 2, "others": 2} and found.score == pytest.approx(2 / 3)
    labels = [label(1, who, tags("x")) for who in (1, 2, 3)] + [label(1, 4, tags("x", "z")), label(1, 5)]
    assert told(of_sets("tags", labels)) == [("extra", None, "z", None), ("missing", None, None, "x")]
    swapped = [label(1, who, tags("x")) for who in (1, 2)] + [label(1, 3, tags("y"))]
    assert told(of_sets("tags", swapped)) == [("wrong_class", None, "y", "x")]
    assert of_sets("tags", [label(1, 1, tags("x")), label(1, 2, tags("y"))]) == [], "nobody knows which is right"
    paths = [
        label(1, who, {"from_name": "tree", "type": "taxonomy", "value": {"taxonomy": [["A", leaf]]}})
        for who, leaf in ((1, "B"), (2, "B"), (3, "C"))
    ]
    assert told(of_sets("tree", paths)) == [("wrong_class", None, "A / C", "A / B")]


def test_a_model_tells_class_by_class() -> None:
    source = np.random.default_rng(0)
    labels, chances, wrong = [], {}, {}
    for task in range(600):
        truth = {name for name in "xyz" if source.random() < 0.4} or {"x"}
        chances[task] = {
            name: float(np.clip(0.85 * (name in truth) + 0.08 + source.normal(0, 0.05), 0, 1)) for name in "xyz"
        }
        if task % 10 == 0:
            name = "xyz"[task // 10 % 3]
            wrong[task] = ("extra", name) if name not in truth else ("missing", name)
            truth ^= {name}
        labels.append(label(task, 1, tags(*sorted(truth))))
    found = of_sets("tags", labels, chances)
    right = [each for each in found if wrong.get(each.task) == (each.type, each.suggested or each.given)]
    # Confident learning removes as many as it estimates to be wrong, which errs on the side of fewer.
    assert len(right) >= 0.95 * len(found) and len(right) >= 0.5 * len(wrong)


def test_a_rating_next_to_that_of_the_others_weighs_less() -> None:
    def stars(n: int) -> dict[str, Any]:
        return {"from_name": "stars", "type": "rating", "value": {"rating": n}}

    (control,) = (each for each in OTHERS.answers if each.name == "stars")
    labels = [label(task, who, stars(5)) for task in (1, 2) for who in (1, 2, 3)]
    labels += [label(1, 4, stars(4)), label(2, 4, stars(1))]
    found = class_findings(labels, control, KINDS["stars"], {})
    assert [(each.task, each.given, each.suggested, each.score) for each in found] == [
        (2, "1", "5", pytest.approx(3 / 4)), (1, "4", "5", pytest.approx(3 / 16)),
    ]  # fmt: skip


# -- data ----------------------------------------------------------------------------------------------------------


def test_duplicates_conflict_when_their_classes_differ() -> None:
    said = {1: ["good"], 2: ["bad"], 3: ["good", "good", "bad"], 4: ["good"], 5: ["good"], 6: ["good", "bad"]}
    answers = {task: [(who + task, name) for who, name in enumerate(names)] for task, names in said.items()}
    found = conflicts([[1, 2], [3, 4], [4, 5], [5, 6], [7, 8]], "mood", answers)
    assert [(each.tasks, each.evidence["labels"]) for each in found] == [
        ((1, 2), {"good": [1], "bad": [2]}),
        ((5, 6), {"good": [5, 6], "bad": [6]}),
    ]


def test_why_duplicates_conflict() -> None:
    pairs = [[task, task + 1] for task in range(0, 8, 2)]
    answers = {task: [(task, "bad" if task % 2 else "good")] for task in range(8)}
    assert {each.cause for each in conflicts(pairs, "mood", answers)} == {"guideline"}, (
        "four groups, the same two classes"
    )
    assert {each.cause for each in conflicts(pairs[:2], "mood", answers)} == {"ambiguous"}
    (own,) = conflicts([[0, 1]], "mood", {0: [(5, "good")], 1: [(5, "bad")]})
    assert own.cause == "slip", "one person gave both"


def test_groups_in_several_splits_leak() -> None:
    found = leakage([[1, 2], [3, 4], [5, 6]], {1: "train", 2: "val", 3: "train", 4: "train", 5: "val"})
    assert [(each.key, each.tasks) for each in found] == [("train and val", (1, 2))]


@given(st.integers(2, 30), st.integers(0, 1000))
def test_distances_to_neighbours_are_those_of_a_plain_loop(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    found = neighbour_distance(vectors, 4)
    for at, one in enumerate(vectors):
        apart = sorted(
            1 - one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
            for place, other in enumerate(vectors)
            if place != at
        )[:4]
        assert found[at] == pytest.approx(np.mean(apart), abs=1e-9)


def test_what_is_like_nothing_else_is_an_outlier() -> None:
    source = np.random.default_rng(0)
    vectors = np.concatenate([source.normal(0, 0.1, (80, 8)) + np.eye(8)[0], [-np.eye(8)[0]], [np.eye(8)[1]]])
    found = outliers(list(range(100, 182)), vectors)
    assert {each.tasks for each in found[:2]} == {(180,), (181,)}
    with pytest.raises(NotReady, match="outliers need 50"):
        outliers([1, 2], vectors[:2])


def test_a_text_that_has_nothing_in_common_with_others_is_an_outlier() -> None:
    states = ("late", "lost", "broken", "empty", "wet", "open", "gone", "here", "sent", "back", "paid")
    words = product(("red", "blue", "green", "old", "new"), states)
    texts = {at: f"the {colour} parcel number {at % 7} is {state}" for at, (colour, state) in enumerate(words)}
    texts[500] = "zygotic mitochondria fluoresce"
    assert [each.tasks for each in outlying_texts(texts)] == [(500,)]
    with pytest.raises(NotReady, match="outliers need 50"):
        outlying_texts({1: "a", 2: "b"})


def test_a_week_with_other_classes_has_drifted() -> None:
    source = np.random.default_rng(0)
    said = [(at, f"2026-W{40 + at % 4}", "good" if source.random() < 0.7 else "bad") for at in range(400)]
    assert class_drift("mood", said) == []
    said += [(1000 + at, "2026-W44", "bad" if at % 5 else "good") for at in range(60)]
    (found,) = class_drift("mood", said)
    assert found.key == "2026-W44" and set(found.tasks) == set(range(1000, 1060))
    counts = [Counter(name for _, week, name in said if (week == "2026-W44") is here) for here in (True, False)]
    table = np.array([[each["good"], each["bad"]] for each in counts], dtype=float)
    assert found.evidence["p"] == pytest.approx(5 * chi2_contingency(table, correction=False).pvalue)
    assert found.evidence["psi"] == round(stability_index(table[0], table[1]), 4) > 0.2


# -- causes and hotspots -------------------------------------------------------------------------------------------


def finding(task: int, who: int, given: str = "good", suggested: str = "bad") -> Finding:
    return Finding(task, task * 10 + who, who, "mood", None, "wrong_class", given, suggested, 0.5, "x")


def test_causes() -> None:
    many = [finding(1, 1), finding(2, 2), finding(3, 3, "bad", "good")]
    assert {each.cause for each in with_causes(many, {})} == {"guideline"}, "three people mix up the two"
    assert {each.cause for each in with_causes([finding(n, 1) for n in range(9)], {})} == {"slip"}, "one person does"
    assert with_causes([finding(1, 1)], {"mood": frozenset({1})})[0].cause == "ambiguous"
    said = {1: ["a", "b"], 2: ["a", "a", "b"], 3: ["a", "a", "b", "b"], 4: ["a", "b", "c"], 5: ["a", "a"], 6: ["a"]}
    assert disputed_tasks(said) == {1, 3, 4}


def test_hotspots_name_what_has_more_findings_than_its_share() -> None:
    labels = [label(task, 1 + task % 4, mood("good"), at=AT + timedelta(weeks=task % 2)) for task in range(200)]
    shares = {"mood": {"good": 0.5, "bad": 0.25, "ugly": 0.25}}
    careless = [finding(task, 1 + task % 4) for task in range(0, 100, 4)]
    found = hotspots(careless, labels, shares)
    by = {(each.by, each.key): each for each in found}
    person = by[("annotator", "1")]
    assert (person.n, person.expected, person.tasks) == (25, 25 / 4, tuple(range(0, 100, 4)))
    assert ("class_pair", "good -> bad") in by and ("week", "2026-W45") in by
    assert by[("class_pair", "good -> bad")].expected == pytest.approx(25 * 0.125 / 0.625)
    even = [finding(task, 1 + task % 4) for task in range(20)]
    assert [each.by for each in hotspots(even, labels, shares)] == ["class_pair"]
    assert hotspots([], labels, shares) == []


def test_a_model_that_was_not_made_for_a_control_says_nothing_of_it() -> None:
    labels = [label(task, 1, box("a", "cell", 10, 10, 20, 20)) for task in (1, 2)]
    report = error_report(labels, CONFIG, Clues(regions={1: [], 2: []}))
    assert report["findings"] == []
    assert {"detector": "predictions of box", "reason": "none of the predicted regions is of this control"} in report[
        "skipped"
    ]
    seen = box("", "cell", 10, 10, 20, 20, score=0.9)
    assert [each["task"] for each in error_report(labels, CONFIG, Clues(regions={1: [], 2: [seen]}))["findings"]] == [1]


def test_a_report_survives_broken_regions_and_says_what_it_skips() -> None:
    broken = [
        {"from_name": "box", "type": "rectanglelabels", "value": {"x": "left"}},
        {"from_name": "box", "type": "rectanglelabels"},
        {"from_name": "ner", "type": "labels", "value": {"start": None, "end": 3, "labels": ["PER"]}},
        {"from_name": "mood", "type": "choices", "value": None},
        box("a", "cell", 10, 10, 20, 20) | {"item_index": "first", "score": "high"},
    ]
    other = box("b", "plate", 70, 70, 10, 10, score=0.9)
    seen = {1: [], 2: [other]}
    report = error_report([label(1, 1, *broken), label(2, 1, other)], CONFIG, Clues(regions=seen))
    assert [(each["type"], each["region"]) for each in report["findings"]] == [("extra", "a")]
    empty = error_report([], CONFIG, Clues())
    assert empty["findings"] == [] and {each["detector"] for each in empty["skipped"]} == {
        "predictions of box", "predictions of ner",
    }  # fmt: skip
    number = parse_label_config('<View><Text name="text" value="$text"/><Number name="age" toName="text"/></View>')
    (skipped,) = error_report([], number, Clues())["skipped"]
    assert "<Number>" in skipped["reason"] and isinstance(number.answers[0], Control)
