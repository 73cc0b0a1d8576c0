"""Hugging Face datasets read: our own come back within what is declared, and those that `datasets` itself saved."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from PIL import Image as PILImage

from labelloop.errors import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from row_exports import (
    SHAPES,
    TEXTS,
    config,
    control,
    exported,
    image_tasks,
    read,
    text_tasks,
)

pytestmark = pytest.mark.integration
NER = config(control("Labels", "span", "text", ("PER", "New Org")), object_tag="Text", key="text")


def pictures(folder: Path, *names: str, exif: int | None = None) -> Path:
    folder.mkdir()
    for shade, name in enumerate(names):
        image = PILImage.new("RGB", (200, 100), (40 * shade, 0, 0))
        marks = PILImage.Exif()
        if exif is not None:
            marks[0x0112] = exif
        image.save(folder / name, exif=marks)
    return folder


# -- round trips --------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(tasks=image_tasks())
def test_boxes_come_back_within_rounding(tasks: list[dict[str, Any]]) -> None:
    """Of upright rectangles nothing is lost but the last bits of pixels; everything else is its upright bounds or named."""
    with tempfile.TemporaryDirectory() as folder:
        out, report = exported(Path(folder), "huggingface", tasks, SHAPES, task="detect")
        if not report.items:
            return  # no task has an image of a known size
        found, items = read(out, "huggingface", task="detect")
    written = {each["id"]: each for each in tasks}
    kept = {item.source: item for item in items}
    assert len(kept) == report.items
    for item, number in zip(items, sorted(n for n in written if _sized(written[n])), strict=True):
        wanted = {
            each["id"]: each["value"]
            for each in written[number]["annotations"][0]["result"]
            if each["type"] == "rectanglelabels" and not each["value"]["rotation"]
        }
        came = {each["id"]: each["value"] for each in item.result if each["id"] in wanted}
        assert set(came) == set(wanted)
        for region_id, value in wanted.items():
            assert sorted(came[region_id]["rectanglelabels"]) == sorted(value["rectanglelabels"])
            for key in ("x", "y", "width", "height"):
                assert abs(came[region_id][key] - value[key]) <= 1e-9
    assert found.rejected == []


def _sized(one: dict[str, Any]) -> bool:
    return any("original_width" in each for each in one["annotations"][0]["result"])


@settings(max_examples=20, deadline=None)
@given(tasks=text_tasks())
def test_spans_come_back_but_for_white_space_at_their_ends(tasks: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, _ = exported(Path(folder), "huggingface", tasks, TEXTS, task="ner")
        found, items = read(out, "huggingface")
    assert found.rejected == []
    for item, one in zip(items, tasks, strict=True):
        text = one["data"]["text"]
        assert item.data == one["data"]
        marked = [each["value"] for each in one["annotations"][0]["result"] if each["type"] == "labels"]
        wanted = [(value["text"].strip(), sorted(value["labels"])) for value in marked if value["text"].strip()]
        came = [(each["value"]["text"], sorted(each["value"]["labels"])) for each in item.result]
        assert sorted(came) == sorted(wanted)
        assert all(text[each["value"]["start"] : each["value"]["end"]] == each["value"]["text"] for each in item.result)


@settings(max_examples=20, deadline=None)
@given(tasks=text_tasks())
def test_choices_come_back(tasks: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, _ = exported(Path(folder), "huggingface", tasks, TEXTS, task="textcat")
        found, items = read(out, "huggingface")
    assert found.rejected == []
    for item, one in zip(items, tasks, strict=True):
        chosen: dict[str, set[str]] = {}
        for each in one["annotations"][0]["result"]:
            if each["type"] == "choices" and (each["from_name"] == "mood" or "topic" not in chosen):
                chosen.setdefault(each["from_name"], set()).update(each["value"]["choices"])
        assert {each["from_name"]: set(each["value"]["choices"]) for each in item.result} == chosen


# -- datasets of others -------------------------------------------------------------------------------------------------


def test_texts_and_tokens_that_datasets_saved(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    told = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"]), "idx": Value("int32")})
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, None], "idx": [5, 6, 7]}, features=told)
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "parquet" / "data" / "validation-00000-of-00001.parquet")
    rows.save_to_disk(tmp_path / "saved" / "validation")
    for folder in (tmp_path / "parquet", tmp_path / "saved"):
        found, items = read(folder, "huggingface")
        assert found.config.controls[0].classes == ("neg", "pos")
        assert [item.data for item in items] == [{"text": t, "idx": n} for t, n in (("a", 5), ("b", 6), ("c", 7))]
        assert [[r["value"]["choices"] for r in item.result] for item in items] == [[["pos"]], [["neg"]], []]
        assert {item.split for item in items} == {"val"}
    tags = Features(
        {"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC"]))}
    )
    rows = Dataset.from_dict(
        {"tokens": [["Ada", "L.", "in", "Rome"], ["x"]], "ner_tags": [[1, 2, 0, 3], [0]]}, features=tags
    )
    rows.to_parquet(tmp_path / "tokens.parquet")
    found, (first, second) = read(tmp_path / "tokens.parquet", "huggingface")
    assert found.config.controls[0].classes == ("PER", "LOC")
    assert first.data == {"text": "Ada L. in Rome"}
    assert [(r["value"]["text"], r["value"]["labels"]) for r in first.result] == [
        ("Ada L.", ["PER"]),
        ("Rome", ["LOC"]),
    ]
    assert second.result == []


def test_images_with_objects_that_datasets_saved(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value

    here = pictures(tmp_path / "here", "a.png", "b.png")
    objects = {"bbox": Sequence(Value("float32"), length=4), "category": ClassLabel(names=["cat", "dog"])}
    told = Features({"image": Image(), "objects": Sequence(objects)})
    rows = Dataset.from_dict(
        {
            "image": [str(here / "a.png"), str(here / "b.png")],
            "objects": [
                {"bbox": [[20, 10, 100, 50], [0, 0, 500, 1]], "category": [1, 0]},
                {"bbox": [], "category": []},
            ],
        },
        features=told,
    )
    rows.to_parquet(tmp_path / "train.parquet")
    found, (first, second) = read(tmp_path / "train.parquet", "huggingface")
    assert found.config.controls[0].classes == ("cat", "dog")
    assert [(r["value"]["rectanglelabels"], r["value"]["x"], r["value"]["width"]) for r in first.result] == [
        (["dog"], 10.0, 50.0), (["cat"], 0.0, 100.0),
    ]  # fmt: skip
    assert (first.size, second.result, first.split) == ((200, 100), [], "train")
    assert first.media is not None and first.media.read_bytes() == (here / "a.png").read_bytes()


def test_bad_rows_are_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"tokens": [["a"], ["a", "b"]], "ner_tags": [["O"], ["O"]]})
    frame.write_parquet(tmp_path / "bad.parquet")
    found, items = read(tmp_path / "bad.parquet", "huggingface")
    assert len(items) == 1
    assert [(each.source, each.detail) for each in found.rejected] == [
        ("bad.parquet, row 2", "expected a tag for each token, got 1 tags and 2 tokens")
    ]
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="got the columns a"):
        read(tmp_path / "other.parquet", "huggingface")
    with pytest.raises(DataError, match="cannot be read as a file of a dataset"):
        (tmp_path / "broken.parquet").write_text("x")
        read(tmp_path / "broken.parquet", "huggingface")
