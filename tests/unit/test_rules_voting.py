"""What each kind of rule finds in a task, and that a rule that fails costs no other rule its vote."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backends.rules.fields import TaskFields
from backends.rules.matchers import Function, one_label
from backends.rules.phrases import PhraseIndex, longest_first
from backends.rules.rule_file import RuleFile
from backends.rules.voting import PATIENCE, Vote, Voters
from labelloop.errors import DataError, MediaError
from labelloop.label_config import Control
from labelloop.values import TaskItem

CLASSES = ("billing", "delivery")
SLOW = "^(a|aa|aaa)*[^ab]"
STUCK = "a" * 60


def voters(
    *rules: dict[str, Any],
    target: str = "choices",
    choice: str = "single",
    tables: dict[str, Any] | None = None,
    functions: dict[str, Function] | None = None,
    key: str = "text",
) -> Voters:
    body = [{"name": f"r{at}", "version": 1, **rule} for at, rule in enumerate(rules)]
    file = RuleFile.model_validate(
        {"version": 1, "control": "c", "target": target, "rules": body, "functions": "functions.py"}
    )
    tag = "Labels" if target == "spans" else "Choices"
    control = Control(tag, "c", "t", key, "Text", CLASSES, {"choice": choice})
    return Voters(file, tables or {}, functions or {}, control)


def fires(rule: dict[str, Any], task: TaskItem | dict[str, Any], **how: Any) -> bool:
    """Whether a rule that gives "billing" does so for a task."""
    item = task if isinstance(task, TaskItem) else TaskItem(1, task)
    labelled = rule if rule["kind"] in ("dictionary", "lookup", "python") else {"label": "billing", **rule}
    votes = voters(labelled, **how).ask([item])
    assert votes.failed == [{}]
    assert votes.cast[0] in ([], [Vote(0, "billing")])
    return bool(votes.cast[0])


def spans(text: str, *rules: dict[str, Any], **how: Any) -> list[tuple[str, str]]:
    votes = voters(*rules, target="spans", **how).ask([TaskItem(1, {"text": text})])
    assert votes.failed == [{}]
    return [(text[vote.start : vote.end], vote.label) for vote in votes.cast[0]]


@pytest.mark.parametrize(
    ("keywords", "text", "options", "found"),
    [
        (["invoice"], "My INVOICE, please", {}, True),
        (["invoice"], "My INVOICE, please", {"ignore_case": False}, False),
        (["invoice"], "invoices", {}, False),
        (["invoice"], "invoices", {"whole_words": False}, True),
        (["credit note"], "a credit\n  note", {}, True),
        (["credit note"], "a credit and a note", {}, False),
        (["e-mail"], "by e-mail.", {}, True),
        (["C++"], "in C++, not C", {}, True),
        (["C++"], "in C only", {}, False),
        (["straße"], "STRASSE", {}, True),
        (["Zoë"], "Zoe\u0308 wrote", {}, True),
        (["漢字"], "これは漢字です", {"whole_words": False}, True),
        ([""], "anything", {}, None),
        (["."], "the end.", {}, True),
    ],
)
def test_keywords(keywords: list[str], text: str, options: dict[str, Any], found: bool | None) -> None:
    rule = {"kind": "keyword", "keywords": keywords, **options}
    if found is None:
        with pytest.raises(ValueError, match="at least 1 character"):
            fires(rule, {"text": text})
    else:
        assert fires(rule, {"text": text}) is found


def test_keywords_look_into_any_field_and_into_lists() -> None:
    rule = {"kind": "keyword", "keywords": ["refund"], "fields": ["title", "tags", "shop.note"]}
    assert fires(rule, {"title": "Refund?"})
    assert fires(rule, {"tags": ["new", 5, "refund"]})
    assert fires(rule, {"shop": {"note": "no refund"}})
    assert fires(rule, {"shop.note": "a refund"})
    assert not fires(rule, {"text": "refund", "shop": ["refund"], "title": None})


def test_regular_expressions_and_their_groups() -> None:
    assert fires({"kind": "regex", "pattern": r"\d+ ?(EUR|€)"}, {"text": "costs 12 €"})
    assert not fires({"kind": "regex", "pattern": "eur"}, {"text": "EUR"})
    assert fires({"kind": "regex", "pattern": "eur", "ignore_case": True}, {"text": "EUR"})
    rule = {"kind": "regex", "label": "billing", "pattern": r"no\.\s*(?P<number>\d+)", "group": "number"}
    assert spans("🙂 no. 12 and no. 345", rule) == [("12", "billing"), ("345", "billing")]
    assert spans("a  b ", {"kind": "regex", "label": "billing", "pattern": r"\s+b?\s*"}) == [("b", "billing")]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"kind": "regex", "pattern": "("}, "is no pattern"),
        ({"kind": "regex", "pattern": "a*"}, "matches an empty text"),
        ({"kind": "regex", "pattern": "a", "group": 1}, "has no group 1"),
        ({"kind": "regex", "pattern": "a", "group": "x"}, "has no group 'x'"),
        ({"kind": "keyword", "keywords": ["  "]}, "has no word"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=f"rule 'r0': .*{told}"):
        voters({"label": "billing", **rule})


def test_a_term_with_two_labels_is_refused() -> None:
    terms = {"billing": ["Refund"], "delivery": ["refund"]}
    with pytest.raises(DataError, match="the term 'refund' has two labels, 'billing' and 'delivery'"):
        voters({"kind": "dictionary", "terms": terms})
    voters({"kind": "dictionary", "terms": terms, "ignore_case": False})
    rows = [(("x", "1"), "billing"), (("X", "1"), "delivery")]
    with pytest.raises(DataError, match="'X' and '1' has two labels"):
        voters({"kind": "lookup", "fields": ["a", "b"], "file": "t.csv"}, tables={"r0": rows})


def test_a_dictionary_gives_the_label_it_finds_most_often_and_none_when_undecided() -> None:
    rule = {"kind": "dictionary", "terms": {"billing": ["invoice", "refund"], "delivery": ["parcel"]}}
    asked = voters(rule).ask([TaskItem(1, {"text": text}) for text in ("invoice refund parcel", "invoice parcel", "")])
    assert asked.cast == [[Vote(0, "billing")], [], []]
    several = voters(rule, choice="multiple").ask([TaskItem(1, {"text": "parcel invoice parcel"})])
    assert several.cast == [[Vote(0, "delivery"), Vote(0, "billing")]]
    assert one_label([]) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [("ACME.com ", True), ("acme.org", False), (None, False), (["acme.com"], False), (7, True), (7.0, True), ("7", True),
     (True, True), ("true", True), (1, False)],
)  # fmt: skip
def test_lookups_take_whole_values(value: Any, found: bool) -> None:
    rule = {"kind": "lookup", "fields": ["sender"], "table": {"acme.com": "billing", 7: "billing", True: "billing"}}
    assert fires(rule, {"sender": value}) is found


def test_lookups_of_several_fields_need_them_all() -> None:
    how = {"tables": {"r0": [(("DE", "5"), "billing")]}}
    rule = {"kind": "lookup", "fields": ["country", "kind"], "file": "t.csv"}
    assert fires(rule, {"country": "de", "kind": 5}, **how)
    assert not fires(rule, {"country": "de"}, **how)
    assert not fires({**rule, "ignore_case": False}, {"country": "de", "kind": 5}, **how)


@pytest.mark.parametrize(
    ("value", "found"),
    [(10, True), (9.99, False), (20, False), ("15.5", True), ("ten", False), (True, False), (None, False),
     (float("nan"), False), ([15], False), (10**400, False)],
)  # fmt: skip
def test_thresholds(value: Any, found: bool) -> None:
    assert fires({"kind": "threshold", "fields": ["amount"], "at_least": 10, "below": 20}, {"amount": value}) is found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"meta:camera": "IR-1"}, True),
        ({"meta:camera": ["IR-2", "IR-1"], "iso": {"above": 100}}, True),
        ({"meta:camera": ["IR-2", "IR-1"], "iso": {"above": 800}}, False),
        ({"camera": "IR-1"}, False),
        ({"tags": "night"}, True),
        ({"tags": {"contains": "night"}}, True),
        ({"note": {"contains": "blur"}}, True),
        ({"iso": {"contains": "8"}}, False),
        ({"gone": {"exists": False}, "iso": {"exists": True}}, True),
        ({"gone": {"exists": False, "above": 1}}, False),
        ({"flash": True}, True),
        ({"flash": "yes"}, False),
        ({"meta:gps.lat": {"at_most": 48}}, True),
    ],
)
def test_metadata(where: dict[str, Any], found: bool) -> None:
    data = {"iso": 800, "tags": ["night", "rain"], "note": "a blurred one", "flash": True}
    task = TaskItem(1, data, {}, {"camera": "IR-1", "gps": {"lat": 47.5}})
    assert fires({"kind": "metadata", "where": where}, task) is found


def test_facts_of_an_image_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "IR-9"
    Image.new("L", (40, 30)).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "b.png").write_bytes(b"no image")
    rule = {"kind": "metadata", "where": {"file:width": {"below": 50}, "file:format": "PNG", "file:exif.Model": "IR-9"}}
    good = TaskItem(1, {"image": "u"}, {"u": tmp_path / "a.png"})
    assert fires(rule, good, key="image")
    fields = TaskFields(good, "image")
    assert (fields.value("file:height"), fields.value("file:name"), fields.value("file:colour")) == (30, "a.png", None)
    broken = TaskItem(2, {"image": "u"}, {"u": tmp_path / "b.png"})
    gone = TaskItem(3, {"image": "u"}, {"u": MediaError("not_found", "it is gone")})
    none = TaskItem(4, {"image": "u"})
    always = {"kind": "keyword", "fields": ["image"], "keywords": ["u"], "label": "delivery"}
    asked = voters({"label": "billing", **rule}, always, key="image").ask([broken, gone, none, good])
    assert asked.cast == [[Vote(1, "delivery")]] * 3 + [[Vote(0, "billing"), Vote(1, "delivery")]]
    assert "does not decode" in asked.failed[0][0] and "it is gone" in asked.failed[1][0]
    assert asked.failed[2:] == [{}, {}]


def test_a_pattern_that_runs_away_abstains_and_the_others_vote() -> None:
    keyword = {"kind": "keyword", "label": "delivery", "keywords": [STUCK]}
    ready = voters({"kind": "regex", "label": "billing", "pattern": SLOW}, keyword)
    asked = ready.ask([TaskItem(1, {"text": STUCK}), TaskItem(2, {"text": "aaa!"})])
    assert asked.cast == [[Vote(1, "delivery")], [Vote(0, "billing")]]
    assert asked.failed == [{0: "the pattern ran out of time"}, {}]


def test_a_pattern_that_keeps_running_away_is_no_longer_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.rules.matchers.PATTERN_SECONDS", 0.002)
    ready = voters({"kind": "regex", "label": "billing", "pattern": SLOW})
    asked = ready.ask([TaskItem(1, {"text": STUCK})] * (PATIENCE + 3))
    assert asked.cast == [[]] * (PATIENCE + 3)
    assert asked.errors == {0: PATIENCE + 3}
    assert [failed[0][:9] for failed in asked.failed[-3:]] == ["not asked"] * 3
    assert ready.ask([TaskItem(1, {"text": "aaa!"})]).cast == [[Vote(0, "billing")]]


def exits(task: TaskItem) -> str:
    raise SystemExit("bye")


def spoils(task: TaskItem) -> str:
    task.data["text"] = "changed"  # type: ignore[index]
    task.data["list"].append(1)
    return "billing"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda task: task.data["gone"], "KeyError: 'gone'"),
        (lambda task: "bill", "ValueError: 'bill' is no class of control 'c'"),
        (lambda task: 5, "a function returns a label, None"),
        (lambda task: [("x", 1)], "a function returns a label, None"),
        (exits, "SystemExit: bye"),
    ],
)
def test_a_function_that_fails_abstains_and_is_counted(function: Function, told: str) -> None:
    rules = ({"kind": "python", "function": "f"}, {"kind": "keyword", "label": "delivery", "keywords": ["a"]})
    asked = voters(*rules, functions={"f": function}).ask([TaskItem(1, {"text": "a"}), TaskItem(2, {"text": "a"})])
    assert asked.cast == [[Vote(1, "delivery")]] * 2
    assert told in asked.failed[0][0] and asked.errors == {0: 2}


def test_functions_see_the_task_and_cannot_change_it_for_others() -> None:
    rules = [{"kind": "python", "function": "f"}, {"kind": "keyword", "label": "delivery", "keywords": ["changed"]}]
    task = TaskItem(1, {"text": "a", "list": []}, {}, {"site": "north"})
    assert voters(*rules, functions={"f": spoils}).ask([task]).cast == [[Vote(0, "billing")]]
    assert task.data == {"text": "a", "list": []}
    north = {"f": lambda task: "billing" if task.meta["site"] == "north" else None}
    assert voters(rules[0], functions=north).ask([task]).cast == [[Vote(0, "billing")]]
    assert voters(rules[0], functions={"f": lambda task: None}).ask([task]).cast == [[]]


def test_functions_may_give_spans_that_lie_in_the_text() -> None:
    rule = {"kind": "python", "function": "f"}
    assert spans("Ada came", rule, functions={"f": lambda t: [(0, 4, "billing")]}) == [("Ada", "billing")]
    for wrong in ([(0, 99, "billing")], [(3, 4, "billing")], ["billing"], [(0, 3, "x")]):
        asked = voters(rule, target="spans", functions={"f": lambda t, w=wrong: w}).ask(
            [TaskItem(1, {"text": "Ada came"})]
        )
        assert asked.cast == [[]] and asked.errors == {0: 1}


def test_phrases_of_one_rule_do_not_overlap_and_the_longest_wins() -> None:
    terms = {"billing": ["New York", "York"], "delivery": ["New York Times", "Times Square"]}
    text = "New York Times Square in new york"
    assert spans(text, {"kind": "dictionary", "terms": terms}) == [
        ("New York Times", "delivery"),
        ("new york", "billing"),
    ]
    assert spans("a.b", {"kind": "keyword", "label": "billing", "keywords": ["a.", ".b"]}) == [("a.", "billing")]
    two = [{"kind": "keyword", "label": "billing", "keywords": ["York"]}, {"kind": "dictionary", "terms": terms}]
    assert spans(text, *two)[:2] == [("York", "billing"), ("york", "billing")]


words = st.sampled_from(["a", "Zoë", "Zoe\u0308", "🙂", "漢字", "ß", "İ", "-", "\u200f", "x1", "e\u0301"])


@given(
    st.lists(words, min_size=1, max_size=3), st.lists(st.sampled_from(["a", "Zoë", " ", "\r\n", "🙂", "İ", "-", "ß"]))
)
def test_found_offsets_are_code_points_of_the_phrase(phrase: list[str], around: list[str]) -> None:
    said = " ".join(phrase)
    index = PhraseIndex(ignore_case=True)
    index.add(said, 0, "x")
    text = f"{''.join(around)} {said.upper()} {''.join(reversed(around))}"
    found = index.find(text)
    for place in found:
        again = PhraseIndex(ignore_case=True)
        again.add(text[place.start : place.end], 0, "x")
        assert again.find(said) and text[place.start : place.end].strip() == text[place.start : place.end]
    kept = longest_first(found)
    assert kept and all(one.end <= other.start for one, other in pairwise(kept))
