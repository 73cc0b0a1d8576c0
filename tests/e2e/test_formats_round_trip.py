"""Labels leave as Label Studio tasks, go into a stock server as any user imports them, and come out as they were."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labelloop.label_studio import LabelStudio
from sync.formats.converting import converted
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from row_exports import CLASSES, SHAPES, TEXTS, box, choice, config, control, exported, read, region, span, task

pytestmark = pytest.mark.e2e
TEXT = "\U0001f600 Ada met\r\n=Bo in Z\u00fcrich"


@pytest.fixture
def client(label_studio: Any) -> Iterator[LabelStudio]:
    with LabelStudio(label_studio.url, label_studio.token) as opened:
        yield opened


@pytest.fixture
def imported(client: LabelStudio) -> Iterator[Callable[[Path], int]]:
    """Imports an exported folder into a project of its config, as any user does; its id."""
    made: list[int] = []

    def run(out: Path) -> int:
        xml = (out / "config.xml").read_text(encoding="utf-8")
        made.append(int(client.create_project(f"formats {secrets.token_hex(4)}", xml)["id"]))
        content = json.loads((out / "tasks.json").read_bytes())
        answer = client.request("POST", f"/api/projects/{made[-1]}/import", json=content)
        assert answer["task_count"] == len(content)
        return made[-1]

    yield run
    for project in made:
        client.delete_project(project)


@pytest.fixture
def through(client: LabelStudio, imported: Callable[[Path], int], tmp_path: Path) -> Callable[[Path], Path]:
    """Imports an exported folder, and gives the project's JSON export."""

    def run(out: Path) -> Path:
        project = imported(out)
        params = {"exportType": "JSON", "download_all_tasks": "true"}
        export = tmp_path / f"project-{project}.json"
        export.write_bytes(client.answered("GET", f"/api/projects/{project}/export", params=params).content)
        return export

    return run


def image_labels() -> list[dict[str, Any]]:
    sized = {"original_width": 640, "original_height": 427, "image_rotation": 0}
    polygon = {"points": [[1.5, 2.25], [30, 4], [12.125, 40]], "closed": True, "polygonlabels": ["a,b", "zebra"]}
    drawn = [
        box(1.1, 2.2, 33.3, 40, "=ant", rotation=12.5, **sized),
        region("polygonlabels", "polygon", "image", polygon, id="p1", **sized),
        region("keypointlabels", "point", "image", {"x": 5, "y": 6.5, "width": 0.5, "keypointlabels": ["<&>"]}, id="k1", **sized),
        region(
            "ellipselabels", "ellipse", "image",
            {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5.5, "rotation": 0, "ellipselabels": ["zebra"]}, id="e1", **sized,
        ),
        region(
            "brushlabels", "brush", "image", {"format": "rle", "rle": [0, 1, 2, 255], "brushlabels": ["zebra"]}, id="b1",
            **sized,
        ),
        choice("quality", "zebra", 'quo"te', to="image", id="q1"),
    ]  # fmt: skip
    return [
        task(1, {"image": "https://example.org/a.png", "shelf": {"n": [1, None]}}, drawn, meta={"origin": "x"}),
        task(2, {"image": "https://example.org/b.png"}, [], annotation={"ground_truth": True}),
    ]


def text_labels() -> list[dict[str, Any]]:
    marked = [span(TEXT, 2, 5, "zebra"), span(TEXT, 2, 9, "caf\u00e9 \U0001f600"), span(TEXT, 11, 14, "=ant", id="s3")]
    return [
        task(1, {"text": TEXT}, [*marked, choice("topic", "'-x", id="c1"), choice("mood", *CLASSES[:3], id="c2")]),
        task(2, {"text": "nothing here"}, []),
    ]


@pytest.mark.parametrize(("xml", "tasks"), [(SHAPES, image_labels()), (TEXTS, text_labels())], ids=["images", "texts"])
def test_regions_data_and_meta_are_equal_behind_a_real_server(
    tmp_path: Path, through: Callable[[Path], Path], xml: str, tasks: list[dict[str, Any]]
) -> None:
    out, _ = exported(tmp_path, "label_studio", tasks, xml)
    export = json.loads(through(out).read_bytes())
    assert len(export) == len(tasks)
    for came, wanted in zip(export, tasks, strict=True):
        (annotation,) = came["annotations"]
        assert annotation["result"] == wanted["annotations"][0]["result"]
        assert annotation["ground_truth"] == wanted["annotations"][0].get("ground_truth", False)
        assert came["data"] == wanted["data"]
        told = came["meta"]["labelloop"]
        assert (told["task"], told["annotation"], told["annotator"]) == (wanted["id"], wanted["id"] * 10, 7)
        assert {key: said for key, said in came["meta"].items() if key != "labelloop"} == wanted.get("meta", {})


def test_labels_come_in_as_predictions(
    tmp_path: Path, client: LabelStudio, imported: Callable[[Path], int], through: Callable[[Path], Path]
) -> None:
    out, _ = exported(tmp_path, "label_studio", text_labels(), TEXTS, values={"as": "predictions"})
    whole = client.request("GET", f"/api/projects/{imported(out)}/tasks/", params={"page_size": 100})
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.xml").write_text(TEXTS)
    (tmp_path / "whole" / "tasks.json").write_text(json.dumps(sorted(whole, key=lambda each: int(each["id"]))))
    found, items = read(tmp_path / "whole", "label_studio")
    assert found.rejected == []
    assert [item.result for item in items] == [each["annotations"][0]["result"] for each in text_labels()]
    assert {each["predictions"][0]["model_version"] for each in whole} == {"labelloop-labels"}
    # Label Studio's own export names predictions by their numbers only.
    (tmp_path / "config.xml").write_text(TEXTS)
    found, items = read(through(out), "label_studio")
    assert items == []
    assert [each.detail.partition(";")[0] for each in found.rejected] == [
        "it has no annotation, and its predictions are told by number alone"
    ] * 2


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "huggingface"])
def test_a_format_into_tasks_into_a_server_and_back_into_the_format(
    format: str, tmp_path: Path, through: Callable[[Path], Path]
) -> None:
    xml = config(control("Labels", "span", "text"), object_tag="Text", key="text")
    tasks = [
        task(1, {"text": TEXT}, [span(TEXT, 2, 5, "zebra"), span(TEXT, 6, 9, "=ant")]),
        task(2, {"text": "none"}, []),
    ]
    first, _ = exported(tmp_path / "first", format, tasks, xml)
    source = converted(first, format, tmp_path)
    export_dataset(source.source, "label_studio", tmp_path / "tasks", options=ExportOptions(train_share=1.0))
    export = through(tmp_path / "tasks")
    (export.parent / "config.xml").write_text(xml)
    again = converted(export, "label_studio", tmp_path / "tasks")
    export_dataset(again.source, format, tmp_path / "last", options=ExportOptions(train_share=1.0, keep_splits=True))
    assert (source.rejected, again.rejected) == ([], [])
    _, before = read(first, format)
    _, after = read(tmp_path / "last", format)
    assert [(item.data, item.result, item.split) for item in after] == [
        (item.data, item.result, item.split) for item in before
    ]
    assert [len(item.result) for item in after] == [2, 0]
