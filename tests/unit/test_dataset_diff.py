"""Two dataset versions compared: labels by whom and of which class, tasks, config, classes, and versions of the first schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from labelloop.datasets import Dataset, dataset_id_of, read_dataset
from sync.dataset_diff import diff_text, diff_versions
from sync.formats.freezing_exports import dataset_from_export
from sync.version_erasing import erase_from_version

CONFIG = (
    '<View><Image name="i" value="$image"/><RectangleLabels name="l" toName="i">{}</RectangleLabels></View>'
)  # fmt: skip


def box(region: str, label: str = "cat", x: float = 1.0) -> dict[str, Any]:
    value = {"x": x, "y": 1.0, "width": 2.0, "height": 2.0, "rotation": 0, "rectanglelabels": [label]}
    return {"id": region, "from_name": "l", "to_name": "i", "type": "rectanglelabels", "original_width": 100,
            "original_height": 50, "value": value}  # fmt: skip


def label(number: int, person: int, *regions: dict[str, Any], minute: int = 0, **more: Any) -> dict[str, Any]:
    at = f"2026-01-01T00:{minute:02}:00Z"
    return {"id": number, "completed_by": person, "created_at": at, "updated_at": at, "result": list(regions)} | more


def version(
    folder: Path, tasks: dict[int, list[dict[str, Any]]], classes: tuple[str, ...] = ("cat", "dog"), **data: str
) -> Dataset:
    folder.mkdir()
    content = [
        {"id": task, "data": {"image": data.get(f"t{task}", f"{task}.png")}, "annotations": found}
        for task, found in tasks.items()
    ]
    (folder / "export.json").write_bytes(orjson.dumps(content))
    (folder / "config.xml").write_text(CONFIG.format("".join(f'<Label value="{name}"/>' for name in classes)))
    return dataset_from_export(folder / "export.json", folder / "config.xml", folder / "version")


BEFORE = {
    1: [label(11, 1, box("a"))],
    2: [label(21, 1, box("a"), box("b", "dog")), label(22, 2, box("c"), minute=1)],
    3: [label(31, 2, box("a"))],
    4: [label(41, 3, box("a"))],
}
AFTER = {
    1: [label(11, 1, box("a"))],
    2: [label(21, 1, box("a", "dog"), box("b", "dog", x=7), box("n")), label(22, 2, box("c"), minute=1)],
    3: [label(31, 2, box("a")), label(32, 1, box("z", "dog"), minute=5)],
    5: [label(51, 3)],
}


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    return diff_versions(version(tmp_path / "old", BEFORE), version(tmp_path / "new", AFTER))


def test_labels_are_counted_by_what_became_of_them_and_by_whom(report: dict[str, Any]) -> None:
    assert report["labels"] == {"added": 2, "changed": 1, "removed": 1, "same": 3, "truth_moved": 1}
    assert report["by_annotator"] == [
        {"annotator": 1, "added": 1, "changed": 1, "removed": 0},
        {"annotator": 3, "added": 1, "changed": 0, "removed": 1},
    ]
    assert (report["tasks"]["added"], report["tasks"]["removed"], report["tasks"]["changed"]) == (1, 1, 0)
    assert report["tasks"]["ids"] == {"added": [5], "removed": [4], "changed": [], "moved": []}


def test_objects_are_counted_by_class_and_told_in_words(report: dict[str, Any]) -> None:
    assert report["by_class"] == [
        {"control": "l", "class": "cat", "added": 1, "removed": 2},
        {"control": "l", "class": "dog", "added": 2, "removed": 0},
    ]
    assert report["reclassified"] == [{"control": "l", "from": "cat", "to": "dog", "objects": 1}]
    words = {(row["task_id"], row["annotation_id"]): row["words"] for row in report["changes"]}
    assert words == {
        (2, 21): "1 box added, 1 box moved, 'cat' became 'dog'",
        (3, 31): "is the truth no longer",
        (3, 32): "added: 1 x dog",
        (4, 41): "removed: 1 x cat",
        (5, 51): "added",
    }
    text = diff_text(report)
    assert (
        "labels: 2 added, 1 changed, 1 removed, 3 the same" in text
        and "person 3: 1 added, 0 changed, 1 removed" in text
    )


def test_versions_of_the_same_content_differ_in_nothing(tmp_path: Path) -> None:
    one = version(tmp_path / "one", BEFORE)
    other = version(tmp_path / "other", dict(reversed(BEFORE.items())))
    assert one.dataset_id == other.dataset_id
    found = diff_versions(one, other)
    assert found["labels"] == {"added": 0, "changed": 0, "removed": 0, "same": 5, "truth_moved": 0}
    assert found["changes"] == [] and not found["config"]["changed"]


def test_other_data_is_another_version_and_told(tmp_path: Path) -> None:
    one, other = version(tmp_path / "one", BEFORE), version(tmp_path / "other", BEFORE, t3="turned.png")
    assert one.dataset_id != other.dataset_id
    assert diff_versions(one, other)["tasks"]["ids"]["changed"] == [3]


def test_a_limit_names_fewer_and_counts_all(tmp_path: Path) -> None:
    old, new = version(tmp_path / "old", BEFORE), version(tmp_path / "new", AFTER)
    few = diff_versions(old, new, limit=1)
    assert [row["annotation_id"] for row in few["changes"]] == [21] and few["changes"][0]["regions"]
    assert few["labels"]["added"] == 2 and few["by_class"] == diff_versions(old, new)["by_class"]
    assert "1 of 5 are named" in diff_text(few)


def test_classes_of_the_config_that_came_and_went(tmp_path: Path) -> None:
    old = version(tmp_path / "old", BEFORE)
    new = version(tmp_path / "new", BEFORE, classes=("cat", "dog", "cow"))
    found = diff_versions(old, new)
    assert found["config"]["changed"] and found["classes"]["added"] == [{"control": "l", "class": "cow"}]
    back = diff_versions(new, old)
    assert back["classes"]["retired"] == [{"control": "l", "class": "cow"}]


def first_schema(dataset: Dataset, folder: Path) -> Dataset:
    """The version as a release of the first schema wrote it: fewer columns, one row group, entries listed."""
    folder.mkdir()
    body = dict(dataset.manifest["body"])
    body.update(schema_version=1, entries=sorted(map(list, dataset.entries())))
    del body["class_table"]
    for name, frame in (("tasks", dataset.tasks), ("labels", dataset.labels), ("regions", dataset.regions)):
        gone = ("ground_truth", "source", "review_status", "n_labels", "n_agreeing", "shown_version", "fired_rules")
        frame.drop(gone, "left_out", strict=False).write_parquet(folder / f"{name}.parquet")
    manifest = {
        "dataset_id": dataset_id_of(body),
        "parent": None,
        "created_at": "2026-01-01T00:00:00+00:00",
        "body": body,
    }
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    return read_dataset(folder)


def test_a_version_of_the_first_schema_is_compared_with_one_of_this(tmp_path: Path) -> None:
    old = first_schema(version(tmp_path / "old", BEFORE), tmp_path / "first")
    new = version(tmp_path / "new", AFTER)
    found = diff_versions(old, new)
    assert found["labels"] == {"added": 2, "changed": 1, "removed": 1, "same": 3, "truth_moved": 1}
    assert found["tasks"]["changed"] == 0 and not found["config"]["changed"]
    assert (found["old"]["schema_version"], found["new"]["schema_version"]) == (1, 2)


# -- erasing ----------------------------------------------------------------------------------------------------------


def test_an_erased_task_keeps_its_rows_and_loses_what_they_said(tmp_path: Path) -> None:
    made = version(tmp_path / "old", BEFORE, t2="the-secret-place.png")
    assert erase_from_version(str(made.path), [2, 99]) == {2}
    read = read_dataset(made.path)
    assert read.dataset_id == made.dataset_id and read.entries() == made.entries()
    assert [each["task_id"] for each in read.manifest["forgotten"]] == [2] and read.forgotten == {2}
    assert [task for task, _, _ in read.truth("train")] == [1, 3, 4]
    rows = read.labels.filter(pl.col("task_id") == 2).to_dicts()
    assert [(row["result"], row["is_truth"], row["left_out"]) for row in rows] == [("[]", False, "forgotten")] * 2
    assert [row["rev_hash"] for row in rows] == made.labels.filter(pl.col("task_id") == 2)["rev_hash"].to_list()
    assert 2 not in read.regions["task_id"].to_list() and read.regions.height == 3
    for file in made.path.iterdir():
        assert b"secret-place" not in file.read_bytes()
    assert "secret-place" not in str(read.tasks.to_dicts())
    before = [file.stat().st_mtime_ns for file in sorted(made.path.iterdir())]
    assert erase_from_version(str(made.path), [2]) == {2}  # again: it knows, and writes nothing
    assert [file.stat().st_mtime_ns for file in sorted(made.path.iterdir())] == before


def test_a_version_of_the_first_schema_is_erased_too(tmp_path: Path) -> None:
    old = first_schema(version(tmp_path / "old", BEFORE), tmp_path / "first")
    assert erase_from_version(str(old.path), [2, 3]) == {2, 3}
    assert [task for task, _, _ in read_dataset(old.path).truth("train")] == [1, 4]


def test_forgotten_tasks_are_no_change_of_data(tmp_path: Path) -> None:
    one, other = version(tmp_path / "one", BEFORE), version(tmp_path / "other", AFTER)
    erase_from_version(str(other.path), [1])
    found = diff_versions(one, read_dataset(other.path))
    assert found["tasks"]["changed"] == 0 and found["tasks"]["forgotten"] == 1
