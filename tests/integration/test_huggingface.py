"""Hugging Face datasets: what `datasets` itself makes of ours, and what we make of those that it saved."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from labelloop.datasets import PART_TASKS
from labelloop.errors import DataError
from labelloop.masks import brush_of_pixels
from sync.formats.format import ClassName

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from row_exports import (
    CLASSES,
    SHAPES,
    TEXTS,
    box,
    choice,
    config,
    control,
    exported,
    read,
    region,
    span,
    task,
)

pytestmark = pytest.mark.integration
TEXT = "Ada Lovelace met New York-based Babbage."
NER = config(control("Labels", "span", "text", ("PER", "New Org")), object_tag="Text", key="text")


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`datasets.load_dataset` of a folder, without a network and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    yield lambda folder, **more: datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **more)
    datasets.enable_progress_bars()


def pictures(folder: Path, *names: str, exif: int | None = None) -> Path:
    folder.mkdir()
    for shade, name in enumerate(names):
        image = PILImage.new("RGB", (200, 100), (40 * shade, 0, 0))
        marks = PILImage.Exif()
        if exif is not None:
            marks[0x0112] = exif
        image.save(folder / name, exif=marks)
    return folder


# -- what is written ----------------------------------------------------------------------------------------------------


def test_boxes_with_their_classes_in_order(tmp_path: Path, load: Any) -> None:
    from datasets import ClassLabel, Features, List, Value

    tasks = [
        task(
            1,
            {"image": "a.png", "shelf": 3},
            [box(50, 50, 20, 20, "ant", "zebra", rotation=90), box(95, 0, 10, 10, "zebra")],
        ),
        task(2, {"image": "b.png"}, [], meta={"labelloop": {"width": 64, "height": 48}}),
        task(3, {"image": "c.png"}, None),
    ]
    out, report = exported(tmp_path, "huggingface", tasks)
    assert (report.task, report.items, report.objects) == ("detect", 2, 3)
    found = load(out)
    assert set(found) == {"train"}
    assert found["train"].features == Features(
        {
            "image": Value("string"), "width": Value("int64"), "height": Value("int64"),
            "objects": {
                "bbox": List(List(Value("float64"))), "category": List(ClassLabel(names=["zebra", "ant"])),
                "area": List(Value("float64")), "region_id": List(Value("string")),
            },
            "task_id": Value("int64"), "data": Value("string"),
        }
    )  # fmt: skip
    first, second = found["train"]
    assert first["objects"]["category"] == [1, 0, 0]
    # A turned box is the upright one around it, turned in pixels; what is not on the image is cut.
    assert np.allclose(first["objects"]["bbox"], [[80, 50, 20, 40], [80, 50, 20, 40], [190, 0, 10, 10]])
    assert np.allclose(first["objects"]["area"], [800, 800, 100])
    assert (first["image"], first["width"], json.loads(first["data"])) == ("a.png", 200, {"shelf": 3})
    assert second == {
        "image": "b.png", "width": 64, "height": 48, "task_id": 2, "data": None,
        "objects": {"bbox": [], "category": [], "area": [], "region_id": []},
    }  # fmt: skip
    noted = pl.read_parquet(out / "provenance.parquet")
    assert noted["file"].unique().to_list() == ["data/train-*.parquet"]
    assert noted.select("object", "label", "class_id").rows() == [(1, "ant", 1), (2, "zebra", 0), (3, "zebra", 0)]


def test_images_are_in_the_dataset_and_stand_upright(tmp_path: Path, load: Any) -> None:
    here = pictures(tmp_path / "here", "a.jpg", "b.jpg", exif=6)
    sized = {"original_width": 100, "original_height": 200}
    tasks = [
        task(1, {"image": "/d/a.jpg"}, [box(1, 2, 3, 4, **sized)]),
        task(2, {"image": "/d/gone.jpg"}, [box(1, 2, 3, 4)]),
    ]
    out, report = exported(tmp_path, "huggingface", tasks, images=here)
    first, second = load(out)["train"]
    assert first["image"].size == (100, 200)
    assert first["image"].getexif().get(0x0112, 1) == 1
    assert second["image"] is None
    assert [(task_id, "image not copied" in reason) for task_id, reason in report.skipped] == [(2, True)]
    found, items = read(out, "huggingface")
    assert [item.data["image"] for item in items] == ["d/a.jpg"]
    assert items[0].media is not None
    with PILImage.open(items[0].media) as image:
        assert image.size == (100, 200)
    assert [each.reason for each in found.rejected] == ["bad_row"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_outlines_and_masks(tmp_path: Path, load: Any) -> None:
    from pycocotools import mask as coco_mask

    pixels = np.zeros((100, 200), dtype=bool)
    pixels[10:40, 20:60] = True
    pixels[20:25, 30:40] = False
    sized = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    brush = region(
        "brushlabels",
        "brush",
        "image",
        {"format": "rle", "rle": brush_of_pixels(pixels), "brushlabels": ["zebra"]},
        **sized,
    )
    points = {"points": [[0, 0], [50, 0], [50, 50]], "closed": True, "polygonlabels": ["=ant"]}
    polygon = region("polygonlabels", "polygon", "image", points, **sized)
    out, report = exported(
        tmp_path, "huggingface", [task(1, {"image": "a.png"}, [brush, polygon])], SHAPES, task="segment"
    )
    assert (report.objects, report.skipped) == (2, ())
    (row,) = load(out)["train"]
    objects = row["objects"]
    assert objects["segmentation"] == [[], [[0.0, 0.0, 100.0, 0.0, 100.0, 50.0]]]
    assert objects["mask"][1] is None
    code = {"size": [100, 200], "counts": objects["mask"][0]}
    assert np.array_equal(coco_mask.decode(code).astype(bool), pixels)
    assert objects["area"] == [pixels.sum(), 2500.0]
    _, (item,) = read(out, "huggingface")
    assert [each["type"] for each in item.result] == ["brushlabels", "polygonlabels"]
    assert item.result[1]["value"] == points


def test_tokens_have_tags_and_spans_keep_what_overlaps(tmp_path: Path, load: Any) -> None:
    marked = [span(TEXT, 0, 12, "PER"), span(TEXT, 17, 25, "New Org", "PER"), span(TEXT, 21, 31, "PER")]
    out, report = exported(tmp_path, "huggingface", [task(1, {"text": TEXT}, marked), task(2, {"text": ""}, [])], NER)
    assert (report.task, report.items, report.objects) == ("ner", 2, 4)
    train = load(out)["train"]
    names = train.features["ner_tags"].feature.names
    assert names == ["O", "B-PER", "I-PER", "B-New Org", "I-New Org"]
    first, second = train
    tagged = [(token, names[tag]) for token, tag in zip(first["tokens"], first["ner_tags"], strict=True)]
    assert tagged == [
        ("Ada", "B-PER"), ("Lovelace", "I-PER"), ("met", "O"), ("New", "O"), ("York", "B-PER"), ("-", "I-PER"),
        ("based", "I-PER"), ("Babbage", "O"), (".", "O"),
    ]  # fmt: skip
    assert first["spans"]["start"] == [0, 17, 17, 21]
    assert [train.features["spans"]["label"].feature.int2str(n) for n in first["spans"]["label"]] == [
        "PER", "New Org", "PER", "PER",
    ]  # fmt: skip
    assert (second["tokens"], second["ner_tags"]) == ([], [])


def test_labels_of_texts(tmp_path: Path, load: Any) -> None:
    from datasets import ClassLabel, List

    both = [
        task(1, {"text": "a"}, [choice("topic", "a,b"), choice("mood", "=ant", "zebra")]),
        task(2, {"text": "b"}, []),
    ]
    out, report = exported(tmp_path, "huggingface", both, TEXTS, task="textcat")
    assert (report.items, report.objects) == (2, 3)
    train = load(out)["train"]
    assert train.features["topic"] == ClassLabel(names=list(CLASSES))
    assert train.features["mood"] == List(ClassLabel(names=list(CLASSES)))
    assert train[:] == {
        "text": ["a", "b"], "topic": [3, None], "mood": [[1, 0], []], "task_id": [1, 2], "data": [None, None],
    }  # fmt: skip
    one = config(control("Choices", "topic", "text", ("neg", "pos")), object_tag="Text", key="text")
    out, _ = exported(tmp_path, "huggingface", [task(1, {"text": "a"}, [choice("topic", "pos")])], one)
    train = load(out)["train"]
    assert (train.features["label"].names, train[0]["label"]) == (["neg", "pos"], 1)


def test_labels_of_images(tmp_path: Path, load: Any) -> None:
    here = pictures(tmp_path / "here", "a.png", "b.png")
    one = config(control("Choices", "kind", "image", ("cat", "dog")))
    tasks = [task(1, {"image": "a.png"}, [choice("kind", "dog", to="image")]), task(2, {"image": "b.png"}, [])]
    out, report = exported(tmp_path, "huggingface", tasks, one, images=here)
    assert (report.task, report.objects) == ("classify", 1)
    first, second = load(out)["train"]
    assert (first["label"], second["label"], first["image"].size) == (1, None, (200, 100))


def test_retired_classes_keep_their_place(tmp_path: Path, load: Any) -> None:
    from sync.formats.exporting import export_dataset
    from sync.formats.sources import open_export

    exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4, "ant")])])
    classes = [ClassName("box", n, name, name == "gone") for n, name in enumerate(("zebra", "gone", "ant"))]
    source = open_export(tmp_path / "export.json", tmp_path / "project.xml", "latest")
    export_dataset(source, "huggingface", tmp_path / "again", classes=classes)
    found = next(iter(load(tmp_path / "again").values()))
    assert found.features["objects"]["category"].feature.names == ["zebra", "gone", "ant"]
    assert found[0]["objects"]["category"] == [2]


def test_splits_files_and_card(tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.setattr("sync.formats.huggingface_parquet.SHARD_BYTES", 1)
    monkeypatch.setattr("sync.formats.parquet_groups.GROUP_ROWS", 1)
    count = 2 * PART_TASKS + 100
    tasks = [task(n, {"text": f"text {n}"}, [choice("topic", "zebra")]) for n in range(1, count + 1)]
    out, report = exported(tmp_path, "huggingface", tasks, TEXTS, task="textcat", train_share=0.8, test_share=0.1)
    found = load(out)
    assert {name: len(rows) for name, rows in found.items()} == {
        {"val": "validation"}.get(split, split): items for split, items in report.splits.items()
    }
    assert sorted(row for rows in found.values() for row in rows["task_id"]) == list(range(1, count + 1))
    assert found["train"]["task_id"] == sorted(found["train"]["task_id"])
    names = sorted(path.name for path in (out / "data").iterdir())
    assert names[-3:] == [f"validation-0000{n}-of-00003.parquet" for n in range(3)]
    card = (out / "README.md").read_text()
    told = yaml.safe_load(card.split("---")[1])
    assert told["task_categories"] == ["text-classification"]
    assert "license" not in told
    assert [each["num_examples"] for each in told["dataset_info"]["splits"]] == list(report.splits.values())
    alone = load(out / "data", data_files="test-*.parquet", split="train")
    assert alone.features == found["test"].features


def test_configs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tasks = [task(1, {"text": "t"}, [])]
    with pytest.raises(DataError, match=r"detect needs one of .* on an <Image>"):
        exported(tmp_path, "huggingface", tasks, TEXTS, task="detect")
    with pytest.raises(DataError, match="classify needs <Choices> on an <Image>"):
        exported(tmp_path, "huggingface", tasks, TEXTS, task="classify")
    page = config(control("HyperTextLabels", "mark", "page", ("x",)), object_tag="HyperText", key="page")
    with pytest.raises(DataError, match="needs shapes on an <Image>"):
        exported(tmp_path, "huggingface", tasks, page)


def test_metadata_is_what_older_versions_read_too(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])])
    (file,) = (out / "data").glob("*.parquet")
    told = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
    assert told["objects"]["category"] == {
        "feature": {"names": ["zebra", "ant"], "_type": "ClassLabel"}, "_type": "Sequence",
    }  # fmt: skip
