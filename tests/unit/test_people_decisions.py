"""The simulated person: independent of us, and right, wrong or sloppy exactly where it is told to be."""

from __future__ import annotations

import argparse
import ast
import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from labelloop.demo import people

BOXES = {"kind": "boxes", "control": "label", "to_name": "image", "key": "image"}
TRUE = [
    {"label": "circle", "x": 10.0, "y": 10.0, "width": 20.0, "height": 20.0},
    {"label": "square", "x": 60.0, "y": 60.0, "width": 20.0, "height": 20.0},
]


def eyes(tasks: dict[str, Any], **more: Any) -> people.Eyes:
    return people.Eyes({**BOXES, **more, "tasks": tasks}, random.Random(1))


def suggestion(box: dict[str, Any], **over: Any) -> dict[str, Any]:
    value = {key: box[key] for key in ("x", "y", "width", "height")}
    value |= {"rectanglelabels": [box["label"]], **over}
    return {
        "id": "r",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": value,
        "score": 0.8,
    }


def test_it_imports_only_the_standard_library_and_httpx() -> None:
    tree = ast.parse(Path(people.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names) | {"httpx"}


def test_a_right_suggestion_is_left_as_it_is() -> None:
    shown = [suggestion(part) for part in TRUE]
    result, changed = eyes({"a.png": TRUE}).corrected(shown, TRUE, "", {})
    assert not changed
    assert result == [{**region, "origin": "prediction"} for region in shown]


def test_a_wrong_class_a_far_box_a_false_box_and_a_missing_one_are_corrected() -> None:
    person = eyes({"a.png": TRUE})
    result, changed = person.corrected([suggestion(TRUE[0], rectanglelabels=["square"])], TRUE, "", {})
    assert changed
    assert [(r["value"]["rectanglelabels"], r["origin"]) for r in result] == [
        (["circle"], "prediction-changed"),
        (["square"], "manual"),
    ]
    assert result[0]["value"]["x"] == 10.0  # the place was right and stays
    far = suggestion(TRUE[0], x=15.0)
    false = suggestion({**TRUE[0], "x": 40.0, "y": 80.0})
    result, changed = person.corrected([far, false], TRUE[:1], "", {})
    assert changed and [r["origin"] for r in result] == ["prediction-changed"]
    assert people.overlap(result[0]["value"], TRUE[0]) > 0.9


def test_an_empty_suggestion_for_an_empty_task_is_right() -> None:
    assert eyes({"a.png": []}).corrected([], [], "", {}) == ([], False)


def test_drawn_boxes_are_close_but_never_exact_and_stay_inside() -> None:
    person = eyes({"a.png": TRUE})
    corner = {"label": "circle", "x": 0.0, "y": 90.0, "width": 10.0, "height": 10.0}
    for _ in range(200):
        value = person.value(corner, "")
        assert value["x"] >= 0 and value["y"] + value["height"] <= 100
        assert people.overlap(value, corner) > 0.9
        assert value["width"] != 10.0


@pytest.mark.parametrize("kind", ["boxes", "spans", "choice"])
def test_every_mistake_changes_the_answer(kind: str) -> None:
    text = "Anna in Paris"
    spans = [{"start": 0, "end": 4, "label": "PER"}, {"start": 8, "end": 13, "label": "LOC"}]
    truths: dict[str, dict[str, Any]] = {
        "boxes": {"a": TRUE},
        "spans": {text: spans},
        "choice": {text: "good", "b": "bad"},
    }
    parts: dict[str, list[dict[str, Any]]] = {"boxes": TRUE, "spans": spans, "choice": [{"label": "good"}]}
    person = eyes(truths[kind], kind=kind)
    for _ in range(60):
        result, _changed = person.corrected([], parts[kind], text, {})
        before = [dict(region["value"]) for region in result]
        assert person.spoiled(result, text)
        assert [region["value"] for region in result] != before
        if kind == "spans":
            assert all(r["value"]["text"] == text[r["value"]["start"] : r["value"]["end"]] for r in result)


def test_a_task_is_known_by_its_text_or_by_its_files_name_however_it_is_served() -> None:
    person = eyes({"a b.png": TRUE})
    for address in ("/data/local-files/?d=shapes/a%20b.png", "/data/upload/3/0a1b2c3d-a b.png"):
        assert person.answer(address) == TRUE
    with pytest.raises(people.Trouble, match="truth file"):
        person.answer("/data/upload/3/0a1b2c3d-z.png")


def test_image_sizes_are_read_from_png_and_jpeg() -> None:
    assert people.image_size(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 160, 120)) == (160, 120)
    jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08" + struct.pack(">HH", 120, 160) + b"\0" * 10
    assert people.image_size(jpeg) == (160, 120)
    with pytest.raises(people.Trouble, match="PNG"):
        people.image_size(b"GIF89a")


def options(tmp_path: Path, **over: Any) -> argparse.Namespace:
    truth = tmp_path / "truth.json"
    truth.write_text(
        '{"projects": {"p": {"kind": "choice", "key": "text", "control": "c", "to_name": "t", "tasks": {}}}}'
    )
    base = ["--url", "http://127.0.0.1:9", "--email", "a@b.c", "--password", "x", "--truth", str(truth)]
    told = people.parsed([*base, "--log", str(tmp_path / "log"), "--control", str(tmp_path / "control.json")])
    return argparse.Namespace(**{**vars(told), **over})


def test_quotas_count_labels_of_an_earlier_life_and_end_the_work(tmp_path: Path) -> None:
    row = '{"project": "p", "annotation_id": %s}\n'
    (tmp_path / "log").write_text(row % 1 + row % "null" + row % 2)
    person = people.Person(options(tmp_path))
    assert person.done == {"p": 2}
    assert person.over({"quota": {"p": 2}}) and not person.over({"quota": {"p": 3}}) and not person.over({})
    assert person.over({"stop": True})
    assert not people.Person(options(tmp_path, stay=True)).over({"quota": {"p": 2}})


def test_a_half_written_control_file_changes_nothing(tmp_path: Path) -> None:
    person = people.Person(options(tmp_path))
    assert person.control() == {}
    (tmp_path / "control.json").write_text('{"pause": tr')
    assert person.control() == {}


def test_an_absent_server_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options(tmp_path)
    arguments = ["--url", "http://127.0.0.1:9", "--email", "a@b.c", "--password", "x", "--patience", "0"]
    assert people.main([*arguments, "--truth", str(tmp_path / "truth.json"), "--log", str(tmp_path / "log")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
