"""The cost of corrections by class: who is compared with whom, when a class counts as slow, and what is said of it."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from backends.showing import shown_regions
from backends.thresholds import without_hidden
from labelloop.values import Outcome
from qa.corrections.labels import ClassOf, CostLabel, Fate, Standing
from qa.corrections.report import Cost, correction_cost, cost_text, fate_words, saving_words

START = datetime(2026, 11, 1, tzinfo=UTC)
SEA: ClassOf = ("topic", "sea")
LAND: ClassOf = ("topic", "land")


def labels(
    count: int, version: str | None, name: ClassOf, typical: float, *, seed: int, first: int = 0
) -> list[CostLabel]:
    """Labels of two people, one a minute, each of a task of its own."""
    source = np.random.default_rng(seed)
    fates: Counter[tuple[ClassOf, Fate]] = Counter({(name, "accepted"): 1} if version else {})
    return [
        CostLabel(
            seed * 10**6 + n, n % 2, typical * float(np.exp(source.normal(0, 0.4))), START + timedelta(minutes=first + n),
            version, frozenset({name}), fates,
        )
        for n in range(count)
    ]  # fmt: skip


def project(sea: float = 20.0, land: float = 4.0) -> list[CostLabel]:
    """Blind labels take 10 seconds, those from suggestions of the two classes what is said."""
    made = labels(80, None, SEA, 10.0, seed=1, first=5) + labels(80, None, LAND, 10.0, seed=2, first=5)
    return made + labels(120, "v1", SEA, sea, seed=3) + labels(120, "v2", LAND, land, seed=4)


def by_class(cost: Cost) -> dict[ClassOf, Any]:
    return {each.name: each for each in cost.classes}


def test_each_class_is_compared_with_blind_labels_of_that_class() -> None:
    found = by_class(correction_cost(project(), {}))
    assert found[SEA].slows and not found[LAND].slows
    assert (found[SEA].saving.n_blind, found[SEA].saving.n_suggested) == (80, 120)
    assert found[SEA].saving.value < -6 and found[LAND].saving.value > 4
    both = correction_cost(project(), {}).saving
    assert both.n_blind == 160 and both.value is not None and abs(both.value) < 5


def test_what_was_suggested_before_a_class_was_shown_again_is_no_evidence() -> None:
    late = START + timedelta(days=1)
    again = {SEA: Standing(False, late, "command line", "asked for")}
    found = by_class(correction_cost(project(), again))[SEA]
    assert (found.saving.n_suggested, found.saving.value, found.slows, found.is_hidden) == (0, None, False, False)
    since = labels(60, "v3", SEA, 20.0, seed=5, first=2000) + labels(60, None, SEA, 10.0, seed=6, first=2005)
    found = by_class(correction_cost(project() + since, again))[SEA]
    assert (found.saving.n_suggested, found.saving.n_blind, found.slows) == (60, 60, True)
    hidden = {
        SEA: Standing(True, late, "labelloop", "slow"),
        ("topic", "gone"): Standing(True, late, "labelloop", "slow"),
    }
    kept = by_class(correction_cost(project(), hidden))
    assert kept[SEA].is_hidden and kept[SEA].saving.n_suggested == 120 and kept["topic", "gone"].is_hidden


def test_labels_whose_time_or_person_is_unknown_count_for_regions_alone() -> None:
    made = [
        CostLabel(label.task_id, None, label.seconds, label.at, label.model_version, label.classes, label.fates)
        if n % 2
        else CostLabel(label.task_id, 1, None, label.at, label.model_version, label.classes, label.fates)
        for n, label in enumerate(project())
    ]
    cost = correction_cost(made, {}, {"no_time": 200})
    told = cost.to_json(1)
    assert told["seconds_saved"]["value"] is None and told["regions"]["accepted"] == 240
    assert told["labels"] == {"blind": 160, "suggested": 240, "left_out": {"no_time": 200}}
    assert [(each["model_version"], each["labels"]) for each in told["versions"]] == [("v1", 120), ("v2", 120)]


def test_neutral_suggestions_are_hidden_in_few_projects_though_looked_at_again_and_again() -> None:
    """Six rankings of a project with five classes: of 200 projects at most eight lose a class."""
    lost = 0
    for seed in range(200):
        source = np.random.default_rng(seed)
        made = []
        for n in range(1000):
            version = None if source.random() < 0.2 else "v1"
            seconds = float(10 * np.exp(source.normal(0, 0.6)))
            name = ("topic", str(source.integers(5)))
            made.append(CostLabel(n, n % 3, seconds, START + timedelta(minutes=n), version, frozenset({name})))
        looks = (correction_cost(made[:count], {}) for count in range(250, 1001, 150))
        lost += any(each.slows for cost in looks for each in cost.classes)
    assert lost <= 8


def test_the_figures_in_words() -> None:
    report = correction_cost(project(), {LAND: Standing(True, START, "labelloop", "slow")}, {"review": 2}).to_json(1)
    text = cost_text(report)
    assert "labels: 160 blind, 240 with a suggestion; not counted: review 2" in text
    sea, land = (next(line for line in text.splitlines() if f"topic {name!r}" in line) for name in ("sea", "land"))
    assert "cost " in sea and sea.endswith("hidden from the next ranking on")
    assert "save " in land and land.endswith("hidden since 2026-11-01") and "accepted 120" in land
    empty = cost_text(correction_cost([], {}).to_json(1))
    assert "an unknown time (0 blind tasks and 0 suggested tasks" in empty
    assert (
        fate_words(dict.fromkeys(("accepted", "moved", "relabelled", "added", "deleted"), 0)) == "nothing was suggested"
    )
    assert saving_words({"value": None, "reason": "why"}) == "save or cost an unknown time (why)"


def test_no_score_reaches_the_threshold_of_a_hidden_class() -> None:
    thresholds = {"l": {"cat": 0.5, "dog": 0.5}}
    assert without_hidden(thresholds, {}) is thresholds
    hidden = without_hidden(thresholds, {"l": {"cat"}, "other": {"x"}})
    assert hidden == {"l": {"cat": math.inf, "dog": 0.5}, "other": {"x": math.inf}} and thresholds["l"]["cat"] == 0.5

    def box(*names: str) -> dict[str, Any]:
        return {"id": "-".join(names), "from_name": "l", "type": "rectanglelabels", "score": 1.0,
                "value": {"x": 1, "rectanglelabels": list(names)}}  # fmt: skip

    seen = shown_regions(Outcome(regions=(box("cat"), box("dog"), box("dog", "cat"))), hidden)
    assert [region["id"] for region in seen] == ["dog"]
