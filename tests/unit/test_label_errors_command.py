"""`labelloop errors` on an export with real training: what was planted is found, what can't be looked for says why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.demo.images import generate_images
from labelloop.demo.texts import TOPIC_LABELS, generate_classification
from labelloop.errors import DataError, UsageError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/errors.schema.json").read_text())
TEXTS = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in TOPIC_LABELS)
    + "</Choices></View>"
)
IMAGES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="cell"/>'
    '<Label value="nucleus"/></RectangleLabels></View>'
)


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["errors", *map(str, arguments), "--json"])
    if result.exception is not None:
        raise result.exception
    report: dict[str, Any] = json.loads(result.output)
    jsonschema.validate(report, SCHEMA)
    return report


def choice(picked: str) -> list[dict[str, Any]]:
    return [
        {"id": "c", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [picked]}},
    ]


def box(name: str, label: str, *place: float, score: float | None = None) -> dict[str, Any]:
    value = dict(zip(("x", "y", "width", "height"), place, strict=True)) | {"rectanglelabels": [label]}
    size = {"original_width": 200, "original_height": 100, "score": score}
    return {"id": name, "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value} | size


def export(folder: Path, config: str, tasks: list[dict[str, Any]]) -> list[object]:
    """`tasks` have `data` and `said`: results by annotator."""
    made = [
        {
            "id": number,
            "data": task["data"],
            "annotations": [
                {"id": number * 10 + who, "completed_by": who, "updated_at": "2026-11-03T10:00:00Z", "result": result}
                for who, result in task["said"].items()
            ],
        }
        for number, task in enumerate(tasks, start=1)
    ]
    (folder / "export.json").write_text(json.dumps(made), encoding="utf-8")
    (folder / "config.xml").write_text(config, encoding="utf-8")
    return ["--file", folder / "export.json", "--config", folder / "config.xml"]


def topics(folder: Path, count: int = 120, wrong: int = 12) -> list[object]:
    """Messages with the first `wrong` labelled with the next class, by annotator 2; all others by annotator 1."""
    tasks = []
    for at, truth in enumerate(generate_classification(count)):
        other = TOPIC_LABELS[(TOPIC_LABELS.index(truth.label) + 1) % len(TOPIC_LABELS)]
        said = {2: choice(other)} if at < wrong else {1: choice(truth.label)}
        tasks.append({"data": {"text": truth.text}, "said": said})
    return export(folder, TEXTS, tasks)


def test_planted_classes_are_found_by_a_model_that_did_not_see_them(tmp_path: Path) -> None:
    report = run(*topics(tmp_path))
    assert report["n_labels"] == 120
    first = report["findings"][:12]
    planted = [each for each in first if each["task"] <= 12]
    assert len(planted) >= 8, "chance alone finds 1.2 of them"
    assert {(each["type"], each["annotator"], each["control"]) for each in planted} == {("wrong_class", 2, "topic")}
    truth = [each.label for each in generate_classification(120)]
    right = [each for each in planted if each["suggested"] == truth[each["task"] - 1]]
    assert len(right) >= 0.8 * len(planted)
    scores = [each["score"] for each in report["findings"]]
    assert scores == sorted(scores, reverse=True)
    spot = next(each for each in report["hotspots"] if each["by"] == "annotator")
    assert spot["key"] == "2" and spot["ratio"] > 3
    assert set(spot["tasks"]) == {each["task"] for each in report["findings"] if each["annotator"] == 2}
    assert [each["score"] for each in run(*topics(tmp_path), "--limit", "3")["findings"]] == scores[:3]


def test_duplicates_with_other_labels_and_in_other_splits_are_told(tmp_path: Path) -> None:
    tasks = [
        {"data": {"text": each.text, "split": "train"}, "said": {1: choice(each.label)}}
        for each in generate_classification(40)
    ]
    again = {"text": tasks[4]["data"]["text"].upper() + "  ", "split": "val"}
    label = tasks[4]["said"][1][0]["value"]["choices"][0]
    other = next(name for name in TOPIC_LABELS if name != label)
    report = run(*export(tmp_path, TEXTS, [*tasks, {"data": again, "said": {2: choice(other)}}]))
    by_type = {each["type"]: each for each in report["data"] if 5 in each["tasks"]}
    assert by_type["conflict"]["tasks"] == [5, 41]
    assert by_type["conflict"]["evidence"] == {"labels": {label: [5], other: [41]}}
    assert by_type["leakage"]["evidence"] == {"splits": {"train": [5], "val": [41]}}
    assert by_type["duplicate"]["tasks"] == [5, 41]


def test_boxes_are_judged_by_a_file_of_predictions(tmp_path: Path) -> None:
    good, seen = box("a", "cell", 10, 10, 20, 20), box("", "cell", 10, 10, 20, 21, score=0.9)
    tasks = [
        {"data": {"image": "1.png"}, "said": {1: [good]}},
        {"data": {"image": "2.png"}, "said": {1: []}},
        {"data": {"image": "3.png"}, "said": {1: [box("b", "nucleus", 10, 10, 20, 20)]}},
        {"data": {"image": "4.png"}, "said": {1: [box("c", "cell", 20, 10, 20, 20), good]}},
        {"data": {"image": "5.png"}, "said": {1: [good, box("d", "cell", 60, 60, 20, 20)]}},
        {"data": {"image": "6.png"}, "said": {1: [good, box("e", "cell", 10, 10, 20, 20)]}},
        {"data": {"image": "7.png"}, "said": {1: [box("f", "cell", 18, 10, 20, 20)]}},
    ]
    arguments = export(tmp_path, IMAGES, tasks)
    rows = [{"task": n, "result": [seen]} for n in range(1, 8)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pl.DataFrame({"task": [r["task"] for r in rows], "result": [json.dumps(r["result"]) for r in rows]}).write_parquet(
        tmp_path / "p.parquet"
    )
    report = run(*arguments, "--predictions", tmp_path / "p.jsonl")
    found = {(each["task"], each["type"], each["region"]) for each in report["findings"]}
    assert found == {
        (2, "missing", None), (3, "wrong_class", "b"), (5, "extra", "d"),
        (6, "duplicate", "e"), (7, "low_overlap", "f"),
    }  # fmt: skip
    causes = {each["type"]: each["cause"] for each in report["findings"]}
    assert causes["duplicate"] == "ui" and causes["wrong_class"] == "slip"
    assert run(*arguments, "--predictions", tmp_path / "p.parquet")["findings"] == report["findings"]
    without = run(*arguments)
    assert {each["type"] for each in without["findings"]} == {"duplicate"}
    assert any(each["detector"] == "predictions of box" for each in without["skipped"])


def test_without_cleanlab_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    report = run(*topics(tmp_path, 40, 4))
    reasons = {each["detector"]: each["reason"] for each in report["skipped"]}
    assert "pip install 'labelloop[quality]'" in reasons["confident_learning of topic"]


def test_what_is_refused_says_what_to_do(tmp_path: Path) -> None:
    arguments = topics(tmp_path, 20, 2)
    with pytest.raises(UsageError, match="--file needs --config"):
        run(*arguments[:2])
    with pytest.raises(UsageError, match="expected PROJECT"):
        run()
    for text, said in (
        ("{", "line 1 is no JSON"),
        ('{"task": "x", "result": []}', "row 1: expected rows with"),
        ('{"task": 1}', "task 1 has none of them"),
        ('{"task": 1, "probs": {"billing": 2}}', r"not in \[0, 1\]"),
    ):
        (tmp_path / "p.jsonl").write_text(text)
        with pytest.raises(DataError, match=said):
            run(*arguments, "--predictions", tmp_path / "p.jsonl")
    with pytest.raises(DataError, match="no readable file of predictions"):
        run(*arguments, "--predictions", tmp_path / "none.jsonl")


def test_people_see_the_surest_first(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["errors", *map(str, topics(tmp_path)), "--limit", "2"]).output.splitlines()
    assert said[0].startswith("120 labels, 2 findings: 2 wrong class")
    assert "annotator 2" in said[1] and "by confident learning" in said[1]
    assert any(line.startswith("hotspot annotator 2") for line in said)
    assert any(line.startswith("not looked for: leakage") for line in said)


def test_near_duplicates_are_found_among_images_that_were_not_ingested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = generate_images(tmp_path / "images", 6, 3)
    with Image.open(tmp_path / "images" / made[0].file) as image:
        image.convert("RGB").resize((120, 120)).save(tmp_path / "images/again.jpg", quality=70)
    names = [*(each.file for each in made), "again.jpg", "absent.png"]
    given = export(
        tmp_path,
        IMAGES,
        [{"data": {"image": f"/data/local-files/?d=images/{name}"}, "said": {1: []}} for name in names],
    )
    monkeypatch.setenv("LABELLOOP_MEDIA_FOLDER", str(tmp_path))
    assert any("--images makes them" in each["reason"] for each in run(*given)["skipped"])
    report = run(*given, "--images")
    assert [each["tasks"] for each in report["data"] if each["type"] == "duplicate"] == [[1, 7]]
    assert {"detector": "duplicates of images", "reason": "1 tasks: not_found"} in report["skipped"]
