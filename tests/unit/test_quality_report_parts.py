"""The parts of the quality report on consensus, and on what could not be made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from qa.report.page import Content, quality_page

HOSTILE = "<script>alert(1)</script>"


def page(**more: Any) -> LexborHTMLParser:
    made = datetime(2026, 11, 27, 12, tzinfo=UTC)
    return LexborHTMLParser(quality_page(Content("Letters", made, {"controls": {}}, **more)))


def text_of(tree: LexborHTMLParser, selector: str) -> str:
    found = tree.css(selector)
    assert found, selector
    return " ".join(each.text() for each in found)


def test_the_consensus_of_regions_tells_what_has_no_quorum_and_what_was_merely_accepted() -> None:
    def region(probability: float, support: int, anchored: int) -> dict[str, Any]:
        return {"label": "cat", "probability": probability, "support": support, "anchored": anchored}

    told = {"control": "boxes", "method": "majority", "tasks": [
        {"task": 1, "n_people": 3, "quorum": 2, "regions": [region(1.0, 3, 0)], "rejected": []},
        {"task": 2, "n_people": 3, "quorum": 2, "regions": [region(0.667, 2, 2), region(1.0, 3, 1)], "rejected": []},
        {"task": 4, "n_people": 3, "quorum": 2, "regions": [], "rejected": [region(0.333, 1, 0)]},
    ]}  # fmt: skip
    tree = page(consensus=[told, {"control": "other", "reason": "nobody labelled"}])
    rows = [row.text(separator="|") for row in tree.css("#consensus-0 tbody tr")]
    assert rows == ["4|0|1|–|0|0|3", "2|2|0|0.667|5|3|3"]  # all agree on task 1
    assert "3 regions have a quorum, 1 has not" in text_of(tree, "#consensus-0")
    assert "nobody labelled" in text_of(tree, "#consensus-1 .why")


def test_an_answer_that_was_only_accepted_is_told_apart() -> None:
    tasks = [
        {"task": n, "label": "cat", "probability": 0.9, "support": 2, "anchored": n, "judgments": 3} for n in (0, 1, 2)
    ]
    tree = page(consensus=[{"control": "label", "tasks": tasks}], not_made={"errors": HOSTILE, "consensus": "no"})
    assert [row.css_first("th").text() for row in tree.css("#consensus-0 tbody tr")] == ["2", "1", "0"]  # type: ignore[union-attr]
    assert "In 1 task all who gave the answer merely accepted" in text_of(tree, "#consensus-0")
    assert "Not made: " in text_of(tree, "#errors .why") and tree.css("#consensus > .why") == []


def test_the_cost_of_corrections_is_told_by_class_and_version() -> None:
    regions = {"accepted": 8, "moved": 2, "relabelled": 1, "added": 3, "deleted": 4}
    saved = {"value": 3.26, "ci": [-1.0, 7.5], "blind_s": 9.0, "suggested_s": 5.7, "n_blind": 31, "n_suggested": 45,
             "people": 2, "reason": None}  # fmt: skip
    unknown = {**saved, "value": None, "ci": None, "reason": "12 blind tasks"}
    decision = {"verdict": "hidden", "at": "2026-11-27T10:00:00+00:00", "by": "labelloop", "reason": "slow"}
    about = {"control": "l", "class": HOSTILE, "regions": regions, "seconds_saved": saved, "slows": False}
    told = {
        "seconds_saved": unknown,
        "classes": [
            {**about, "shown": True, "decision": None},
            {**about, "class": "dog", "slows": True, "shown": True, "decision": None},
            {**about, "class": "cow", "shown": False, "decision": decision},
        ],
        "versions": [{"model_version": "v1", "labels": 45, "regions": regions, "classes": []}],
    }
    tree = page(cost=told)
    rows = [[cell.text() for cell in row.css("td")] for row in tree.css("#cost tbody tr")]
    assert rows[0] == ["8", "2", "1", "3", "4", "3.3 (−1.0 to 7.5; 45 suggested, 31 blind)", "shown"]
    assert [row[-1] for row in rows[1:3]] == ["to be hidden at the next ranking", "hidden since 2026-11-27"]
    assert rows[3] == ["45", "8", "2", "1", "3", "4"] and "12 blind tasks" in text_of(tree, "#cost")
    empty = page(cost={"seconds_saved": unknown, "classes": [], "versions": []})
    assert "Nothing was suggested." in text_of(empty, "#cost")
