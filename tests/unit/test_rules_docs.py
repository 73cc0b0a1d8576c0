"""docs/rules.md is complete and exact: its examples run, its tables name every key and every kind, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from backends import rules
from backends.rules.fields import FILE_FIELDS
from backends.rules.label_model import STRENGTH
from backends.rules.learning import LEAST_LABELS, LEAST_PER_CLASS
from backends.rules.matchers import PATTERN_SECONDS
from backends.rules.rule_file import RULE_KINDS, USUAL_ACCURACY, Case, Condition, ExpectedSpan, Rule, RuleFile
from labelloop.errors import UsageError
from labelloop.label_config import parse_label_config
from labelloop.values import TaskItem

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.+?)^```", GUIDE, flags=re.M | re.S))
NAMES_XML = """<View><Text name="text" value="$text"/><Labels name="names" toName="text">
<Label value="PERSON"/><Label value="ORG"/></Labels></View>"""


def section(title: str) -> str:
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """The names in the first column of a section's table."""
    return {name for cell in re.findall(r"^\| (`.+?) \|", text, flags=re.M) for name in re.findall(r"`(\w+)`", cell)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_examples_pass_their_own_tests_and_predict(folder: Path) -> None:
    config = parse_label_config(FILES["config.xml"])
    with pytest.raises(UsageError, match="allow_python"):
        rules.import_model([str(folder / "rules.yaml")], config, folder / "v1")
    told = rules.import_model([str(folder / "rules.yaml")], config, folder / "v1", allow_python=True).params
    assert told["tests"] == 6 and len(told["rules"]) == len(RULE_KINDS)
    (outcome,) = rules.load(folder / "v1").predict([TaskItem(1, {"text": "MY PARCEL IS NOT HERE YET", "amount": 5})])
    assert outcome.fired_rules == ("things-sent@1", "shouting@1")
    spans = rules.import_model([str(folder / "spans.yaml")], parse_label_config(NAMES_XML), folder / "v2").params
    assert spans["tests"] == 2


def test_the_example_shows_every_kind() -> None:
    assert {rule["kind"] for rule in yaml.safe_load(FILES["rules.yaml"])["rules"]} == set(RULE_KINDS)
    assert set(FILES) == {"rules.yaml", "senders.csv", "functions.py", "config.xml", "spans.yaml"}


def test_every_key_of_the_file_and_its_tests_is_told_and_no_other() -> None:
    assert first_cells(section("The file")) == set(RuleFile.model_fields)
    assert first_cells(section("Every rule")) == {*Rule.model_fields, "label"}
    assert first_cells(section("Test cases")) == set(Case.model_fields)
    assert set(re.findall(r"\w+", re.findall(r"`\{(label.+?)\}`", section("Test cases"))[0])) == set(
        ExpectedSpan.model_fields
    )


def test_every_kind_is_told_with_its_keys_and_defaults() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section("Kinds"), flags=re.M))
    assert set(rows) == set(RULE_KINDS)
    for kind, told in rows.items():
        own = {
            key: field
            for key, field in RULE_KINDS[kind].model_fields.items()
            if key not in {*Rule.model_fields, "label"}
        }
        assert set(re.findall(r"`(\w+)`", told)) == set(own), kind
        for key, default in re.findall(r"`(\w+)` \((\w+)\)", told):
            assert str(own[key].default).lower() == default, key
    assert {"contains", "exists"} == set(Condition.model_fields) - set(re.findall(r"`(\w+)`", rows["threshold"]))
    assert all(f"`{key}`" in section("Kinds") for key in Condition.model_fields)


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"`{USUAL_ACCURACY}` if left out" in GUIDE
    assert PATTERN_SECONDS == 0.25 and "quarter\nof a second" in GUIDE
    assert STRENGTH == 5.0 and "as if that had been seen five times" in GUIDE
    assert f"only after {LEAST_LABELS} labels" in GUIDE and f"{LEAST_PER_CLASS} of each class" in GUIDE
    assert all(f"`file:{name}" in GUIDE for name in FILE_FIELDS)
