"""What became of suggested regions: by ids where they were kept, else by place; of boxes, spans and choices."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labelloop.label_config import parse_label_config
from labelloop.values import Region
from qa.corrections.labels import FATES
from sync.suggestion_fates import suggestion_fates

BOXES = (
    '<View><Image name="i" value="$image"/><RectangleLabels name="l" toName="i"><Label value="cat"/>'
    '<Label value="dog"/></RectangleLabels><Choices name="age" toName="i" perRegion="true"><Choice value="old"/>'
    '<Choice value="young"/></Choices></View>'
)
SPANS = '<View><Text name="t" value="$text"/><Labels name="l" toName="t"><Label value="PER"/><Label value="ORG"/></Labels></View>'
CHOICES = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t" choice="multiple"><Choice value="sea"/>'
    '<Choice value="land"/><Choice value="Open air" alias="air"/></Choices></View>'
)


def box(region: str | None, label: str = "cat", x: float = 1.0, **more: Any) -> Region:
    value = {"x": x, "y": 1, "width": 10, "height": 10, "rectanglelabels": [label]}
    return {"id": region, "from_name": "l", "to_name": "i", "type": "rectanglelabels", "value": value, **more}


def span(region: str, label: str, start: int, end: int, **more: Any) -> Region:
    value = {"start": start, "end": end, "labels": [label], **more}
    return {"id": region, "from_name": "l", "to_name": "t", "type": "labels", "value": value}


def choice(region: str, *labels: str, control: str = "c", to: str = "t") -> Region:
    value = {"choices": list(labels)}
    return {"id": region, "from_name": control, "to_name": to, "type": "choices", "value": value}


def fates(xml: str, before: list[Region], after: list[Region]) -> dict[str, int]:
    found = suggestion_fates(before, after, parse_label_config(xml), {"text": "Ada met Bob at Acme"})
    return {f"{label} {fate}": count for ((_, label), fate), count in found.items()}


def test_boxes_are_accepted_moved_relabelled_added_and_deleted() -> None:
    before = [box("a"), box("b", x=20), box("c", x=40), box("d", x=60)]
    after = [box("a"), box("b", x=22), box("c", "dog", x=40), box("e", "dog", x=80)]
    assert fates(BOXES, before, after) == {
        "cat accepted": 1, "cat moved": 1, "cat relabelled": 1, "cat deleted": 1, "dog added": 1,
    }  # fmt: skip


def test_regions_without_kept_ids_are_matched_by_place_one_to_one() -> None:
    before = [box(None), box(None, x=20), box(None, x=40), box(None, x=60)]
    after = [box("v", x=61), box("w"), box("x", "dog", x=20), box("y", "dog", x=27), box("z", x=90)]
    assert fates(BOXES, before, after) == {
        "cat accepted": 1, "cat moved": 1, "cat relabelled": 1, "cat deleted": 1, "cat added": 1, "dog added": 1,
    }  # fmt: skip


def test_a_box_that_was_drawn_again_in_its_place_is_moved_and_keeps_what_is_said_of_it() -> None:
    before = [box("a"), choice("a", "old", control="age", to="i")]
    after = [box("n", x=2, origin="manual"), choice("n", "old", control="age", to="i")]
    assert fates(BOXES, before, after) == {"cat moved": 1, "old accepted": 1}


def test_what_the_editor_adds_and_rounds_is_no_change() -> None:
    found = box("a", origin="prediction")
    found["value"] = {**found["value"], "rotation": 0, "x": 1.00000000001}
    assert fates(BOXES, [box("a")], [found]) == {"cat accepted": 1}
    assert fates(SPANS, [span("a", "PER", 0, 3)], [span("a", "PER", 0, 3, text="Ada")]) == {"PER accepted": 1}
    # Rounded to a pixel: the editor says whether a person touched it.
    assert fates(BOXES, [box("a")], [box("a", x=1.004, origin="prediction")]) == {"cat accepted": 1}
    assert fates(BOXES, [box("a")], [box("a", x=1.004, origin="prediction-changed")]) == {"cat moved": 1}


def test_spans_overlap_or_are_others() -> None:
    before = [span("a", "PER", 0, 3), span("b", "PER", 8, 14), span("c", "ORG", 15, 19), span("d", "ORG", 4, 7)]
    after = [span("a", "PER", 0, 3), span("x", "PER", 8, 11), span("c", "PER", 15, 19), span("y", "ORG", 12, 14)]
    assert fates(SPANS, before, after) == {
        "PER accepted": 1, "PER moved": 1, "ORG relabelled": 1, "ORG deleted": 1, "ORG added": 1,
    }  # fmt: skip


def test_a_choice_is_accepted_or_relabelled_also_under_a_new_id() -> None:
    assert fates(CHOICES, [choice("a", "sea")], [choice("b", "sea")]) == {"sea accepted": 1}
    assert fates(CHOICES, [choice("a", "sea")], [choice("b", "land")]) == {"sea relabelled": 1}
    assert fates(CHOICES, [choice("a", "air")], [choice("a", "air")]) == {"Open air accepted": 1}
    assert fates(CHOICES, [choice("a", "sea")], []) == {"sea deleted": 1}


def test_of_a_set_of_choices_each_counts() -> None:
    assert fates(CHOICES, [choice("a", "sea", "land")], [choice("a", "sea")]) == {"sea accepted": 1, "land deleted": 1}
    assert fates(CHOICES, [choice("a", "sea")], [choice("a", "sea", "land")]) == {"sea accepted": 1, "land added": 1}
    assert fates(CHOICES, [choice("a", "sea", "land")], [choice("a", "sea", "air")]) == {
        "sea accepted": 1, "land relabelled": 1,
    }  # fmt: skip


drawn = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["cat", "dog"]), st.integers(0, 80)), max_size=6)


@given(drawn, drawn)
def test_every_suggested_and_every_labelled_region_has_one_fate(before: Any, after: Any) -> None:
    """Suggested are those accepted, moved, relabelled or deleted; labelled are those that are not deleted."""
    sides = [[box(*each) for each in {row[0]: row for row in rows}.values()] for rows in (before, after)]
    found = suggestion_fates(*sides, parse_label_config(BOXES), {})
    total = {fate: sum(n for (_, each), n in found.items() if each == fate) for fate in FATES}
    assert sum(total.values()) - total["added"] == len(sides[0])
    assert sum(total.values()) - total["deleted"] == len(sides[1])
    assert min(found.values(), default=1) > 0
