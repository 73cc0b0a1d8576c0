"""CSV, JSONL, Parquet and Label Studio tasks bring regions back as they were, for whatever people draw, mark and choose."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import SHAPES, TEXTS, choice, config, control, exported, image_tasks, read, region, task, text_tasks

FORMATS = ("csv", "jsonl", "parquet", "label_studio")


def check(format: str, tasks: list[dict[str, Any]], xml: str, **options: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, report = exported(Path(folder), format, tasks, xml, **options)
        found, items = read(out, format)
    assert (found.rejected, report.n_skipped, report.items) == ([], 0, len(tasks))
    assert [(item.data, item.result) for item in items] == [
        (each["data"], each["annotations"][0]["result"]) for each in tasks
    ]
    assert {item.split for item in items} == {"train"}
    assert {(item.annotator, item.at[:23] if item.at else None) for item in items} == {("7", "2026-01-01T00:00:00.500")}


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(tasks=image_tasks())
def test_regions_of_images_come_back(format: str, tasks: list[dict[str, Any]]) -> None:
    check(format, tasks, SHAPES)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(tasks=text_tasks())
def test_regions_of_texts_come_back(format: str, tasks: list[dict[str, Any]]) -> None:
    check(format, tasks, TEXTS)


@settings(max_examples=15, deadline=None)
@given(tasks=text_tasks())
def test_csv_without_escapes_and_with_data_as_json_comes_back_too(tasks: list[dict[str, Any]]) -> None:
    check("csv", tasks, TEXTS, values={"escape": "no", "data": "json"})


@pytest.mark.parametrize("format", FORMATS)
def test_taxonomies_html_and_lists_of_images_come_back(format: str, tmp_path: Path) -> None:
    inner = '<Choice value="a / b"><Choice value="c"/></Choice><Choice value="d"/>'
    taxonomy = f'<Taxonomy name="kind" toName="page">{inner}</Taxonomy>'
    page = config(control("HyperTextLabels", "mark", "page", ("x",)), taxonomy, object_tag="HyperText", key="page")
    value = {
        "start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 2, "endOffset": 5,
        "globalOffsets": {"start": 12, "end": 15}, "text": "abc", "hypertextlabels": ["x"],
    }  # fmt: skip
    marked = [
        region("hypertextlabels", "mark", "page", value),
        region("taxonomy", "kind", "page", {"taxonomy": [["a / b", "c"], ["d"]]}),
    ]
    check_one(tmp_path / "page", format, {"page": "<p>hi abc</p>"}, marked, page)
    pages = '<View><Image name="image" valueList="$pages"/>' + control("RectangleLabels", "box", "image") + "</View>"
    value = {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "rotation": 0.0, "rectanglelabels": ["=ant"]}
    sized = {"original_width": 10, "original_height": 10, "image_rotation": 0}
    drawn = [region("rectanglelabels", "box", "image", value, item_index=index, **sized) for index in (0, 1)]
    drawn[1]["id"] = "box2"
    check_one(tmp_path / "pages", format, {"pages": ["a.png", "b.png"]}, drawn, pages)


def check_one(folder: Path, format: str, data: dict[str, Any], result: list[dict[str, Any]], xml: str) -> None:
    out, report = exported(folder, format, [task(1, data, result)], xml)
    found, (item,) = read(out, format)
    assert found.rejected == [] and report.n_skipped == 0
    assert (item.data, item.result) == (data, result)


@pytest.mark.parametrize("format", FORMATS)
def test_a_config_that_is_given_takes_the_regions_by_class(format: str, tmp_path: Path) -> None:
    from labelloop.label_config import parse_label_config

    out, _ = exported(tmp_path, format, [task(1, {"text": "t"}, [choice("topic", "zebra")])], TEXTS)
    other = parse_label_config(
        config(
            control("Choices", "first", "words", ("ant",)),
            control("Choices", "second", "words", ("zebra",)),
            object_tag="Text",
            key="words",
        )
    )
    found, (item,) = read(out, format, config=other)
    assert [(each["from_name"], each["to_name"]) for each in item.result] == [("second", "words")]
    out, _ = exported(tmp_path, format, [task(1, {"text": "t"}, [choice("topic", "two\nlines")])], TEXTS)
    found, (item,) = read(out, format, config=other)
    assert item.result == []
    assert [each.reason for each in found.rejected] == ["misfit"]
    assert "two" in found.rejected[0].detail


@pytest.mark.parametrize("format", FORMATS)
def test_without_a_config_one_is_made_with_the_classes_in_the_order_of_their_ids(format: str, tmp_path: Path) -> None:
    tasks = [task(1, {"text": "t"}, [choice("topic", "<&>")]), task(2, {"text": "u"}, [choice("topic", "=ant")])]
    out, _ = exported(tmp_path, format, tasks, TEXTS)
    (out / "config.xml").unlink()
    found, items = read(out, format)
    (made,) = found.config.controls
    ids = format != "label_studio"  # whose regions name classes only
    assert made.classes == (("=ant", "<&>") if ids else ("<&>", "=ant"))
    assert [item.result[0]["value"]["choices"] for item in items] == [["<&>"], ["=ant"]]
    assert made.data_key == "text"
