"""Rule files: what is read, and that each mistake is told with its place and the nearest name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends.rules.reading import problems_with, read_rule_file, read_tables
from backends.rules.rule_file import RULE_KINDS
from labelloop.errors import DataError
from labelloop.label_config import Control, parse_label_config

CONTROL = parse_label_config(
    """<View><Text name="text" value="$text"/><Choices name="topic" toName="text">
    <Choice value="billing"/><Choice value="delivery"/></Choices></View>"""
).control("topic")
NAMES = parse_label_config(
    """<View><Text name="text" value="$text"/><Labels name="names" toName="text">
    <Label value="PERSON"/><Label value="ORG"/></Labels></View>"""
).control("names")

WHOLE: dict[str, Any] = {
    "version": 1,
    "control": "topic",
    "target": "choices",
    "functions": "functions.py",
    "priors": {"billing": 0.3},
    "rules": [
        {"name": "a", "version": 1, "kind": "keyword", "label": "billing", "keywords": ["invoice"], "accuracy": 0.9},
        {"name": "b", "version": "2b", "kind": "regex", "label": "billing", "pattern": "[0-9]+ EUR", "weight": 0.5},
        {"name": "c", "version": 1, "kind": "dictionary", "terms": {"delivery": ["parcel", "courier"]}},
        {"name": "d", "version": 1, "kind": "lookup", "fields": ["sender"], "table": {"x.org": "billing", 5: "delivery"}},
        {"name": "e", "version": 1, "kind": "threshold", "fields": ["amount"], "at_least": 10, "label": "billing"},
        {
            "name": "f", "version": 1, "kind": "metadata", "label": "delivery",
            "where": {"meta:site": ["x", 5, True], "size": {"below": 3.5}, "file:width": 10},
        },
        {"name": "g", "version": 1, "kind": "python", "function": "shouting"},
    ],
    "tests": [{"data": {"text": "an invoice"}, "expect": "billing"}, {"rule": "a", "data": {}, "expect": None}],
}  # fmt: skip


def written(folder: Path, body: Any) -> Path:
    path = folder / "rules.yaml"
    path.write_text(body if isinstance(body, str) else yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
    return path


def changed(place: str, value: Any) -> dict[str, Any]:
    """WHOLE with one value replaced or added; `place` is a path such as rules.0.label."""
    body = copy.deepcopy(WHOLE)
    *path, last = place.split(".")
    at: Any = body
    for part in path:
        at = at[int(part)] if part.isdigit() else at[part]
    at[int(last) if last.isdigit() else last] = value
    return body


def test_every_kind_of_rule_is_read(tmp_path: Path) -> None:
    file = read_rule_file(written(tmp_path, WHOLE))
    assert [rule.kind for rule in file.rules] == list(RULE_KINDS)
    assert [rule.title for rule in file.rules][:2] == ["a@1", "b@2b"]
    assert [rule.labels for rule in file.rules][2:4] == [("delivery",), ("billing", "delivery")]
    assert problems_with(file, {}, CONTROL) == []


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("rulez", [], "the file: unknown key 'rulez'; did you mean 'rules'?"),
        ("rules.0.keyword", ["x"], "rule 'a': unknown key 'keyword'; did you mean 'keywords'?"),
        ("rules.4.atleast", 3, "rule 'e': unknown key 'atleast'; did you mean 'at_least'?"),
        ("rules.5.where.size", {"belov": 3}, "unknown key 'belov'; did you mean 'below'?"),
        ("rules.0.kind", "keywords", "rule 'a': unknown kind 'keywords'; did you mean 'keyword'?"),
        ("tests.0.expected", "billing", "test 1: unknown key 'expected'; did you mean 'expect'?"),
        ("rules.0.label", True, "put it into quotes"),
        ("rules.0.keywords", [False], "put it into quotes"),
        ("rules.0.version", 1.1, "rule 'a' version"),
        ("rules.0.name", "a b", "rule 'a b' name"),
        ("rules.0.accuracy", 1.5, "less than 1"),
        ("rules.1.name", "a", "two rules are named 'a'"),
        ("rules.4.at_least", None, "give at least one bound"),
        ("rules.2.file", "terms.csv", "give either terms"),
        ("rules.3.fields", ["a", "b"], "a table has one field"),
        ("rules.2", {"name": "c", "version": 1, "kind": "dictionary", "file": "../secret.csv"}, "plain name of a file"),
        ("rules.0.fields", ["file:widht"], "'file:widht' is no fact of an image file"),
        ("functions", None, "name the Python file beside this one in functions"),
        ("tests.1.rule", "z", "a test names the rule 'z', which is not there"),
        ("rules", [], "at least 1 item"),
    ],
)
def test_a_mistake_is_told_with_its_place(place: str, value: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_rule_file(written(tmp_path, changed(place, value)))
    assert told in str(caught.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    body = changed("rules.0.keyword", ["x"])
    body["rules"][1]["patern"] = "x"
    with pytest.raises(DataError, match=r"(?s)'keyword'.*'patern'; did you mean 'pattern'"):
        read_rule_file(written(tmp_path, body))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 1\nversion: 2\n", "the key 'version' is there twice"),
        ("[", "not valid YAML"),
        ("? [a]\n: b\n", "not valid YAML|unhashable"),
        ("- a\n", "expected the keys of a rule file, got list"),
        ("version: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("version: 1\n", "rules: this key is missing"),
    ],
)
def test_what_is_no_rule_file_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        read_rule_file(written(tmp_path, text))
    with pytest.raises(DataError, match="cannot be read"):
        read_rule_file(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("rules.0.label", "biling", "rule 'a': label 'biling' is no class of control 'topic'; did you mean 'billing'?"),
        (
            "rules.2.terms",
            {"parcels": ["x"]},
            "rule 'c': label 'parcels' is no class of control 'topic'; known: billing",
        ),
        ("rules.3.table", {"x": "delivry"}, "rule 'd': label 'delivry'"),
        ("tests.0.expect", "invoices", "test 1: label 'invoices'"),
        (
            "tests.0.expect",
            [{"text": "x", "label": "billing"}],
            "test 1: expect names spans, and the target is choices",
        ),
        ("priors", {"bill": 0.5}, "priors: label 'bill'"),
        ("target", "spans", "target is 'spans', and control 'topic' takes choices"),
    ],
)
def test_what_does_not_fit_the_control_is_told(place: str, value: Any, told: str, tmp_path: Path) -> None:
    problems = problems_with(read_rule_file(written(tmp_path, changed(place, value))), {}, CONTROL)
    assert any(told in problem for problem in problems), problems


def test_rules_that_find_no_place_are_refused_for_spans(tmp_path: Path) -> None:
    rules = [
        {"name": "a", "version": 1, "kind": "threshold", "fields": ["n"], "above": 1, "label": "ORG"},
        {"name": "b", "version": 1, "kind": "keyword", "fields": ["title"], "keywords": ["x"], "label": "ORG"},
        {"name": "c", "version": 1, "kind": "keyword", "keywords": ["x"], "label": "ORG"},
    ]
    body = {"version": 1, "control": "names", "target": "spans", "rules": rules}
    problems = problems_with(read_rule_file(written(tmp_path, body)), {}, NAMES)
    assert len(problems) == 2
    assert "finds no place in a text" in problems[0] and "spans lie in 'text'" in problems[1]


def test_boxes_take_no_rules(tmp_path: Path) -> None:
    boxes = Control("RectangleLabels", "topic", "image", "image", "Image", ("billing",))
    (problem,) = problems_with(read_rule_file(written(tmp_path, WHOLE)), {}, boxes)
    assert "rules label Choices and Labels" in problem


def with_table(kind: str, name: str = "table.csv") -> dict[str, Any]:
    rule = {"name": "t", "version": 1, "kind": kind, "file": name}
    if kind == "lookup":
        rule["fields"] = ["country", "kind"]
    return {"version": 1, "control": "topic", "target": "choices", "rules": [rule]}


def test_tables_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(
        "\ufeffkind,country,label,note\nA,DE,billing,first\n B , FR ,delivery,\n", encoding="utf-8"
    )
    file = read_rule_file(written(tmp_path, with_table("lookup")))
    assert read_tables(file, tmp_path) == {"t": [(("DE", "A"), "billing"), (("FR", "B"), "delivery")]}
    (tmp_path / "table.csv").write_text('term,label\n"New York, NY",billing\n', encoding="utf-8")
    file = read_rule_file(written(tmp_path, with_table("dictionary")))
    assert read_tables(file, tmp_path) == {"t": [(("New York, NY",), "billing")]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read as CSV"),
        (b"term,label\n\xff\xfe,x\n", "cannot be read as CSV"),
        (b"word,label\nx,y\n", r"must have the columns \['term', 'label'\], it has \['word', 'label'\]"),
        (b"term,label\nx,y\n,billing\n", "line 3: a cell is empty"),
        (b"term,label\nx\n", "line 2: a cell is empty"),
        (b"term,label\n", "has no row"),
    ],
)
def test_a_table_that_is_wrong_is_told(text: bytes | None, told: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "table.csv").write_bytes(text)
    file = read_rule_file(written(tmp_path, with_table("dictionary")))
    with pytest.raises(DataError, match=told):
        read_tables(file, tmp_path)
