"""Labels of several people as one truth before a training: what is averaged, what is voted away, and what stays as it is."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from labelloop.datasets import read_dataset, write_dataset
from labelloop.label_config import parse_label_config
from labelloop.values import Region
from qa.consensus.fused_labels import fused_label, fusible
from sync.fused_truths import Fusing, fuse_truths

XML = (
    '<View><Image name="image" value="$image"/><Text name="text" value="$text"/>'
    '<RectangleLabels name="box" toName="image"><Label value="cat"/><Label value="dog"/></RectangleLabels>'
    '<Labels name="span" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>'
    '<BrushLabels name="mask" toName="image"><Label value="cat"/></BrushLabels>'
    '<Choices name="topic" toName="text"><Choice value="a"/><Choice value="b"/></Choices></View>'
)
CONFIG = parse_label_config(XML)
TEXT = "Ada Lovelace met Bo"


def box(x: float, y: float = 10, label: str = "cat", **more: Any) -> Region:
    value = {"x": x, "y": y, "width": 10, "height": 10, "rotation": 0, "rectanglelabels": [label]}
    sizes = {"original_width": 200, "original_height": 100}
    return {
        "id": f"b{x}",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": value,
        **sizes,
        **more,
    }


def span(start: int, end: int, label: str = "PER") -> Region:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"id": f"s{start}", "from_name": "span", "to_name": "text", "type": "labels", "value": value}


def topic(label: str) -> Region:
    return {"id": "t", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}


def fused(*people: list[Region], chosen: int = 0) -> list[Region]:
    found = fused_label(people, chosen, fusible(CONFIG), {"text": TEXT})
    assert found is not None
    return found.result


def test_boxes_are_averaged_and_what_one_of_three_drew_is_left_out() -> None:
    found = fused_label([[box(10), box(60)], [box(12)], [box(14)]], 0, fusible(CONFIG), {})
    assert found is not None and found.without_quorum == 1
    (region,) = found.result
    assert region["value"]["x"] == pytest.approx(12) and region["value"]["rectanglelabels"] == ["cat"]
    assert region["value"]["rotation"] == 0.0 and region["original_width"] == 200
    assert (region["from_name"], region["to_name"], region["type"]) == ("box", "image", "rectanglelabels")


def test_what_one_of_two_drew_stays_as_half_of_them_have_it() -> None:
    assert sorted(round(each["value"]["x"]) for each in fused([box(10), box(60)], [box(12)])) == [11, 60]


def test_nothing_drawn_by_most_is_nothing() -> None:
    assert fused([box(10)], [], []) == []


def test_spans_are_where_the_middle_of_them_is_and_carry_their_text() -> None:
    (region,) = fused([span(0, 12)], [span(0, 12)], [span(0, 3)])
    assert (region["value"]["start"], region["value"]["end"], region["value"]["text"]) == (0, 12, "Ada Lovelace")
    assert region["value"]["labels"] == ["PER"]


def test_regions_of_other_controls_are_the_chosen_label_s() -> None:
    mask = {"id": "m", "from_name": "mask", "type": "brushlabels", "value": {"brushlabels": ["cat"], "rle": []}}
    found = fused([topic("a"), box(10)], [topic("b"), mask, box(12)], chosen=1)
    assert [each["id"] for each in found[:2]] == ["t", "m"] and found[0]["value"]["choices"] == ["b"]
    assert found[2]["value"]["x"] == pytest.approx(11)


def test_regions_that_others_refer_to_are_left_alone() -> None:
    linked = {"id": "r", "type": "relation", "from_id": "b10", "to_id": "b12"}
    for extra in (linked, box(70, parentID="b10")):
        assert fused_label([[box(10), extra], [box(12)]], 0, fusible(CONFIG), {}) is None
    asked = parse_label_config(XML.replace('<Choices name="topic"', '<Choices name="topic" perRegion="true"'))
    assert fusible(asked) == [] and [control.name for control, _ in fusible(CONFIG)] == ["box", "span"]


def test_the_mean_of_three_people_is_nearer_to_the_truth_than_one_of_them() -> None:
    source = random.Random(1)
    alone, together = [], []
    for _ in range(100):
        people = [[box(40 + source.gauss(0, 0.5), 40 + source.gauss(0, 0.5))] for _ in range(3)]
        (region,) = fused(*people)
        together.append(abs(region["value"]["x"] - 40))
        alone.append(abs(people[0][0]["value"]["x"] - 40))
    # The deviation of a mean of three is 0.58 of one's.
    assert sum(together) / sum(alone) == pytest.approx(0.58, abs=0.12)


# -- in a dataset's folder --------------------------------------------------------------------------------------------


def label(task: int, person: int, result: list[Region], **changes: Any) -> dict[str, Any]:
    return {
        "task_id": task, "annotation_id": 10 * task + person, "annotator": person, "at": datetime(2026, 1, 1, tzinfo=UTC),
        "rev_hash": f"h{task}{person}", "ground_truth": False, "source": "human", "review_status": "unreviewed",
        "n_labels": 2, "is_truth": person == 1, "result": orjson.dumps(result).decode(), **changes,
    }  # fmt: skip


def folder_of(path: Path, labels: list[dict[str, Any]], policy: str = "consensus") -> Path:
    tasks = [
        {"task_id": task, "data": orjson.dumps({"text": TEXT}).decode(), "meta": "{}", "group_key": f"g{task}",
         "role": "pool", "split": "train"}
        for task in sorted({each["task_id"] for each in labels})
    ]  # fmt: skip
    body = {"policy": policy, "label_config": XML, "entries": {}}
    write_dataset(path, body, tasks, labels, None, "2026-01-01")
    return path


def test_truths_of_several_people_are_fused_and_no_others(tmp_path: Path) -> None:
    labels = [
        label(1, 1, [box(10)]), label(1, 2, [box(12)]),
        label(2, 1, [box(20)]),
        # Approved: the truth as it is. Rejected, or of no known class: not counted.
        label(3, 1, [box(30)], review_status="approved"), label(3, 2, [box(34)]),
        label(4, 1, [box(40)]), label(4, 2, [box(44)], review_status="rejected"),
        label(5, 1, [box(50)]), label(5, 2, [box(54)], left_out="unknown class"),
        # No truth: left out as a whole.
        label(6, 1, [box(60)], is_truth=False), label(6, 2, [box(90)]),
    ]  # fmt: skip
    folder = folder_of(tmp_path / "made", labels)
    before = read_dataset(folder)
    kept = before.labels.filter(~(pl.col("is_truth") & (pl.col("task_id") == 1)))
    assert fuse_truths(folder) == Fusing(1, 0)
    after = read_dataset(folder)
    truths = {task: [region["value"]["x"] for region in result] for task, _, result in after.truth("train")}
    assert truths == {1: [pytest.approx(11)], 2: [20], 3: [30], 4: [40], 5: [50]}
    xs = dict(after.regions.select("task_id", "x").iter_rows())
    assert xs == {1: pytest.approx(11), 2: 20, 3: 30, 4: 40, 5: 50}
    # Every label but that one is as it was, and so is the version.
    assert after.labels.filter(~(pl.col("is_truth") & (pl.col("task_id") == 1))).equals(kept)
    assert after.regions.schema == before.regions.schema and after.dataset_id == before.dataset_id
    assert fuse_truths(folder).tasks == 1


def test_other_policies_choose_a_whole_label(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "made", [label(1, 1, [box(10)]), label(1, 2, [box(14)])], "latest")
    assert fuse_truths(folder) == Fusing()
    assert [x for (x,) in read_dataset(folder).regions.select("x").iter_rows()] == [10]


def test_a_truth_that_nobody_else_has_leaves_an_empty_one(tmp_path: Path) -> None:
    labels = [label(1, 1, [box(10)]), label(1, 2, []), label(1, 3, [])]
    folder = folder_of(tmp_path / "made", labels)
    assert fuse_truths(folder) == Fusing(1, 1)
    assert read_dataset(folder).regions.height == 0 and read_dataset(folder).truth("train")[0][2] == []
