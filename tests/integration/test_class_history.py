"""Classes that change in a project with labels: datasets, exports and suggestions follow, raw revisions stay."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from labelloop.config_editing import label_studio_config
from labelloop.datasets import Dataset
from labelloop.errors import DataError
from labelloop.store import ProjectRow, Store
from labelloop.store.classes import class_table, schema_versions_of
from labelloop.store.tables import classes, revisions

sys.path.insert(0, str(Path(__file__).parent))
from frozen_projects import CHOICES, add, box, choice, label, put_project, task

from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.freezing import freeze_version, open_dataset
from sync.promotion import prediction_row
from sync.schemas import change_schema, project_classes, read_change, schema_report

pytestmark = pytest.mark.integration


@pytest.fixture
def project(store: Store) -> ProjectRow:
    made = put_project(store)
    store.put_tasks(1, [task(n) for n in range(1, 4)])
    add(
        store,
        [label(1, 1, box("cat", "a"), box("dog", "b")), label(2, 1, box("cat", "a")), label(3, 1, box("dog", "b"))],
    )
    return made


def change(store: Store, project: ProjectRow, *words: str, **options: Any) -> dict[str, Any]:
    return change_schema(store, project, read_change(words), **options)


def frozen(store: Store, project: ProjectRow, folder: Path) -> Dataset:
    made = freeze_version(store, project, str(folder))
    return open_dataset(str(folder), made.dataset_id, folder)


def objects(dataset: Dataset) -> list[tuple[int, str]]:
    return [(row["task_id"], row["label"]) for row in dataset.regions.to_dicts()]


def test_old_labels_carry_the_new_names_and_the_raw_ones_stay(
    store: Store, project: ProjectRow, tmp_path: Path
) -> None:
    before = frozen(store, project, tmp_path)
    change(store, project, "rename", "cat", "feline")
    after = frozen(store, project, tmp_path)
    assert objects(after) == [(1, "feline"), (1, "dog"), (2, "feline"), (3, "dog")]
    assert after.dataset_id != before.dataset_id and after.entries() == before.entries()
    assert (
        after.manifest["body"]["classes"]
        == {"l": ["feline", "dog"]}
        == {"l": list(after.label_config.controls[0].classes)}
    )
    assert after.manifest["body"]["config_hash"] == before.manifest["body"]["config_hash"]
    assert after.manifest["class_schema"]["number"] == 2
    with store.read() as connection:
        raw = str(connection.execute(select(revisions.c.result)).all())
    assert "feline" not in raw and "cat" in raw


def test_merged_split_and_retired_classes(store: Store, project: ProjectRow, tmp_path: Path) -> None:
    change(store, project, "merge", "cat", "dog", "into", "animal")
    assert {name for _, name in objects(frozen(store, project, tmp_path))} == {"animal"}
    report = change(store, project, "split", "animal", "into", "wild", "tame")
    assert report["open"] == {"tasks": 3, "labels": 3, "task_ids": [1, 2, 3]}
    open_ones = frozen(store, project, tmp_path)
    assert open_ones.manifest["counts"]["truths"] == 0 and sum(open_ones.manifest["left_out"].values()) == 3
    assert "was split into 'wild', 'tame'" in open_ones.labels["left_out"][0]
    add(store, [label(3, 1, box("tame", "b"), rev=2)])  # a person looked again
    assert objects(frozen(store, project, tmp_path)) == [(3, "tame")]
    change(store, project, "retire", "tame")
    retired = frozen(store, project, tmp_path)
    assert objects(retired) == [] and retired.manifest["dropped"] == {"l/tame": 1}
    assert [row["number"] for row in map(vars, schema_versions_of(store, 1))] == [1, 2, 3, 4]


def test_a_file_says_which_part_each_region_is_and_may_come_in_pieces(
    store: Store, project: ProjectRow, tmp_path: Path
) -> None:
    words = ("split", "cat", "into", "wild", "tame")
    first, second = tmp_path / "one.csv", tmp_path / "two.jsonl"
    with first.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["task_id", "region_id", "class"])
        writer.writeheader()
        writer.writerows(
            [{"task_id": 1, "region_id": "a", "class": "wild"}, {"task_id": 9, "region_id": "zz", "class": "tame"}]
        )
    report = change(store, project, *words, by_file=first)
    assert (report["unmatched"], report["open"]["task_ids"], report["change"]["assigned"]) == (1, [2], 2)
    assert objects(frozen(store, project, tmp_path)) == [(1, "wild"), (1, "dog"), (3, "dog")]
    one = frozen(store, project, tmp_path).dataset_id
    second.write_text('{"task_id": 2, "annotation_id": 201, "region_id": "a", "class": "tame"}\n')
    report = change(store, project, *words, by_file=second)
    assert report["unmatched"] == 0 and report["open"]["labels"] == 0
    whole = frozen(store, project, tmp_path)
    assert (2, "tame") in objects(whole) and whole.dataset_id != one


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x,a,wild", "expected numbers"),
        ("1,a,lion", r"expected a region_id and one of \['wild', 'tame'\]"),
        ("1,,wild", "expected a region_id"),
    ],
)
def test_a_file_that_is_not_so_changes_nothing(line: str, words: str, sqlite_store: Store, tmp_path: Path) -> None:
    made = put_project(sqlite_store)
    (tmp_path / "by.csv").write_text(f"task_id,region_id,class\n{line}\n")
    with pytest.raises(DataError, match=words):
        change(sqlite_store, made, "split", "cat", "into", "wild", "tame", by_file=tmp_path / "by.csv")
    assert schema_report(sqlite_store, made)["schema_version"] == 1


def test_a_choice_of_a_retired_class_is_no_truth_and_no_empty_one_either(sqlite_store: Store, tmp_path: Path) -> None:
    made = put_project(sqlite_store, CHOICES)
    sqlite_store.put_tasks(1, [task(1), task(2)])
    add(sqlite_store, [label(1, 1, choice("a")), label(1, 2, choice("b")), label(2, 1, choice("b"))])
    change(sqlite_store, made, "retire", "b")
    dataset = frozen(sqlite_store, made, tmp_path)
    assert [(t, found[0]["value"]["choices"]) for t, _, found in dataset.truth("train")] == [(1, ["a"])]
    assert "was retired" in str(dataset.labels["left_out"].to_list())


def test_ids_in_an_export_stay_when_classes_come_and_go(sqlite_store: Store, tmp_path: Path) -> None:
    made = put_project(sqlite_store)
    sqlite_store.put_tasks(1, [task(1)])
    add(sqlite_store, [label(1, 1, box("dog"))])
    change(sqlite_store, made, "retire", "cat")
    change(sqlite_store, made, "rename", "dog", "hound")
    assert [(c.class_id, c.name, c.retired) for c in project_classes(sqlite_store, made)] == [
        (0, "cat", True), (1, "hound", False),
    ]  # fmt: skip
    dataset = frozen(sqlite_store, made, tmp_path)
    export_dataset(dataset, "yolo", tmp_path / "yolo", options=ExportOptions(train_share=1.0))
    (line,) = [path.read_text() for path in (tmp_path / "yolo" / "labels").rglob("*.txt")]
    assert line.startswith("1 ")


def test_a_changed_config_is_followed_and_ids_are_never_given_again(store: Store, project: ProjectRow) -> None:
    class_table(store, project)
    for names in (("dog", "cow"), ("cat", "cow", "pig")):
        listed = "".join(f'<Label value="{name}"/>' for name in names)
        xml = (
            '<View><Image name="i" value="$image"/><RectangleLabels name="l" toName="i">'
            f"{listed}</RectangleLabels></View>"
        )
        project = put_project(store, xml)
        class_table(store, project)
    with store.read() as connection:
        rows = connection.execute(select(classes).order_by(classes.c.class_id)).mappings().all()
    assert [(row["class_id"], row["name"], row["retired_at"] is None) for row in rows] == [
        (0, "cat", True), (1, "dog", False), (2, "cow", True), (3, "pig", True),
    ]  # fmt: skip
    assert [set(version.change) for version in schema_versions_of(store, 1)] == [
        {"kind", "added"}, {"kind", "added", "retired"}, {"kind", "added", "retired", "returned"},
    ]  # fmt: skip


def test_a_suggestion_of_a_renamed_class_is_queued_as_it_is_stored(sqlite_store: Store) -> None:
    made = put_project(sqlite_store)
    change(sqlite_store, made, "rename", "dog", "hound")
    shown = put_project(sqlite_store, label_studio_config(made.label_config, class_table(sqlite_store, made)))
    said = {**box("hound"), "score": 0.6}
    outcome = {"status": "ok", "result": [said], "confidence": 0.6, "uncertainty": 0.4, "fired_rules": None}
    thresholds = {"l": {"hound": 0.5, "dog": 0.9}}  # by the model's names: applied before it is sent
    row = prediction_row(shown, "v1", "v1-r1", 1, 0.5, "strategy", outcome, "pool", thresholds)
    assert [region["value"]["rectanglelabels"] for region in row["result"]] == [["dog"]]
