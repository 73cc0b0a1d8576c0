"""YOLO pose: key points grouped to the objects that they belong to, in the order of the config, flagged as they are seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.reading import read_labelled
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

NAMES = ("nose", "left eye", "right eye")
POINTS = "".join(f'<Label value="{name}"/>' for name in NAMES)
KEYS = f'<KeyPointLabels name="point" toName="image">{POINTS}</KeyPointLabels>'
BOXES = '<RectangleLabels name="box" toName="image"><Label value="cat"/><Label value="dog"/></RectangleLabels>'
FLAGS = (
    '<Choices name="seen" toName="image" perRegion="true" choice="multiple"><Choice value="Occluded"/>'
    '<Choice value="blurry"/></Choices>'
)


def config(*controls: str) -> str:
    return f'<View><Image name="image" value="$image"/>{"".join(controls)}</View>'


def region(control: str, kind: str, value: dict[str, Any], label: str, id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "from_name": control, "to_name": "image", "type": kind, "value": value | {kind: [label]}} | more


def box(id: str, label: str, x: float, y: float, w: float = 20, h: float = 20) -> dict[str, Any]:
    return region("box", "rectanglelabels", {"x": x, "y": y, "width": w, "height": h, "rotation": 0}, label, id)


def point(id: str, label: str, x: Any, y: float, **more: Any) -> dict[str, Any]:
    return region("point", "keypointlabels", {"x": x, "y": y, "width": 1}, label, id, **more)


def exported(folder: Path, result: list[dict[str, Any]], xml: str, **values: str) -> ExportReport:
    task = {
        "id": 1, "data": {"image": "a/i.jpg"},
        "annotations": [{"id": 1, "completed_by": 1, "result": result, "updated_at": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip
    (folder / "export.json").write_bytes(orjson.dumps([task]))
    (folder / "config.xml").write_text(xml)
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    return export_dataset(source, "yolo", folder / "out", options=ExportOptions(train_share=1.0, values=values))


def rows(folder: Path) -> list[list[float]]:
    text = (folder / "out/labels/train/a/i.txt").read_text()
    return [[float(cell) for cell in line.split()] for line in text.splitlines()]


def told(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((folder / "out/data.yaml").read_text())
    return data


def reasons(report: ExportReport) -> list[str]:
    return [reason for _, reason in report.skipped]


def test_points_go_to_their_parents_in_the_order_of_the_config(tmp_path: Path) -> None:
    found = [
        point("p1", "right eye", 12, 12, parentID="b1"),
        box("b1", "dog", 10, 10),
        box("b2", "cat", 12, 12),
        point("p2", "nose", 15, 16, parentID="b1"),
        point("p3", "nose", 90, 90, parentID="b2"),
    ]
    report = exported(tmp_path, found, config(BOXES, KEYS))
    assert (report.task, report.objects, report.n_skipped) == ("pose", 2, 0)
    assert rows(tmp_path) == [
        pytest.approx([1, 0.2, 0.2, 0.2, 0.2, 0.15, 0.16, 2, 0, 0, 0, 0.12, 0.12, 2]),
        pytest.approx([0, 0.22, 0.22, 0.2, 0.2, 0.9, 0.9, 2, 0, 0, 0, 0, 0, 0]),
    ]
    data = told(tmp_path)
    assert data["kpt_shape"] == [3, 3] and data["flip_idx"] == [0, 2, 1]
    assert data["kpt_names"] == {0: list(NAMES), 1: list(NAMES)}


def test_choices_about_a_point_say_that_it_is_hidden(tmp_path: Path) -> None:
    mark = region("seen", "choices", {"x": 12, "y": 12}, "Occluded", "p1")
    mark["value"]["choices"] = ["Occluded", "blurry"]
    found = [box("b", "cat", 10, 10), point("p1", "nose", 12, 12), point("p2", "left eye", 13, 13), mark]
    report = exported(tmp_path, found, config(BOXES, KEYS, FLAGS))
    assert rows(tmp_path)[0][5:] == pytest.approx([0.12, 0.12, 1, 0.13, 0.13, 2, 0, 0, 0])
    assert report.n_skipped == 0


def test_what_has_no_place_is_told(tmp_path: Path) -> None:
    found = [
        box("b", "cat", 10, 10),
        box("c", "dog", 10, 10, 25, 25),
        point("p1", "nose", 12, 12, parentID="b"),
        point("p2", "nose", 13, 13, parentID="b"),
        point("p3", "nose", 14, 14),
        point("p4", "tail", 15, 15, parentID="b"),
        point("p5", "nose", None, 15, parentID="b"),
        point("p6", "nose", 101, 15, parentID="b"),
        {"type": "relation", "from_id": "b", "to_id": "c", "direction": "right"},
    ]
    report = exported(tmp_path, found, config(BOXES, KEYS))
    assert sorted(reasons(report)) == [
        "region b -> c: YOLO has no place for relations",
        "region p2: its object has another key point 'nose'",
        "region p3: no box, parent or relation tells of which object it is a key point",
        "region p4: class 'tail' is not in the label config",
        "region p5: expected numbers x and y in a key point",
        "region p6: nothing of it is on the image",
    ]
    assert [row[5:8] for row in rows(tmp_path)] == [pytest.approx([0.12, 0.12, 2]), [0, 0, 0]]


def test_points_alone_are_one_object(tmp_path: Path) -> None:
    found = [point("p1", "nose", 10, 20), point("p2", "left eye", 30, 60)]
    report = exported(tmp_path, found, config(KEYS))
    assert (report.objects, report.n_skipped) == (1, 0)
    assert rows(tmp_path) == [pytest.approx([0, 0.2, 0.4, 0.2, 0.4, 0.1, 0.2, 2, 0.3, 0.6, 2, 0, 0, 0])]
    assert told(tmp_path)["names"] == {0: "point"}
    exported(tmp_path, found[:1], config(KEYS), category="cat")
    assert told(tmp_path)["names"] == {0: "cat"}
    assert rows(tmp_path)[0][3:5] == pytest.approx([0.001, 0.001])


def test_objects_come_back_with_their_points(tmp_path: Path) -> None:
    mark = region("seen", "choices", {"x": 12, "y": 12}, "Occluded", "p1")
    mark["value"]["choices"] = ["Occluded"]
    found = [box("b1", "dog", 10, 10), box("b2", "cat", 50, 50), point("p1", "right eye", 12, 13, parentID="b1"), mark]
    exported(tmp_path, found, config(BOXES, KEYS, FLAGS))
    labelled = read_labelled(tmp_path / "out", "yolo")
    (item,) = labelled
    assert labelled.rejected == [] and item.data == {"image": "a/i.jpg"} and item.split == "train"
    assert [c.tag for c in labelled.config.controls] == ["RectangleLabels", "KeyPointLabels", "Choices"]
    dog, eye, hidden, cat = item.result
    assert all(labelled.config.problem_with(each) is None for each in item.result)
    assert (dog["value"]["rectanglelabels"], cat["value"]["rectanglelabels"]) == (["dog"], ["cat"])
    assert eye["value"] == {"x": 12, "y": 13, "width": 0.5, "keypointlabels": ["right eye"]}
    assert eye["parentID"] == dog["id"] and hidden["id"] == eye["id"] and hidden["value"]["choices"] == ["hidden"]
