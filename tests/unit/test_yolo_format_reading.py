"""Reading YOLO datasets: the layouts that tools make, rows of every kind, and what is rejected by file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelloop.errors import DataError
from labelloop.geometry import rectangle_points
from labelloop.label_config import parse_label_config
from sync.formats.reading import Labelled, LabelledItem, read_labelled

SIZE = (200, 100)
Files = Mapping[str, str | None]


def made(folder: Path, files: Files) -> Path:
    """A dataset of texts, and of images where a text is None."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", SIZE).save(path)
        else:
            path.write_bytes(text.encode())
    return folder


def read(path: Path, **more: Any) -> tuple[list[LabelledItem], Labelled]:
    labelled = read_labelled(path, "yolo", **more)
    items = list(labelled)
    for item in items:
        assert all(labelled.config.problem_with(region) is None for region in item.result)
        assert len({region["id"] for region in item.result}) == len(item.result)
    return items, labelled


def boxes(item: LabelledItem) -> list[tuple[str, float, float, float, float]]:
    found = []
    for region in item.result:
        value = region["value"]
        place = (round(value[key], 6) for key in ("x", "y", "width", "height"))
        found.append((value["rectanglelabels"][0], *place))
    return found


def rejects(labelled: Labelled) -> list[tuple[str, str]]:
    return [(each.source, each.reason) for each in labelled.rejected]


BOX = "0 0.5 0.5 0.2 0.4\n"
DATA = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"
LAYOUTS: dict[str, tuple[Files, str]] = {
    "ultralytics": ({
        "data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": BOX, "images/val/b.png": None,
        "labels/val/b.txt": "",
    }, "data.yaml"),
    "roboflow": ({
        "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
        "train/images/a.png": None, "train/labels/a.txt": BOX, "valid/images/b.png": None, "valid/labels/b.txt": "",
        "README.roboflow.txt": "hello",
    }, ""),
    "moved": ({
        "data.yaml": "path: /content/set\ntrain: /content/set/images/train\nval: [images/val]\nnames: [cat, dog]\n",
        "images/train/a.png": None, "labels/train/a.txt": BOX, "images/val/b.png": None, "labels/val/b.txt": "",
    }, "data.yaml"),
    "lists": ({
        "x.yaml": "train: train.txt\nval: val.txt\nnames: [cat, dog]\n",
        "train.txt": "./images/train/a.png\r\n\r\n", "val.txt": "images/val/b.png",
        "images/train/a.png": None, "labels/train/a.txt": BOX, "images/val/b.png": None, "labels/val/b.txt": "",
    }, ""),
    "plain with splits": ({
        "classes.txt": "cat\ndog\n", "images/train/a.png": None, "labels/train/a.txt": BOX,
        "images/val/b.png": None, "labels/val/b.txt": "",
    }, ""),
    "splits first": ({
        "train/classes.txt": "cat\ndog\n\n", "train/a.png": None, "train/a.txt": BOX, "val/b.png": None, "val/b.txt": "",
    }, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, tmp_path: Path) -> None:
    files, path = LAYOUTS[name]
    items, labelled = read(made(tmp_path, files) / path)
    assert labelled.rejected == []
    assert [(item.split, item.data["image"], boxes(item)) for item in items] == [
        ("train", "a.png", [("cat", 40, 30, 20, 40)]), ("val", "b.png", []),
    ]  # fmt: skip
    assert [item.media is not None and item.media.is_file() for item in items] == [True, True]
    (control,) = labelled.config.controls
    assert (control.tag, control.classes) == ("RectangleLabels", ("cat", "dog"))


def test_a_folder_of_labels_with_the_images_elsewhere(tmp_path: Path) -> None:
    made(tmp_path, {"texts/a.txt": BOX, "texts/sub/b.txt": "", "texts/c.txt": BOX, "texts/classes.txt": "cat\n"})
    made(tmp_path, {"pictures/a.png": None, "pictures/b.png": None})
    items, labelled = read(tmp_path / "texts", images=tmp_path / "pictures")
    assert [(item.data["image"], item.media) for item in items] == [
        ("a.png", tmp_path / "pictures/a.png"),
        ("sub/b.png", tmp_path / "pictures/b.png"),
    ]
    assert rejects(labelled) == [("c.txt", "no_image")]


def test_images_in_one_folder_with_their_labels(tmp_path: Path) -> None:
    items, labelled = read(made(tmp_path, {"a.png": None, "a.txt": BOX, "b.png": None, "classes.txt": "cat"}))
    assert [item.source for item in items] == ["a.txt"]
    assert rejects(labelled) == [("b.png", "no_label_file")]


def test_classes_without_names_are_called_by_their_numbers(tmp_path: Path) -> None:
    items, labelled = read(made(tmp_path, {"images/a.png": None, "labels/a.txt": "2 0.5 0.5 0.2 0.4\n"}))
    assert labelled.config.controls[0].classes == ("class_0", "class_1", "class_2")
    assert boxes(items[0])[0][0] == "class_2"
    _, labelled = read(made(tmp_path, {"data.yaml": "nc: 4\ntrain: images\n"}))
    assert len(labelled.config.controls[0].classes) == 4


def test_names_are_texts_and_xml_is_escaped(tmp_path: Path) -> None:
    names = "names: {1: 'a & <b>', 0: yes, 2: 3}\ntrain: images\n"
    row = "1 0.5 0.5 0.2 0.4\n"
    items, labelled = read(made(tmp_path, {"data.yaml": names, "images/a.png": None, "labels/a.txt": row}))
    assert labelled.config.controls[0].classes == ("True", "a & <b>", "3")
    assert boxes(items[0])[0][0] == "a & <b>"


def test_rows_of_every_kind_are_read_as_what_they_are(tmp_path: Path) -> None:
    text = "\ufeff0 0.5 0.5 0.2 0.4\r\n\r\n1 0.5 0.5 0.2 0.4 0.75\r\n 0 .1 .1 .5 .1 .5 .5 \r\n1 .1 .1 .5 .1 .5 .5 0.25"
    items, labelled = read(made(tmp_path, {"data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": text}))
    first, second, third, fourth = items[0].result
    assert (first["type"], "score" in first) == ("rectanglelabels", False)
    assert (second["score"], second["origin"], second["value"]["rectanglelabels"]) == (0.75, "prediction", ["dog"])
    assert third["value"]["points"] == [[10, 10], [50, 10], [50, 50]] and "score" not in third
    assert fourth["value"]["polygonlabels"] == ["dog"] and fourth["score"] == 0.25
    assert [control.tag for control in labelled.config.controls] == ["RectangleLabels", "PolygonLabels"]
    assert rejects(labelled) == [("images/val", "not_found")]


PLACE = {"x": 50.0, "y": 40.0, "width": 20.0, "height": 30.0, "rotation": 30.0}
TURNED = "0 " + " ".join(f"{x / 200:.8f} {y / 100:.8f}" for x, y in rectangle_points(PLACE, *SIZE)) + "\n"


def test_nine_numbers_are_a_turned_box_only_where_somebody_says_so(tmp_path: Path) -> None:
    files: Files = {"data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": TURNED}
    items, labelled = read(made(tmp_path, files))
    assert items[0].result[0]["type"] == "polygonlabels" and any("the task obb" in loss for loss in labelled.losses)
    for more in ({"task": "obb"}, {}):
        (item, *_), _ = read(tmp_path, **more)
        value = item.result[0]["value"]
        assert {key: value[key] for key in PLACE} == pytest.approx(PLACE, abs=1e-5)
        assert (item.size, item.result[0]["original_width"]) == (SIZE, 200)
        (tmp_path / "data.yaml").write_text(DATA + "task: obb\n")


def test_a_turned_box_needs_its_image_and_an_upright_one_none(tmp_path: Path) -> None:
    upright = "1 0.1 0.1 0.3 0.1 0.3 0.2 0.1 0.2\n"
    made(tmp_path, {"data.yaml": "train: l.txt\nnames: [cat, dog]\n", "l.txt": "./images/a.png"})
    made(tmp_path, {"labels/a.txt": upright + TURNED})
    items, labelled = read(tmp_path, task="obb")
    assert boxes(items[0]) == [("dog", 10, 10, 20, 10)] and items[0].data == {"image": "a.png"}
    assert rejects(labelled) == [("labels/a.txt, line 2", "no_size")]


def test_anticlockwise_and_crooked_corners_are_turned_boxes_too(tmp_path: Path) -> None:
    anticlockwise = "0 0.5 0.5 0.4 0.5 0.4 0.9 0.5 0.9\n"
    crooked = "0 0.5 0.5 0.55 0.8 0.4 0.9 0.4 0.5\n"
    files: Files = {"data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": anticlockwise + crooked}
    items, _ = read(made(tmp_path, files), task="obb")
    assert boxes(items[0])[0] == ("cat", 40, 50, 10, 40)
    assert items[0].result[1]["type"] == "rectanglelabels"


def test_rejected_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    bad = [
        "0 0.5 0.5", "0 a 0.5 0.2 0.4", "0 nan 0.5 0.2 0.4", "0 1e999 0.5 0.2 0.4", "0 1.5 0.5 0.2 0.4",
        "0 -0.2 0.5 0.2 0.4", "7 0.5 0.5 0.2 0.4", "0.5 0.5 0.5 0.2 0.4", "-1 0.5 0.5 0.2 0.4", "0 0.5 0.5 0 0.4",
        "0 0.5 0.5 0.2 0.4 3", "0 .1 .1 .1 .1 .1 .1",
    ]  # fmt: skip
    files: Files = {
        "data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": "\n".join([*bad, BOX]),
        "images/train/b.png": None, "labels/train/b.txt": bad[0], "images/train/c.png": None,
        "images/val/d.png": None, "labels/val/d.txt": BOX,
    }  # fmt: skip
    made(tmp_path, files)
    (tmp_path / "labels/val/d.txt").write_bytes(b"\xff\xfe\xff")
    items, labelled = read(tmp_path)
    assert [item.data["image"] for item in items] == ["a.png"] and len(items[0].result) == 1
    reasons = [
        "columns", "not_a_number", "not_a_number", "not_a_number", "out_of_range", "out_of_range", "class_unknown",
        "class_unknown", "class_unknown", "no_area", "out_of_range", "no_area",
    ]  # fmt: skip
    wanted = [(f"labels/train/a.txt, line {line}", reason) for line, reason in enumerate(reasons, start=1)]
    wanted += [("labels/train/b.txt, line 1", "columns"), ("images/train/c.png", "no_label_file")]
    assert rejects(labelled) == [*wanted, ("labels/val/d.txt", "unreadable")]


def test_boxes_that_leave_the_image_a_little_are_cut(tmp_path: Path) -> None:
    text = "0 0.05 0.5 0.2 1.005\n1 0.995 0.5 0.02 0.4\n"
    items, _ = read(made(tmp_path, {"data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": text}))
    assert boxes(items[0]) == [("cat", 0, 0, 15, 100), ("dog", 98.5, 30, 1.5, 40)]


def test_regions_go_under_the_controls_of_a_given_config(tmp_path: Path) -> None:
    config = parse_label_config(
        '<View><Image name="img" value="$photo"/>'
        '<RectangleLabels name="first" toName="img"><Label value="dog"/></RectangleLabels>'
        '<BrushLabels name="brush" toName="img"><Label value="cat"/><Label value="dog"/></BrushLabels></View>'
    )
    text = "1 0.5 0.5 0.2 0.4\n0 .1 .1 .5 .1 .5 .5 .1 .5\n2 0.5 0.5 0.2 0.4\n"
    names = DATA + "  2: cow\n"
    files: Files = {"data.yaml": names, "images/train/a.png": None, "labels/train/a.txt": text}
    items, labelled = read(made(tmp_path, files), config=config)
    assert labelled.config is config and items[0].media_key == "photo" and items[0].data == {"photo": "a.png"}
    box, mask = items[0].result
    assert (box["from_name"], mask["from_name"], mask["value"]["brushlabels"]) == ("first", "brush", ["cat"])
    assert rejects(labelled)[0] == ("labels/train/a.txt, line 3", "class_not_in_config")


def test_key_points_by_kpt_shape(tmp_path: Path) -> None:
    shape = DATA + "kpt_shape: [2, 2]\nkpt_names: {0: [nose, tail], 1: [nose, tail]}\n"
    row = "1 0.5 0.5 0.2 0.4 0.5 0.6 0 0\n"
    files: Files = {"data.yaml": shape, "images/train/a.png": None, "labels/train/a.txt": row}
    items, _ = read(made(tmp_path, files))
    box, nose = items[0].result
    assert (nose["value"]["keypointlabels"], nose["parentID"]) == (["nose"], box["id"])
    (only,), _ = read(tmp_path, task="detect")
    assert boxes(only) == [("dog", 40, 30, 20, 40)]
    made(tmp_path, {"data.yaml": DATA, "labels/train/a.txt": "1 0.5 0.5 0.2 0.4 0.5 0.6 2 0 0 0 0.9\n"})
    with pytest.raises(DataError, match="kpt_shape"):
        read(tmp_path, task="pose")
    made(tmp_path, {"labels/train/a.txt": "1 0.5 0.5 0.2 0.4 0.5 0.6 0.5 0 0 0\n"})
    (item,), labelled = read(tmp_path, task="pose")
    assert item.result[1]["score"] == 0.5 and labelled.config.controls[1].classes == ("point_0", "point_1")


def test_folders_of_classes(tmp_path: Path) -> None:
    files: Files = {"train/dog/a.png": None, "train/a%2Fb/x/c.png": None, "val/dog/a.png": None, "val/dog/n.md": "x"}
    (tmp_path / "val/cat").mkdir(parents=True)
    items, labelled = read(made(tmp_path, files))
    assert labelled.config.controls[0].classes == ("a/b", "cat", "dog")
    found = [(item.split, item.data["image"], item.result[0]["value"]["choices"]) for item in items]
    assert found == [
        ("train", "x/c.png", ["a/b"]), ("train", "a.png", ["dog"]), ("val", "val/dog/a.png", ["dog"]),
    ]  # fmt: skip
    (tmp_path / "data.yaml").write_text("task: classify\nnames: [dog, cow]\n")
    _, labelled = read(tmp_path / "data.yaml")
    assert labelled.config.controls[0].classes == ("dog", "cow", "a/b", "cat")


def test_one_name_in_two_splits_stays_apart(tmp_path: Path) -> None:
    files: Files = {
        "data.yaml": DATA, "images/train/a.png": None, "labels/train/a.txt": BOX, "images/val/a.png": None,
        "labels/val/a.txt": "",
    }  # fmt: skip
    items, _ = read(made(tmp_path, files))
    assert [item.data["image"] for item in items] == ["a.png", "val/a.png"]


def test_a_val_that_is_train_is_read_once(tmp_path: Path) -> None:
    data = DATA.replace("images/val", "images/train")
    items, labelled = read(made(tmp_path, {"data.yaml": data, "images/train/a.png": None, "labels/train/a.txt": BOX}))
    assert [item.split for item in items] == ["train"] and labelled.rejected == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no label and no names"),
        ({"data.yaml": "names: [a\n"}, "no readable data.yaml"),
        ({"data.yaml": "- a\n"}, "expected keys"),
        ({"data.yaml": "names: {1: a}\n"}, "class ids 0 to 0"),
        ({"data.yaml": "names: 5\n"}, "expected a list of classes"),
        ({"data.yaml": "names: [a]\nkpt_shape: [3]\n"}, "expected kpt_shape"),
    ],
)
def test_refusals_say_what_was_expected(files: Files, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(made(tmp_path, files))
