"""From an export file to a dataset version: whose label is the truth, and what the version holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelloop.errors import DataError, NotReady, UsageError
from labelloop.revisions import revision_hash
from sync.formats.offsets import from_utf16, span_offsets
from sync.formats.source import media_path, part_of
from sync.formats.truth import dataset_from_export

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


def truth_of(tmp_path: Path, *tasks: list[dict[str, Any]], policy: Any = "latest") -> list[int]:
    dataset = dataset_from_export(*written(tmp_path, *tasks), tmp_path / "dataset", policy)
    return [row["annotation_id"] for row in dataset.labels.to_dicts() if row["is_truth"]]


def test_latest_is_by_time_and_then_by_id(tmp_path: Path) -> None:
    older = [annotation(9, 1, "a", 1), annotation(5, 2, "b", 2)]
    tied = [annotation(11, 1, "a"), annotation(12, 2, "b")]
    assert truth_of(tmp_path, older, tied) == [5, 12]


def test_majority_takes_the_newest_label_with_the_commonest_choice(tmp_path: Path) -> None:
    found = [annotation(1, 1, "a", 1), annotation(2, 2, "a", 2), annotation(3, 3, "b", 3)]
    assert truth_of(tmp_path, found, policy="majority") == [2]
    assert truth_of(tmp_path, found, policy="latest") == [3]


def test_a_tie_of_the_majority_goes_to_the_newest(tmp_path: Path) -> None:
    found = [annotation(1, 1, "a", 1), annotation(2, 2, "b", 2)]
    assert truth_of(tmp_path, found, policy="majority") == [2]


def test_one_person_votes_once(tmp_path: Path) -> None:
    found = [annotation(1, 1, "a", 1), annotation(2, 1, "a", 2), annotation(3, 2, "b", 3), annotation(4, 3, "b", 3)]
    assert truth_of(tmp_path, found, policy="majority") == [4]


def test_skipped_converted_and_unlabelled_tasks_are_not_in_a_version(tmp_path: Path) -> None:
    skipped = [annotation(1, 1, "a", was_cancelled=True)]
    converted = [annotation(2, 1, "a", last_action="prediction")]
    dataset = dataset_from_export(
        *written(tmp_path, skipped, converted, [], [annotation(3, 1, "a")]), tmp_path / "dataset"
    )
    assert dataset.tasks["task_id"].to_list() == [4]


def test_a_version_is_named_by_its_content_and_keeps_no_scores(tmp_path: Path) -> None:
    paths = written(tmp_path, [annotation(1, 1, "a")])
    first = dataset_from_export(*paths, tmp_path / "one")
    again = dataset_from_export(*paths, tmp_path / "two")
    assert first.dataset_id == again.dataset_id
    assert first.dataset_id != dataset_from_export(*paths, tmp_path / "three", "majority").dataset_id
    assert "score" not in first.labels["result"][0]
    entry = first.manifest["body"]["entries"][0]
    assert entry == [1, 1, revision_hash(annotation(1, 1, "a")["result"], "submitted", False)]


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    export, config = written(tmp_path, [])
    with pytest.raises(NotReady, match="no submitted label"):
        dataset_from_export(export, config, tmp_path / "dataset")
    with pytest.raises(UsageError, match="latest"):
        dataset_from_export(export, config, tmp_path / "dataset", "loudest")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="label config"):
        dataset_from_export(export, tmp_path / "absent.xml", tmp_path / "dataset")


def test_revision_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert revision_hash([{"a": 1, "b": 2}], "submitted", False) == revision_hash(
        [{"b": 2, "a": 1}], "submitted", False
    )
    assert revision_hash([], "submitted", False) != revision_hash([], "cancelled", False)
    assert revision_hash([], "submitted", False) != revision_hash([], "submitted", True)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/data/local-files/?d=cats/a%20b.png", "cats/a b.png"),
        ("/data/upload/3/ab12-x.png", "data/upload/3/ab12-x.png"),
        ("s3://bucket/deep/y.jpg?sig=1", "deep/y.jpg"),
        ("https://host/z.png#part", "z.png"),
        ("", ""),
    ],
)  # fmt: skip
def test_media_paths(address: str, path: str) -> None:
    assert media_path(address).strip(".") == path


def test_parts_are_stable_and_near_the_share() -> None:
    parts = [part_of(f"group {i}", 0.85) for i in range(2000)]
    assert parts == [part_of(f"group {i}", 0.85) for i in range(2000)]
    assert 0.82 < parts.count("train") / len(parts) < 0.88
    assert {part_of("x", 1.0), part_of("y", 1.0)} == {"train"}


def test_offsets_are_code_points_and_older_utf16_ones_are_found() -> None:
    text = "\U0001f600 Ada"
    assert span_offsets(text, {"start": 2, "end": 5, "text": "Ada"}) == (2, 5)
    assert span_offsets(text, {"start": 3, "end": 6, "text": "Ada"}) == (2, 5)
    assert span_offsets("a\nb", {"start": 0, "end": 3, "text": "a\\nb"}) == (0, 3)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"start": 0, "end": 3, "text": "Bob"}, "offset_mismatch"),
        ({"start": 0, "end": 99}, "offset_outside"),
        ({"start": 2, "end": 2}, "offset_outside"),
        ({"start": "0", "end": 3}, "offset_missing"),
    ],
)
def test_a_span_that_does_not_fit_is_refused(value: dict[str, Any], reason: str) -> None:
    found = span_offsets("Ada met Bo", value)
    assert isinstance(found, str)
    assert found.startswith(reason)


@given(st.text(), st.integers(0, 40))
def test_utf16_offsets_come_back(text: str, cut: int) -> None:
    position = min(cut, len(text))
    units = len(text[:position].encode("utf-16-le", "surrogatepass")) // 2
    assert from_utf16(text, units) == position
