"""Versions of rule files: what import refuses, that code runs only as it was allowed, and what a version predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from backends import BACKENDS, backend_module, rules
from backends.showing import shown_regions
from backends.version_labels import read_labels, thresholds_of
from labelloop.artefacts import fetch_artefact, folder_digest, write_digest
from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from labelloop.values import Outcome, TaskItem

CONFIG = parse_label_config(
    """<View><Text name="text" value="$text"/>
    <Choices name="topic" toName="text"><Choice value="billing"/><Choice value="delivery"/></Choices>
    <Choices name="tags" toName="text" choice="multiple"><Choice value="urgent"/><Choice value="rude"/></Choices>
    <Labels name="names" toName="text"><Label value="PERSON"/><Label value="ORG"/></Labels>
    <Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="Cup"/></RectangleLabels>
    </View>"""
)
ALL = frozenset({"regions", "probs"})


def keyword(name: str, label: str, *words: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "kind": "keyword", "label": label, "keywords": list(words), **more}


def source(folder: Path, control: str, *rules: dict[str, Any], name: str = "rules.yaml", **more: Any) -> str:
    target = "spans" if control == "names" else "choices"
    folder.mkdir(exist_ok=True)
    body = {"version": 1, "control": control, "target": target, "rules": list(rules), **more}
    (folder / name).write_text(yaml.safe_dump(body, allow_unicode=True), encoding="utf-8")
    return str(folder / name)


def version(folder: Path, control: str, *said: dict[str, Any], **more: Any) -> Path:
    rules.import_model([source(folder, control, *said, **more)], CONFIG, folder / "v1")
    return folder / "v1"


def ask(folder: Path, *data: dict[str, Any]) -> list[Outcome]:
    return rules.load(folder).predict([TaskItem(at, each) for at, each in enumerate(data)], want=ALL)


def chosen(outcome: Outcome) -> list[str]:
    return [label for region in outcome.regions for label in region["value"]["choices"]]


PYTHON = {"name": "loud", "version": 3, "kind": "python", "function": "loud"}
CODE = """
def loud(task):
    return "delivery" if task.data["text"].isupper() else None
"""


def with_code(folder: Path, code: str = CODE, **more: Any) -> str:
    path = source(folder, "topic", keyword("pay", "billing", "invoice"), PYTHON, functions="functions.py", **more)
    (folder / "functions.py").write_text(code, encoding="utf-8")
    return path


def test_the_backend_is_known() -> None:
    assert backend_module("rules") is rules
    assert BACKENDS["rules"].module == "backends.rules"


def test_a_version_holds_the_rules_as_written_and_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "terms.csv").write_text("term,label\nparcel,delivery\n", encoding="utf-8")
    path = source(
        tmp_path, "topic", keyword("pay", "billing", "invoice"),
        {"name": "send", "version": "7b", "kind": "dictionary", "file": "terms.csv"},
        tests=[{"data": {"text": "an invoice"}, "expect": "billing"}, {"data": {"text": "parcel"}, "expect": "delivery"}],
    )  # fmt: skip
    artefact = rules.import_model([path], CONFIG, tmp_path / "v1")
    assert artefact.params["rules"] == ["pay@1", "send@7b"] and artefact.params["tests"] == 2
    assert {each.name for each in (tmp_path / "v1").iterdir()} == {"model", "labels.json", "metrics.json"}
    assert (tmp_path / "v1" / "model" / "0" / "rules.yaml").read_bytes() == Path(path).read_bytes()
    (labels,) = read_labels(tmp_path / "v1", "choices")
    assert (labels.control, labels.data_key, labels.classes) == ("topic", "text", ("billing", "delivery"))
    assert labels.calibrated is False
    assert rules.load(tmp_path / "v1").classes == ("billing", "delivery")
    assert rules.load(tmp_path / "v1").predict([]) == []
    with pytest.raises(UsageError, match="holds a version already"):
        rules.import_model([path], CONFIG, tmp_path / "v1")


def test_failing_tests_of_the_file_are_all_listed_and_nothing_is_left(tmp_path: Path) -> None:
    path = source(
        tmp_path, "topic", keyword("pay", "billing", "invoice"), keyword("send", "delivery", "parcel"),
        tests=[
            {"data": {"text": "invoice"}, "expect": "delivery"},
            {"data": {"text": "invoice"}, "expect": "billing"},
            {"data": {"text": "invoice"}, "rule": "send", "expect": "delivery"},
            {"data": {"text": "invoice"}, "rule": "pay", "expect": None},
            {"data": {"text": "nothing"}, "expect": None},
        ],
    )  # fmt: skip
    with pytest.raises(DataError) as caught:
        rules.import_model([path], CONFIG, tmp_path / "v1")
    lines = str(caught.value).splitlines()
    assert "3 of its 5 tests fail" in lines[0]
    assert lines[1:] == [
        "  test 1: expected delivery, the rules said billing (fired: pay@1)",
        "  test 3: expected delivery, rule 'send' said nothing",
        "  test 4: expected nothing, rule 'pay' said billing",
    ]
    assert not (tmp_path / "v1" / "model").exists()


def test_span_tests_compare_what_they_give(tmp_path: Path) -> None:
    said, person = keyword("who", "PERSON", "Ada", "Zoë"), {"label": "PERSON"}
    good = [
        {"data": {"text": "🙂 Ada, Zoë"}, "expect": [{**person, "text": "Ada"}, {**person, "start": 7, "end": 10}]},
        {"data": {"text": "Bob"}, "expect": []},
        {"data": {"text": "Bob"}, "rule": "who", "expect": None},
    ]  # fmt: skip
    version(tmp_path / "a", "names", said, tests=good)
    for number, wrong in enumerate(
        ([], [{"label": "ORG"}], [{"label": "PERSON", "text": "Ad"}], [{"label": "PERSON", "end": 4}], [{"label": "PERSON"}] * 2)
    ):  # fmt: skip
        with pytest.raises(DataError, match="test 1: expected"):
            version(tmp_path / f"b{number}", "names", said, tests=[{"data": {"text": "Ada"}, "expect": wrong}])


@pytest.mark.parametrize(
    ("control", "said", "told"),
    [
        ("topics", keyword("a", "billing", "x"), "no control 'topics'; did you mean 'topic'"),
        ("topic", keyword("a", "biling", "x"), "label 'biling' is no class of control 'topic'; did you mean 'billing'"),
        ("box", keyword("a", "Cup", "x"), "rules label Choices and Labels"),
    ],
)
def test_l11_what_does_not_fit_the_config_is_refused(
    control: str, said: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        version(tmp_path, control, said)


def test_sources_must_be_rule_files_of_different_controls(tmp_path: Path) -> None:
    path = source(tmp_path, "topic", keyword("a", "billing", "x"))
    for sources, told in (([], "got none"), ([str(tmp_path)], "is no file"), ([path, path], "labels 'topic' already")):
        with pytest.raises(UsageError, match=told):
            rules.import_model(sources, CONFIG, tmp_path / "v1")
    with pytest.raises(DataError, match=r"names 'gone\.csv'"):
        version(tmp_path, "topic", {"name": "d", "version": 1, "kind": "dictionary", "file": "gone.csv"})


def test_python_needs_to_be_allowed_and_runs_only_as_it_was(tmp_path: Path) -> None:
    path = with_code(tmp_path)
    with pytest.raises(UsageError, match="import with allow_python"):
        rules.import_model([path], CONFIG, tmp_path / "v1")
    rules.import_model([path], CONFIG, tmp_path / "v1", allow_python=True)
    before = folder_digest(tmp_path / "v1")
    (outcome,) = ask(tmp_path / "v1", {"text": "WHERE IS IT"})
    assert chosen(outcome) == ["delivery"] and outcome.fired_rules == ("loud@3",)
    assert folder_digest(tmp_path / "v1") == before  # no compiled file is left in an immutable folder
    code = tmp_path / "v1" / "model" / "0" / "functions.py"
    code.write_text(CODE + "\nopen('ran', 'w')\n")
    with pytest.raises(DataError, match="is not the code that was allowed"):
        rules.load(tmp_path / "v1")
    code.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        rules.load(tmp_path / "v1")


def test_y7_python_that_was_not_allowed_never_runs(tmp_path: Path) -> None:
    """Not at import, and not from a version into which it was smuggled."""
    marker = tmp_path / "ran"
    path = with_code(tmp_path, f"open({str(marker)!r}, 'w').close()\n{CODE}")
    with pytest.raises(UsageError):
        rules.import_model([path], CONFIG, tmp_path / "v1")
    plain = version(tmp_path / "plain", "topic", keyword("pay", "billing", "invoice"))
    for name in ("rules.yaml", "functions.py"):
        (plain / "model" / "0" / name).write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(DataError, match="is not the code that was allowed"):
        rules.load(plain)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("code", "told"),
    [("def other(task): ...\n", "has no function 'loud'"), ("1/0\n", "does not run: ZeroDivisionError"), ("loud = 5\n", "has no"),
     ("def (\n", "does not run: SyntaxError"), ("raise SystemExit(3)\n", "does not run: SystemExit")],
)  # fmt: skip
def test_functions_that_cannot_be_used_are_told(code: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        rules.import_model([with_code(tmp_path, code)], CONFIG, tmp_path / "v1", allow_python=True)


def test_a_failing_function_is_told_and_costs_no_task_its_result(tmp_path: Path) -> None:
    rules.import_model([with_code(tmp_path)], CONFIG, tmp_path / "v1", allow_python=True)
    first, second, third = ask(tmp_path / "v1", {"text": "an invoice"}, {"other": 1}, {"text": "INVOICE"})
    assert chosen(first) == ["billing"] and first.detail == ""
    assert second.status == "ok" and second.regions == () and "loud@3 failed: KeyError: 'text'" in second.detail
    assert third.fired_rules == ("pay@1", "loud@3")


def test_choices_carry_probability_uncertainty_and_the_rules_that_fired(tmp_path: Path) -> None:
    folder = version(
        tmp_path, "topic", keyword("pay", "billing", "invoice", accuracy=0.9), keyword("paid", "billing", "refund"),
        keyword("send", "delivery", "parcel", accuracy=0.9),
    )  # fmt: skip
    one, two, split, none, missing, wrong = ask(
        folder,
        {"text": "invoice"},
        {"text": "invoice refund"},
        {"text": "invoice parcel"},
        {"text": "?"},
        {},
        {"text": None},
    )
    (region,) = one.regions
    assert CONFIG.problem_with(region) is None and region["value"] == {"choices": ["billing"]}
    assert region["score"] == one.confidence == pytest.approx(0.9)
    assert one.uncertainty == pytest.approx(0.2)
    assert one.probs == pytest.approx({"billing": 0.9, "delivery": 0.1})
    assert (one.fired_rules, two.fired_rules) == (("pay@1",), ("pay@1", "paid@1"))
    assert two.confidence is not None and two.confidence > 0.9
    assert split.uncertainty == pytest.approx(1.0) and len(split.regions) == 1
    assert (none.status, none.regions, none.uncertainty, none.confidence) == ("ok", (), 1.0, None)
    assert missing.status == wrong.status == "text_missing"


def test_b6_a_class_that_no_rule_named_is_never_predicted(tmp_path: Path) -> None:
    (outcome,) = ask(version(tmp_path, "topic", keyword("bad", "billing", "x", accuracy=0.2)), {"text": "x"})
    assert outcome.regions == () and outcome.fired_rules == ("bad@1",)
    assert outcome.probs == pytest.approx({"billing": 0.2, "delivery": 0.8})


def test_y10_a_task_on_which_no_rule_fires_is_unsure_and_not_of_confidence_zero(tmp_path: Path) -> None:
    for control, label in (("topic", "billing"), ("tags", "rude"), ("names", "ORG")):
        folder = version(tmp_path / control, control, keyword("a", label, "x"), priors={label: 0.9})
        (outcome,) = ask(folder, {"text": "silence"})
        assert (outcome.status, outcome.regions, outcome.confidence, outcome.uncertainty) == ("ok", (), None, 1.0)


def test_several_choices_of_one_task_are_one_region(tmp_path: Path) -> None:
    folder = version(
        tmp_path, "tags", keyword("now", "urgent", "asap"), keyword("bad", "rude", "idiot", accuracy=0.9),
        keyword("maybe", "rude", "hm", accuracy=0.3), tests=[{"data": {"text": "ASAP idiot"}, "expect": ["rude", "urgent"]}],
    )  # fmt: skip
    both, weak, none = ask(folder, {"text": "asap, idiot"}, {"text": "hm asap"}, {"text": "hello"})
    (region,) = both.regions
    assert region["value"] == {"choices": ["urgent", "rude"]} and region["score"] == pytest.approx(0.7)
    assert CONFIG.problem_with(region) is None
    assert both.probs == pytest.approx({"urgent": 0.7, "rude": 0.9})
    assert both.uncertainty == pytest.approx(1 - 0.4)
    assert chosen(weak) == ["urgent"]
    assert (none.regions, none.uncertainty) == ((), 1.0)


def test_spans_lie_in_the_text_and_do_not_overlap(tmp_path: Path) -> None:
    folder = version(
        tmp_path, "names", keyword("who", "PERSON", "Ada Byron", "Zoë"), keyword("again", "PERSON", "Zoë"),
        keyword("firm", "ORG", "Byron Ltd", accuracy=0.8), keyword("weak", "ORG", "maybe", accuracy=0.3),
    )  # fmt: skip
    text = "👩‍🔬 Zoe\u0308, Ada Byron Ltd\r\nmaybe"
    full, none, blank, missing = ask(folder, {"text": text}, {"text": "nobody"}, {"text": " "}, {})
    found = [(r["value"]["text"], r["value"]["labels"], round(r["score"], 2)) for r in full.regions]
    assert found == [("Zoe\u0308", ["PERSON"], 0.94), ("Byron Ltd", ["ORG"], 0.8)]
    for region in full.regions:
        value = region["value"]
        assert text[value["start"] : value["end"]] == value["text"] and CONFIG.problem_with(region) is None
    assert full.fired_rules == ("who@1", "again@1", "firm@1", "weak@1")
    assert full.probs is not None and full.probs["ORG"] == pytest.approx(0.8)
    assert (none.status, none.regions, none.uncertainty) == ("ok", (), 1.0)
    assert blank.status == missing.status == "text_missing"


def test_one_version_answers_for_several_controls(tmp_path: Path) -> None:
    paths = [
        source(tmp_path / "a", "topic", keyword("pay", "billing", "invoice")),
        source(tmp_path / "b", "names", keyword("who", "PERSON", "Ada")),
    ]
    rules.import_model(paths, CONFIG, tmp_path / "v1")
    both, none = ask(tmp_path / "v1", {"text": "Ada got an invoice"}, {})
    assert [region["from_name"] for region in both.regions] == ["topic", "names"]
    assert both.fired_rules == ("pay@1", "who@1")
    assert both.probs is not None and set(both.probs) == {
        "topic/billing",
        "topic/delivery",
        "names/PERSON",
        "names/ORG",
    }
    assert none.status == "text_missing"
    assert rules.load(tmp_path / "v1").classes == ("billing", "delivery", "PERSON", "ORG")


def test_l8_y6_forty_broken_tasks_cost_no_other_task_its_result(tmp_path: Path) -> None:
    folder = version(
        tmp_path, "topic", keyword("pay", "billing", "invoice"),
        {"name": "n", "version": 1, "kind": "threshold", "fields": ["amount"], "above": 3, "label": "delivery"},
        {"name": "m", "version": 1, "kind": "metadata", "where": {"a.b": 1}, "label": "delivery"},
    )  # fmt: skip
    values: list[Any] = [
        None,
        5,
        [],
        {},
        True,
        "",
        " ",
        float("nan"),
        ["a", 1],
        {"b": {}},
        "\x00",
        "\ud800",
        b"x",
        10**400,
    ]
    broken = [{key: value} for key in ("text", "amount", "a") for value in values]
    tasks = [task for each in broken for task in (each, {"text": "invoice"})]
    outcomes = ask(folder, *tasks, {"text": "x" * 1_000_001})
    assert len(broken) >= 40 and len(outcomes) == len(tasks) + 1
    assert all(chosen(outcome) == ["billing"] for outcome in outcomes[1:-1:2])
    assert outcomes[-1].status == "too_large"


@pytest.mark.parametrize(
    "name", ["labels.json", "model/manifest.json", "model/0/rules.yaml", "model/0/label_model.json"]
)
def test_a_damaged_version_is_refused(name: str, tmp_path: Path) -> None:
    folder = version(tmp_path, "topic", keyword("a", "billing", "x"))
    for body in (b"", b"[]", orjson.dumps({"format": 9})):
        (folder / name).write_bytes(body)
        with pytest.raises(DataError):
            rules.load(folder)
    (folder / name).unlink()
    with pytest.raises(DataError):
        rules.load(folder)


def test_a_fetched_copy_serves_and_shows_what_is_over_the_threshold(tmp_path: Path) -> None:
    rules.import_model([with_code(tmp_path)], CONFIG, tmp_path / "v1", allow_python=True)
    copy = fetch_artefact(str(tmp_path / "v1"), write_digest(tmp_path / "v1"), tmp_path / "copies")
    loud, weak = ask(copy, {"text": "WHERE IS IT"}, {"text": "an invoice WHERE"})
    assert shown_regions(loud, thresholds_of(copy)) == list(loud.regions) != []
    assert shown_regions(weak, {"topic": {"billing": 0.8, "delivery": 0.3}}) == []
    again = ask(fetch_artefact(str(tmp_path / "v1"), copy.name, tmp_path / "copies"), {"text": "WHERE IS IT"})
    assert again == [loud]
