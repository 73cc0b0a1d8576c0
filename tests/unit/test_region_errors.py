"""Detectors of wrong regions: boxes, spans, polygons, masks and points, each on labels that are made by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from labelloop.label_config import Control
from qa.issues import Label
from qa.issues.finding import Finding
from qa.issues.placed import placed_in
from qa.issues.region_errors import region_findings, regions_of_others
from qa.issues.slips import slips

sys.path.insert(0, str(Path(__file__).parent))
from issue_labels import BOX, KINDS, NER, OTHERS, box, brushed, label, outline, point, span, told


def found_by(control: Control, labels: list[Label], seen: list[dict[str, Any]]) -> list[Finding]:
    kind = KINDS[control.name]
    return region_findings(
        labels, control, kind, {each.annotation: placed_in(seen, control, kind, each.data) for each in labels}
    )


def boxes_by(labels: list[Label], seen: list[dict[str, Any]]) -> list[Finding]:
    return found_by(BOX, labels, seen)


def spans_by(labels: list[Label], seen: list[dict[str, Any]]) -> list[Finding]:
    return found_by(NER, labels, seen)


def by_others(control: Control, labels: list[Label]) -> list[Finding]:
    kind = KINDS[control.name]
    return region_findings(labels, control, kind, regions_of_others(labels, control, kind), detector="consensus")


# -- boxes ---------------------------------------------------------------------------------------------------------


def test_what_can_be_wrong_with_a_box_is_told_apart() -> None:
    seen = [box("", "cell", 10, 10, 20, 20, score=0.9)]
    assert told(boxes_by([label(1, 1, box("a", "cell", 11, 10, 20, 20))], seen)) == []
    assert told(boxes_by([label(1, 1)], seen)) == [("missing", None, None, "cell")]
    assert told(boxes_by([label(1, 1, box("a", "plate", 11, 10, 20, 20))], seen)) == [
        ("wrong_class", "a", "plate", "cell")
    ]
    assert told(boxes_by([label(1, 1, box("a", "cell", 22, 10, 20, 20))], seen)) == [
        ("low_overlap", "a", "cell", "cell")
    ]
    both = label(1, 1, box("a", "cell", 10, 10, 20, 20), box("b", "cell", 70, 70, 20, 20))
    assert told(boxes_by([both], seen)) == [("extra", "b", "cell", None)]
    assert told(boxes_by([label(1, 1)], [box("", "cell", 10, 10, 20, 20, score=0.3)])) == [], "too unsure to say so"
    assert region_findings([label(1, 1, box("a", "cell", 1, 1, 5, 5))], BOX, KINDS["box"], {}) == [], (
        "nothing to judge by"
    )


def test_a_neighbour_of_the_other_class_is_no_wrong_class() -> None:
    """Overlapping boxes of both classes: each is matched with its own class first."""
    drawn = label(1, 1, box("a", "cell", 10, 10, 20, 20), box("b", "plate", 12, 10, 20, 20))
    seen = [box("", "plate", 11, 10, 20, 20, score=0.9), box("", "cell", 11.5, 10, 20, 20, score=0.9)]
    assert boxes_by([drawn], seen) == []


def test_extra_boxes_weigh_less_where_the_model_does_not_know_the_class() -> None:
    seen = [box("", "cell", 10, 10, 20, 20, score=0.9)]
    labels = [label(task, 1, box("a", "cell", 10, 10, 20, 20), box("b", "plate", 60, 60, 20, 20)) for task in range(6)]
    assert {each.score for each in boxes_by(labels, seen)} == {0.0}, "it finds no plate at all"
    known = boxes_by([*labels, label(9, 1, box("a", "cell", 10, 10, 20, 20), box("c", "cell", 60, 60, 9, 9))], seen)
    assert known[0].region == "c" and known[0].score > 0.4


def test_others_judge_a_person_by_what_most_of_them_drew() -> None:
    one = box("a", "cell", 10, 10, 20, 20)
    labels = [label(1, 1, one), label(1, 2, one), label(1, 3)]
    found = by_others(BOX, labels)
    assert [(each.annotator, each.type, each.detector) for each in found] == [(3, "missing", "consensus")]
    split = [
        label(1, who, box("a", of, 10, 10, 20, 20))
        for who, of in ((1, "cell"), (2, "plate"), (3, "cell"), (4, "plate"))
    ]
    assert by_others(BOX, split) == [], "people differ: nobody is wrong"
    alone = [label(1, 1, one), label(1, 2), label(1, 3), label(1, 4)]
    assert told(by_others(BOX, alone)) == [("extra", "a", "cell", None)]
    assert regions_of_others(labels[:2], BOX, KINDS["box"]) == {}, "of two people nobody knows who is right"


def test_slips_of_the_hand_need_no_model() -> None:
    drawn = label(
        1, 1, box("a", "cell", 10, 10, 20, 20), box("b", "cell", 10, 10, 20, 20), box("c", "cell", 40, 40, 0, 5),
        box("d", "cell", 95, 40, 20, 5), box("e", "plate", 50, 60, 0.1, 5), box("f", "plate", 10, 10, 20, 20),
    )  # fmt: skip
    found = {each.region: (each.type, each.cause) for each in slips([drawn], BOX, KINDS["box"])}
    assert found == {
        "b": ("duplicate", "ui"), "c": ("extra", "ui"), "d": ("low_overlap", "ui"), "e": ("extra", "ui"),
    }  # fmt: skip


# -- spans ---------------------------------------------------------------------------------------------------------


def test_what_can_be_wrong_with_a_span_is_told_apart() -> None:
    seen = [span("", "PER", 0, 8, 0.9)]
    assert told(spans_by([label(1, 1, span("a", "PER", 0, 8))], seen)) == []
    assert told(spans_by([label(1, 1)], seen)) == [("missing", None, None, "PER")]
    assert told(spans_by([label(1, 1, span("a", "ORG", 0, 8))], seen)) == [("wrong_class", "a", "ORG", "PER")]
    assert told(spans_by([label(1, 1, span("a", "PER", 0, 4))], seen)) == [("boundary", "a", "PER", "PER")]
    both = label(1, 1, span("a", "PER", 0, 8), span("b", "ORG", 20, 25))
    assert told(spans_by([both], seen)) == [("extra", "b", "ORG", None)]
    exact = [span("", "PER", 0, 8, 0.9), span("", "PER", 4, 8, 0.9)]
    assert told(spans_by([label(1, 1, span("a", "PER", 4, 8))], exact)) == [], "nested, the larger one is half there"


def test_others_judge_spans_too_and_slips_need_no_model() -> None:
    labels = [
        label(1, 1, span("a", "PER", 0, 8)),
        label(1, 2, span("b", "PER", 0, 8)),
        label(1, 3, span("c", "PER", 0, 7)),
    ]
    found = by_others(NER, labels)
    assert [(each.annotator, each.type) for each in found] == [(3, "boundary")]
    apart = [label(1, who, span("a", "PER", 0, 5 + who)) for who in range(4)]
    assert by_others(NER, apart) == [], "each has other boundaries: nobody is wrong"
    drawn = label(
        1, 1, span("a", "PER", 0, 3), span("b", "PER", 0, 3), span("c", "PER", 4, 4), span("d", "PER", 3, 7),
        span("e", "ORG", 7, 8), span("f", "ORG", 1, 2), span("g", "ORG", 10, 11), text="Ann Lee, a B",
    )  # fmt: skip
    alone = {each.region: each.type for each in slips([drawn], NER, KINDS["ner"])}
    assert alone == {"b": "duplicate", "c": "extra", "d": "boundary", "e": "extra", "f": "boundary", "g": "extra"}


# -- other regions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [outline, brushed])
def test_outlines_and_masks_are_judged_as_boxes_are(make: Any) -> None:
    control = OTHERS.control("outline" if make is outline else "mask")
    seen = [make("", "cell", 10, 10, 20, 0.9)]
    assert told(found_by(control, [label(1, 1, make("a", "cell", 11, 10, 20))], seen)) == []
    assert told(found_by(control, [label(1, 1)], seen)) == [("missing", None, None, "cell")]
    assert told(found_by(control, [label(1, 1, make("a", "plate", 11, 10, 20))], seen)) == [
        ("wrong_class", "a", "plate", "cell")
    ]
    assert told(found_by(control, [label(1, 1, make("a", "cell", 22, 10, 20))], seen)) == [
        ("low_overlap", "a", "cell", "cell")
    ]
    both = label(1, 1, make("a", "cell", 10, 10, 20), make("b", "plate", 70, 70, 20))
    (extra,) = found_by(control, [both], seen)
    assert (extra.type, extra.region, extra.evidence["box"]) == ("extra", "b", [70, 70, 20, 20])
    twice = label(1, 1, make("a", "cell", 10, 10, 20), make("b", "cell", 10, 10, 20))
    assert [each.type for each in slips([twice], control, KINDS[control.name])] == (
        ["duplicate"] if make is outline else []
    )


def test_masks_of_other_sizes_are_compared_and_strokes_are_one() -> None:
    control = OTHERS.control("mask")
    seen = [brushed("", "cell", 10, 10, 20, 0.9, scale=2)]
    assert told(found_by(control, [label(1, 1, brushed("a", "cell", 10, 10, 20))], seen)) == []
    strokes = label(1, 1, brushed("a", "cell", 10, 10, 10), brushed("b", "cell", 60, 60, 30))
    assert told(found_by(control, [strokes], seen)) == [("missing", None, None, "cell"), ("extra", None, "cell", None)]


def test_points_are_judged_by_how_near_they_lie() -> None:
    control = OTHERS.control("point")
    seen = [point("", "eye", 40, 40, 0.9)]
    assert told(found_by(control, [label(1, 1, point("a", "eye", 43, 40))], seen)) == []
    assert told(found_by(control, [label(1, 1, point("a", "ear", 43, 40))], seen)) == [
        ("wrong_class", "a", "ear", "eye")
    ]
    assert told(found_by(control, [label(1, 1, point("a", "eye", 52, 40))], seen)) == [
        ("low_overlap", "a", "eye", "eye")
    ]
    assert [each[0] for each in told(found_by(control, [label(1, 1, point("a", "eye", 90, 90))], seen))] == [
        "missing", "extra",
    ]  # fmt: skip
    drawn = label(
        1,
        1,
        point("a", "eye", 50, 50),
        point("b", "eye", 50, 50.01),
        point("c", "eye", 51, 50),
        point("d", "eye", 120, 5),
    )
    assert [(each.region, each.type) for each in slips([drawn], control, KINDS["point"])] == [
        ("b", "duplicate"), ("d", "extra"),
    ]  # fmt: skip


def test_a_prediction_without_the_size_of_the_image_is_compared_all_the_same() -> None:
    sized = {"original_width": 640, "original_height": 480}
    drawn = label(1, 1, box("a", "cell", 10, 10, 20, 20) | sized)
    assert boxes_by([drawn], [box("", "cell", 10, 10, 20, 20, score=0.9)]) == []
    control = OTHERS.control("point")
    assert found_by(control, [label(1, 1, point("a", "eye", 40, 40) | sized)], [point("", "eye", 40, 40, 0.9)]) == []
