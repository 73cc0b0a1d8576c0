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
