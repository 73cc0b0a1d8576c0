"""From an export file to labelled tasks: whose label is the truth, what a version holds, splits and names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from labelloop.datasets import Entries, part_count, read_part
from labelloop.errors import DataError, NotReady, UsageError
from labelloop.export_files import ExportReader
from labelloop.revisions import revision_hash
from sync.formats.examples import Example, ExportOptions, media_path, name_key, picture_name, rebased, split_of
from sync.formats.freezing_exports import dataset_from_export
from sync.formats.sources import Found, Source, open_export, open_version

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


def annotation(number: int, person: int | None, value: str, minute: int = 0, **over: Any) -> dict[str, Any]:
    region = {"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [value]}, "score": 0.9}
    at = f"2026-01-01T00:{minute:02}:00.000000Z"
    return {"id": number, "completed_by": person, "result": [region], "updated_at": at, "created_at": at} | over


def written(folder: Path, *tasks: list[dict[str, Any]]) -> tuple[Path, Path]:
    content = [{"id": i, "data": {"text": f"t{i}"}, "annotations": found} for i, found in enumerate(tasks, start=1)]
    (folder / "export.json").write_bytes(orjson.dumps(content))
    (folder / "config.xml").write_text(CONFIG)
    return folder / "export.json", folder / "config.xml"


def examples_of(source: Source, options: ExportOptions | None = None) -> tuple[list[Example], Found]:
    found = Found()
    given = options or ExportOptions()
    return [each for part in range(source.parts()) for each in source.examples(part, given, found)], found


def truth_of(tmp_path: Path, *tasks: list[dict[str, Any]], policy: Any = "latest") -> list[int]:
    """Annotation ids of the truth, which must be the same for the file and for the version made of it."""
    export, config = written(tmp_path, *tasks)
    read, found = examples_of(open_export(export, config, policy))
    shutil.rmtree(tmp_path / "dataset", ignore_errors=True)
    dataset = dataset_from_export(export, config, tmp_path / "dataset", policy)
    frozen, _ = examples_of(open_version(dataset))
    ids = [each.annotation_id for each in read]
    assert ids == [each.annotation_id for each in frozen]
    assert open_export(export, config, policy).identity(found.entries)[0] == dataset.dataset_id
    return ids


def test_latest_is_by_time_and_then_by_id(tmp_path: Path) -> None:
    older = [annotation(9, 1, "a", 1), annotation(5, 2, "b", 2)]
    tied = [annotation(11, 1, "a"), annotation(12, 2, "b")]
    assert truth_of(tmp_path, older, tied) == [5, 12]


def test_majority_takes_the_newest_label_with_the_commonest_choice(tmp_path: Path) -> None:
    found = [annotation(1, 1, "a", 1), annotation(2, 2, "a", 2), annotation(3, 3, "b", 3)]
    assert truth_of(tmp_path, found, policy="majority") == [2]
    assert truth_of(tmp_path, found, policy="latest") == [3]
    export, config = written(tmp_path, found)
    (only,), _ = examples_of(open_export(export, config, "majority"))
    assert (only.source, only.n_labels, only.n_agreeing) == ("consensus", 3, 2)


def test_a_tie_of_the_majority_goes_to_the_newest(tmp_path: Path) -> None:
    found = [annotation(1, 1, "a", 1), annotation(2, 2, "b", 2)]
    assert truth_of(tmp_path, found, policy="majority") == [2]


def test_one_person_votes_once(tmp_path: Path) -> None:
    found = [annotation(1, 1, "a", 1), annotation(2, 1, "a", 2), annotation(3, 2, "b", 3), annotation(4, 3, "b", 3)]
    assert truth_of(tmp_path, found, policy="majority") == [4]


def test_ground_truth_and_reviewed_leave_out_what_has_none(tmp_path: Path) -> None:
    gold = [annotation(1, 1, "a", 1, ground_truth=True), annotation(2, 2, "b", 2)]
    approved = [annotation(3, 1, "a", 1, reviews=[{"accepted": False}, {"accepted": True}]), annotation(4, 2, "b", 2)]
    refused = [annotation(5, 1, "a", 1, reviews=[{"accepted": False}])]
    assert truth_of(tmp_path, gold, approved, refused, policy="ground_truth") == [1]
    assert truth_of(tmp_path, gold, approved, refused, policy="reviewed") == [3]
    _, found = examples_of(open_export(tmp_path / "export.json", tmp_path / "config.xml", "reviewed"))
    assert found.left_out == {"no_truth": 2}


def test_what_is_left_out_is_told_by_reason(tmp_path: Path) -> None:
    skipped = [annotation(1, 1, "a", was_cancelled=True)]
    converted = [annotation(2, 1, "a", last_action="prediction")]
    export, config = written(tmp_path, skipped, converted, [], [annotation(3, 1, "a")])
    read, found = examples_of(open_export(export, config, "latest"))
    assert [each.task_id for each in read] == [4]
    assert found.left_out == {"only_skipped": 1, "not_by_people": 1, "never_labelled": 1}
    assert dataset_from_export(export, config, tmp_path / "dataset").tasks["task_id"].to_list() == [4]


def test_a_version_is_named_by_its_content_and_keeps_no_scores(tmp_path: Path) -> None:
    paths = written(tmp_path, [annotation(1, 1, "a")])
    first = dataset_from_export(*paths, tmp_path / "one")
    again = dataset_from_export(*paths, tmp_path / "two")
    assert first.dataset_id == again.dataset_id
    assert first.dataset_id != dataset_from_export(*paths, tmp_path / "three", "majority").dataset_id
    assert "score" not in first.labels["result"][0]
    assert first.entries() == {(1, 1, revision_hash(annotation(1, 1, "a")["result"], "submitted", False))}
    assert first.manifest["body"]["entries"]["count"] == 1


def test_a_version_does_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    tasks = [{"id": i, "data": {"text": "x"}, "annotations": [annotation(i, 1, "a")]} for i in (3, 1, 2)]
    ids = []
    for number, order in enumerate([tasks, tasks[::-1]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "export.json").write_bytes(orjson.dumps(order))
        (folder / "config.xml").write_text(CONFIG)
        dataset = dataset_from_export(folder / "export.json", folder / "config.xml", folder / "dataset")
        ids.append(dataset.dataset_id)
        assert [row["task_id"] for row in read_part(dataset.path, 0)[0]] == [1, 2, 3]
    assert ids[0] == ids[1]


def test_a_long_file_is_read_in_parts_that_keep_tasks_and_labels_together(tmp_path: Path) -> None:
    export, config = written(tmp_path, *[[annotation(i, 1, "a"), annotation(9000 + i, 2, "b")] for i in range(2500)])
    assert open_export(export, config, "latest").parts() == 3
    dataset = dataset_from_export(export, config, tmp_path / "dataset")
    assert part_count(dataset.path) == 3
    for number in range(3):
        tasks, labels = read_part(dataset.path, number)
        assert {row["task_id"] for row in tasks} == {row["task_id"] for row in labels}
        assert len(labels) == 2 * len(tasks)


def test_entries_are_the_same_in_any_order() -> None:
    keys = [(task, annotation, f"{task * 7 + annotation:064x}") for task in (5, 1, 300) for annotation in (2, 1)]
    one, other = Entries(), Entries()
    for key in keys:
        one.add(*key)
    for key in reversed(keys):
        other.add(*key)
    assert one.to_json() == other.to_json()
    other.add(1, 3, f"{1:064x}")
    assert one.to_json() != other.to_json()


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    export, config = written(tmp_path, [])
    with pytest.raises(NotReady, match="no submitted label"):
        dataset_from_export(export, config, tmp_path / "dataset")
    with pytest.raises(UsageError, match="latest"):
        dataset_from_export(export, config, tmp_path / "dataset", "loudest")
    with pytest.raises(DataError, match="label config"):
        dataset_from_export(export, tmp_path / "absent.xml", tmp_path / "dataset")


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b'[{"id": 4, "data": {"text": "x"}, "annotations": []}]', [4]),
        (b'\xef\xbb\xbf [ {"data": {}} ,\n{"id": "7", "data": {}, "completions": [{}]}\n]\n', [1, 7]),
        (b'{"id": 9, "data": {}}', [9]),
        (b"[]", []),
    ],
)
def test_exports_of_any_age_are_read(content: bytes, ids: list[int], tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(content)
    reader = ExportReader(tmp_path / "export.json")
    assert [task.task_id for span in reader.spans(1) for task in reader.tasks(span)] == ids
    assert [task_id for span in reader.spans(2) for task_id, _ in reader.heads(span)] == ids


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no readable JSON export"),
        (b"[{]", "no readable JSON export"),
        (b'[{"id": 1, "data": {}}, {"id": 2, "data": 5}]', "position 1"),
        (b'[{"id": 1, "data": {}}, 7]', "got '7' at position 1"),
        (b'[{"id": "x", "data": {}}]', "task id 'x'"),
        (b'"text"', "position 0"),
    ],
)
def test_what_is_no_export_is_told_with_its_place(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(content)
    with pytest.raises(DataError, match=said):
        reader = ExportReader(tmp_path / "export.json")
        [reader.tasks(span) for span in reader.spans(1000)]


def test_odd_ids_and_times_of_an_annotation_cost_nothing(tmp_path: Path) -> None:
    odd = [
        annotation(1, 1, "a") | {"id": "a1", "updated_at": "yesterday"},
        annotation(2, 2, "b") | {"updated_at": 1e30},
    ]
    late = annotation(3, 3, "a", 5) | {"lead_time": "8 s"}
    export, config = written(tmp_path, [*odd, late])
    (only,), found = examples_of(open_export(export, config, "latest"))
    assert only.annotation_id == 3 and only.n_labels == 3 and found.left_out == {}


def test_a_number_of_many_digits_in_the_data_stops_nothing(tmp_path: Path) -> None:
    export, config = written(tmp_path, [annotation(1, 1, "a")])
    export.write_bytes(export.read_bytes().replace(b'"text":"t1"', b'"text":"t1","n":' + b"9" * 30))
    (only,), _ = examples_of(open_export(export, config, "latest"))
    assert only.data["n"] == pytest.approx(1e30)
    assert dataset_from_export(export, config, tmp_path / "dataset").tasks.height == 1


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/data/local-files/?d=cats/a%20b.png", "cats/a b.png"),
        ("/data/local-files/?d=cats/a+b.png", "cats/a b.png"),
        ("/data/local-files/?x=1&d=cats/c.png", "cats/c.png"),
        ("/data/upload/3/ab12-x.png", "upload/3/ab12-x.png"),
        ("s3://bucket/deep/y.jpg?sig=1", "deep/y.jpg"),
        ("https://host/z.png#part", "z.png"),
        ("C:\\pictures\\one.png", "pictures/one.png"),
        ("../../etc/passwd", "etc/passwd"),
        ("", ""),
    ],
)  # fmt: skip
def test_media_paths(address: str, path: str) -> None:
    assert media_path(address) == path


def test_a_name_that_two_claim_gets_the_id_of_its_task() -> None:
    assert name_key("A/x.png") == name_key("a/X.jpg")
    twice = {name_key("a/x.png")}
    assert picture_name("a/x.png", 7, 0, twice) == "a/x-7.png"
    assert picture_name("a/x.jpg", 8, 2, twice) == "a/x-8-2.jpg"
    assert picture_name("a/y.png", 7, 0, twice) == "a/y.png"
    assert picture_name("", 7, 0, ()) == "image-7"
    assert picture_name("a/noext", 7, 0, {"a/noext"}) == "a/noext-7"


def test_paths_are_rebased_where_they_begin_so() -> None:
    assert rebased("/data/upload/3/x.png", "3/x.png", ("/data/upload/", "pictures/")) == "pictures/3/x.png"
    assert rebased("https://host/x.png", "x.png", ("/data/upload/", "pictures/")) == "x.png"


def test_splits_are_stable_keep_groups_together_and_are_near_the_shares() -> None:
    options = ExportOptions(train_share=0.8, test_share=0.1)
    splits = [split_of(f"group {i}", None, {}, options) for i in range(4000)]
    assert splits == [split_of(f"group {i}", None, {}, options) for i in range(4000)]
    assert 0.07 < splits.count("test") / 4000 < 0.13
    assert 0.77 < splits.count("train") / (4000 - splits.count("test")) < 0.83
    without = [split_of(f"group {i}", None, {}, ExportOptions(train_share=0.8)) for i in range(4000)]
    assert all(one == other for one, other in zip(splits, without, strict=True) if one != "test")


def test_the_holdout_is_test_and_a_split_that_came_along_is_kept_when_asked() -> None:
    assert split_of("g", "holdout", {}, ExportOptions(train_share=1.0)) == "test"
    meta = {"labelloop": {"split": "val"}}
    assert split_of("g", None, meta, ExportOptions(train_share=1.0, keep_splits=True)) == "val"
    assert split_of("g", None, meta, ExportOptions(train_share=1.0)) == "train"


def test_consensus_takes_what_most_agree_with_and_leaves_out_what_has_no_half(tmp_path: Path) -> None:
    alone = [annotation(1, 1, "a", 1)]
    most = [annotation(2, 1, "b", 1), annotation(3, 2, "b", 2), annotation(4, 3, "a", 3)]
    tied = [annotation(5, 1, "a", 1), annotation(6, 2, "b", 2)]
    scattered = [annotation(7, 1, "a", 1), annotation(8, 2, "b", 2), annotation(9, 3, "c", 3)]
    assert truth_of(tmp_path, alone, most, tied, scattered, policy="consensus") == [1, 3, 6]
    read, found = examples_of(open_export(tmp_path / "export.json", tmp_path / "config.xml", "consensus"))
    assert [(each.source, each.n_labels, each.n_agreeing) for each in read] == [
        ("person", 1, None), ("consensus", 3, 2), ("consensus", 2, 1),
    ]  # fmt: skip
    assert found.left_out == {"no_truth": 1}


def test_under_consensus_a_reviewer_decides(tmp_path: Path) -> None:
    approved = [
        annotation(1, 1, "a", 1, reviews=[{"accepted": True}]), annotation(2, 2, "b", 2), annotation(3, 3, "b", 3),
    ]  # fmt: skip
    refused = [
        annotation(4, 1, "a", 1), annotation(5, 2, "b", 2, reviews=[{"accepted": False}]),
        annotation(6, 3, "b", 3, reviews=[{"accepted": False}]), annotation(7, 4, "a", 4),
    ]  # fmt: skip
    nothing = [annotation(8, 1, "a", 1, reviews=[{"accepted": False}])]
    assert truth_of(tmp_path, approved, refused, nothing, policy="consensus") == [1, 7]
