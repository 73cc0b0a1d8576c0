"""What became of the regions of a label, one by one and in words."""

from __future__ import annotations

from typing import Any

from sync.region_changes import in_words, region_changes


def box(region: str, label: str = "cat", x: float = 1.0, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": 1, "width": 2, "height": 2, "rectanglelabels": [label]}
    return {"id": region, "from_name": "l", "to_name": "i", "type": "rectanglelabels", "value": value, **more}


def choice(region: str, *labels: str) -> dict[str, Any]:
    return {"id": region, "from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": list(labels)}}


def words(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    return in_words(region_changes(before, after))


def test_boxes_that_come_go_and_move() -> None:
    before, after = [box("a"), box("b"), box("c")], [box("b", x=3), box("c"), box("d"), box("e")]
    kinds = {change.region_id: change.kind for change in region_changes(before, after)}
    assert kinds == {"a": "removed", "b": "moved", "d": "added", "e": "added"}
    assert words(before, after) == "2 boxes added, 1 box removed, 1 box moved"


def test_another_class_is_told_with_both_names_and_counted() -> None:
    before, after = [box("a"), box("b"), box("c")], [box("a", "dog"), box("b", "dog", x=9), box("c", "cow")]
    assert words(before, after) == "'cat' became 'dog' (2 times), 'cat' became 'cow'"


def test_a_choice_made_again_under_a_new_id_is_the_choice_changed() -> None:
    assert words([choice("x", "sea")], [choice("y", "land")]) == "'sea' became 'land'"
    assert words([choice("x", "sea")], [choice("y", "sea")]) == "nothing changed in its regions"
    assert words([choice("x", "sea"), box("a")], [box("a")]) == "1 choice removed"


def test_scores_origins_and_the_order_of_regions_are_no_changes() -> None:
    assert region_changes([box("a", score=0.5), box("b")], [box("b", origin="manual"), box("a")]) == []


def test_a_box_and_the_choice_about_it_share_an_id_and_are_two_regions() -> None:
    about = {**choice("a", "old"), "from_name": "age"}
    changed = {**choice("a", "young"), "from_name": "age"}
    (change,) = region_changes([box("a"), about], [box("a"), changed])
    assert (change.kind, change.control, change.before, change.after) == ("reclassified", "age", ("old",), ("young",))


def test_texts_are_changed_and_odd_values_are_compared_as_they_are() -> None:
    note = {"id": "n", "from_name": "note", "to_name": "i", "type": "textarea", "value": {"text": ["a"]}}
    assert words([note], [{**note, "value": {"text": ["b"]}}]) == "1 text changed"
    assert region_changes([{"id": 1, "value": None}], [{"id": 1, "value": None}]) == []
    assert words([], [{"id": 1, "value": None}]) == "1 region added"
    nested = {"id": "t", "from_name": "t", "type": "taxonomy", "value": {"taxonomy": [["animal", "cat"]]}}
    (change,) = region_changes([], [nested])
    assert change.after == ("animal / cat",)
