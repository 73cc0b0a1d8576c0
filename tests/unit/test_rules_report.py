"""The report on rules: coverage, overlap, conflict, accuracy on gold with an interval, and rules that repeat another."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from backends import rules
from backends.rules.artefact import read_rule_sets
from backends.rules.reporting import ControlReport
from labelloop.label_config import parse_label_config
from labelloop.values import TaskItem

CONFIG = parse_label_config(
    """<View><Text name="text" value="$text"/>
    <Choices name="topic" toName="text"><Choice value="a"/><Choice value="b"/><Choice value="c"/></Choices>
    <Choices name="tags" toName="text" choice="multiple"><Choice value="a"/><Choice value="b"/></Choices>
    <Labels name="names" toName="text"><Label value="P"/><Label value="O"/></Labels></View>"""
)


def keyword(name: str, label: str, *words: str) -> dict[str, Any]:
    return {"name": name, "version": 1, "kind": "keyword", "label": label, "keywords": list(words) or [name]}


def version(folder: Path, control: str, *said: dict[str, Any], **more: Any) -> Path:
    target = "spans" if control == "names" else "choices"
    body = {"version": 1, "control": control, "target": target, "rules": list(said), **more}
    (folder / "rules.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    rules.import_model([str(folder / "rules.yaml")], CONFIG, folder / "v1", allow_python=True)
    return folder / "v1"


def tasks_of(*texts: str) -> list[TaskItem]:
    return [TaskItem(at, {"text": text}) for at, text in enumerate(texts)]


def choice(label: str, control: str = "topic") -> list[dict[str, Any]]:
    return [{"from_name": control, "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


def span(start: int, end: int, label: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label]}
    return {"from_name": "names", "to_name": "text", "type": "labels", "value": value}


def only(report: rules.RuleReport) -> ControlReport:
    (control,) = report.controls
    return control


def test_shares_and_accuracy_of_each_rule(tmp_path: Path) -> None:
    folder = version(tmp_path, "topic", keyword("x", "a"), keyword("y", "a"), keyword("z", "b"))
    tasks = tasks_of("x", "x y", "x z", "z", "nothing", "x", "y", "x")
    gold = {0: choice("a"), 1: choice("a"), 2: choice("b"), 3: choice("b"), 4: choice("a"), 5: choice("a")}
    report = only(rules.rule_report(folder, tasks, gold))
    assert (report.tasks, report.gold, report.covered, report.conflict) == (8, 6, 7 / 8, 1 / 8)
    x, y, z = report.rules
    assert (x.rule, x.kind, x.labels, x.fired) == ("x@1", "keyword", ("a",), 5)
    assert (x.coverage, x.overlap, x.conflict) == (5 / 8, 2 / 8, 1 / 8)
    assert (y.coverage, y.overlap, y.conflict) == (2 / 8, 1 / 8, 0.0)
    assert (z.coverage, z.overlap, z.conflict) == (2 / 8, 1 / 8, 1 / 8)
    assert (x.judged, x.right, x.accuracy) == (4, 3, 0.75)
    # Wilson 1927, 3 of 4 at 95 %, worked out by hand.
    assert (x.low, x.high) == (pytest.approx(0.3006, abs=1e-3), pytest.approx(0.9544, abs=1e-3))
    assert (z.judged, z.right) == (2, 2)
    assert z.low is not None and z.high == pytest.approx(1.0) and z.low < 0.4
    assert x.expected_accuracy == pytest.approx(0.7)


def test_without_gold_nothing_is_judged(tmp_path: Path) -> None:
    folder = version(tmp_path, "topic", keyword("x", "a"), keyword("y", "b"))
    report = only(rules.rule_report(folder, tasks_of("x", "y")))
    assert report.given_gold is False
    assert [(rule.judged, rule.accuracy, rule.low, rule.high) for rule in report.rules] == [(0, None, None, None)] * 2
    empty = only(rules.rule_report(read_rule_sets(folder), []))
    assert (empty.tasks, empty.covered, empty.correlated) == (0, 0.0, ())


def test_spans_are_judged_exactly_and_overlap_where_they_touch(tmp_path: Path) -> None:
    folder = version(
        tmp_path, "names", keyword("long", "P", "Ada Byron"), keyword("short", "P", "Ada"), keyword("o", "O")
    )
    tasks = tasks_of("Ada Byron", "Ada, Ada", "o and Ada", "Ada Byron")
    gold = {0: [span(0, 9, "P")], 1: [span(0, 3, "P")], 2: [], 3: [span(0, 9, "O")]}
    report = only(rules.rule_report(folder, tasks, gold))
    long, short, other = report.rules
    assert (long.coverage, long.overlap, long.conflict) == (0.5, 0.5, 0.5)
    assert (short.coverage, short.overlap, short.conflict) == (1.0, 0.5, 0.5)
    assert (long.judged, long.right) == (2, 1)
    assert (short.judged, short.right) == (5, 1)
    assert (other.judged, other.right, other.overlap) == (1, 0, 0.0)


def test_several_choices_do_not_contradict(tmp_path: Path) -> None:
    folder = version(tmp_path, "tags", keyword("x", "a"), keyword("y", "b"))
    report = only(rules.rule_report(folder, tasks_of("x y", "x"), {0: choice("b", "tags")}))
    x, y = report.rules
    assert (report.conflict, x.overlap, x.conflict, x.accuracy, y.accuracy) == (0.0, 0.5, 0.0, 0.0, 1.0)


def test_errors_are_counted_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("def f(task):\n    return task.data['kind']\n", encoding="utf-8")
    python = {"name": "f", "version": 2, "kind": "python", "function": "f"}
    folder = version(tmp_path, "topic", python, keyword("x", "a"), functions="functions.py")
    tasks = [
        TaskItem(1, {"kind": "a"}),
        TaskItem(2, {"text": "x"}),
        TaskItem(3, {"kind": "q"}),
        TaskItem(4, {"kind": "c"}),
    ]
    first, second = only(rules.rule_report(folder, tasks)).rules
    assert (first.rule, first.fired, first.errors, first.error) == ("f@2", 2, 2, "KeyError: 'kind'")
    assert first.labels == ("a", "b", "c")
    assert (second.errors, second.error) == (0, None)


WORDS = [("one", "a"), ("two", "a"), ("three", "a"), ("four", "b"), ("five", "b"), ("six", "c"), ("seven", "c")]
RULES = [keyword(name, label) for name, label in (*WORDS, ("twin", "a"))]


def world(count: int, seed: int, copies: float) -> tuple[list[TaskItem], dict[int, Any]]:
    """Texts of words that fire rules by class; "twin" repeats "one" in that share of its firings, all else independent."""
    rng = random.Random(seed)
    texts, gold = [], {}
    for number in range(count):
        label = rng.choice("abc")
        words = [name for name, own in WORDS if rng.random() < (0.3 if label == own else 0.04)]
        alone = rng.random() < (0.3 if label == "a" else 0.04)
        if ("one" in words) if rng.random() < copies else alone:
            words.append("twin")
        texts.append(" ".join(words))
        gold[number] = choice(label)
    return tasks_of(*texts), gold


@pytest.mark.parametrize("with_gold", [True, False])
def test_a_rule_that_repeats_another_is_reported(with_gold: bool, tmp_path: Path) -> None:
    folder = version(tmp_path, "topic", *RULES)
    tasks, gold = world(3000, 1, copies=0.9)
    report = only(rules.rule_report(folder, tasks, gold if with_gold else None))
    assert report.given_gold is with_gold
    (pair,) = report.correlated
    assert (pair.first, pair.second, pair.label) == ("one@1", "twin@1", "a")
    assert pair.together > 1.5 * pair.expected and pair.correlation > 0.3


@pytest.mark.parametrize("count", [150, 1500])
@pytest.mark.parametrize("with_gold", [True, False])
def test_rules_that_agree_because_they_are_right_are_not_reported(with_gold: bool, count: int, tmp_path: Path) -> None:
    folder = version(tmp_path, "topic", *RULES)
    for seed in range(5):
        tasks, gold = world(count, seed, copies=0.0)
        assert only(rules.rule_report(folder, tasks, gold if with_gold else None)).correlated == ()


def test_span_rules_that_repeat_another_are_reported(tmp_path: Path) -> None:
    folder = version(
        tmp_path, "names", keyword("x", "P", "Ada", "Bob", "it"), keyword("y", "P", "Ada", "Bob", "it"),
        keyword("z", "P", "Cy", "Ada"), keyword("o", "O", "Ltd", "it"),
    )  # fmt: skip
    rng = random.Random(0)
    words = [rng.choice(["Ada", "Bob", "it", "Cy", "Ltd"]) for _ in range(600)]
    gold = {at: [span(0, len(word), "P")] if word in ("Ada", "Cy") else [] for at, word in enumerate(words)}
    report = only(rules.rule_report(folder, tasks_of(*words), gold))
    assert ("x@1", "y@1") in {(pair.first, pair.second) for pair in report.correlated}


def test_the_report_is_json(tmp_path: Path) -> None:
    folder = version(tmp_path, "topic", *RULES)
    tasks, gold = world(400, 1, copies=1.0)
    body = orjson.loads(orjson.dumps(rules.rule_report(folder, tasks, gold).to_json()))
    (control,) = body["controls"]
    assert control["rules"][0]["rule"] == "one@1" and control["correlated"][0]["first"] == "one@1"
    assert set(control["rules"][0]) >= {"coverage", "overlap", "conflict", "accuracy", "low", "high", "errors"}
