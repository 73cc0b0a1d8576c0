"""Dataset versions: the same content has the same id anywhere, and a changed manifest is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from labelloop.datasets import REGIONS_SCHEMA, dataset_id_of, read_dataset, regions_of, write_dataset
from labelloop.errors import DataError

LABEL, START = ([name for name, _ in REGIONS_SCHEMA].index(name) for name in ("label", "start"))
XML = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


def choice(label: str) -> dict[str, Any]:
    return {"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}


def write(folder: Path, body: dict[str, Any], created_at: str = "2026-01-01T00:00:00+00:00") -> str:
    tasks = [
        {"task_id": i, "data": orjson.dumps({"text": f"t{i}"}).decode(), "group_key": f"g{i}", "role": "pool",
         "split": "holdout" if i == 3 else "train"}
        for i in (3, 1, 2)
    ]  # fmt: skip
    labels = [
        {"task_id": i, "annotation_id": 10 * i + n, "annotator": n, "at": datetime(2026, 1, 1, tzinfo=UTC),
         "rev_hash": f"h{i}{n}", "lead_time_s": None, "shown_serving_id": None, "is_truth": n == 1,
         "result": orjson.dumps([choice("ab"[n])]).decode()}
        for i in (1, 2, 3)
        for n in (0, 1)
    ]  # fmt: skip
    return write_dataset(folder, body, tasks, labels, None, created_at)


def body() -> dict[str, Any]:
    return {"schema_version": 1, "project": 7, "entries": [[1, 11, "h11"]], "label_config": XML}


def test_the_id_is_made_of_the_content_and_nothing_else(tmp_path: Path) -> None:
    first = write(tmp_path / "one", body())
    again = write(tmp_path / "elsewhere", dict(reversed(body().items())), "2027-05-05T00:00:00+00:00")
    assert first == again == dataset_id_of(body())
    assert first.startswith("d") and len(first) == 17
    # Pinned: another release or machine must give the same id, or trainings would be repeated after an update.
    assert dataset_id_of({"b": [1, "x"], "a": None}) == "dc22cb7b0353770e2"


@pytest.mark.parametrize("change", [{"project": 8}, {"entries": [[1, 11, "h12"]]}, {"label_config": XML + " "}])
def test_other_content_is_another_version(change: dict[str, Any]) -> None:
    assert dataset_id_of(body() | change) != dataset_id_of(body())


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, body())
    dataset = read_dataset(tmp_path)
    assert dataset.label_config.controls[0].classes == ("a", "b")
    assert [(task, data["text"], found[0]["value"]["choices"]) for task, data, found in dataset.truth("train")] == [
        (1, "t1", ["b"]),
        (2, "t2", ["b"]),
    ]
    assert [task for task, _, _ in dataset.truth("holdout")] == [3]
    assert dataset.labels.height == 6 and dataset.regions.height == 3  # regions of truth labels only


def test_media_is_found_by_task_and_address(tmp_path: Path) -> None:
    xml = (
        '<View><Image name="i" valueList="$pages"/><Image name="j" value="$photo"/>'
        '<Choices name="c" toName="i"><Choice value="a"/></Choices>'
        '<Choices name="d" toName="j"><Choice value="a"/></Choices></View>'
    )
    write(tmp_path, body() | {"label_config": xml})
    data = {"pages": ["/p1", "/p2", 7], "photo": "/q"}
    assert read_dataset(tmp_path).media(1, data) == {}
    media = tmp_path / "media"
    media.mkdir()
    for name in ("1-0.png", "1-2.jpg", "11-1.png"):
        (media / name).touch()
    dataset = read_dataset(tmp_path)
    assert dataset.media(1, data) == {"/p1": media / "1-0.png", "/q": media / "1-2.jpg"}


def tampered(folder: Path, **changes: Any) -> None:
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest | changes))


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    write(tmp_path, body())
    tampered(tmp_path, body=body() | {"entries": []})
    with pytest.raises(DataError, match="was changed after it was written"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"body": {}}', b'"d1"'])
def test_what_is_no_manifest_is_said_and_not_a_traceback(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match="no readable dataset version"):
        read_dataset(tmp_path)


def test_an_unfinished_version_is_none(tmp_path: Path) -> None:
    write(tmp_path, body())
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(DataError, match="no readable dataset version"):
        read_dataset(tmp_path)


def test_a_region_with_two_labels_is_two_rows_and_a_nested_one_is_joined() -> None:
    two = choice("a") | {"value": {"choices": ["a", "b"]}}
    nested = {"from_name": "t", "type": "taxonomy", "value": {"taxonomy": [["animal", "cat"]]}}
    without = {"from_name": "note", "type": "textarea", "value": {"text": "hm"}}
    rows = regions_of(1, 2, [two, nested, without])
    assert [row[LABEL] for row in rows] == ["a", "b", "animal / cat"]


def test_offsets_of_html_are_its_global_ones_and_a_turn_of_a_dialogue_has_none() -> None:
    html = {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "globalOffsets": {"start": 4, "end": 7}}
    turn = {"start": "0", "end": "0", "startOffset": 4, "endOffset": 7}
    text = {"start": 4, "end": 7}
    offsets = []
    for kind, value in (("hypertextlabels", html), ("paragraphlabels", turn), ("labels", text)):
        (row,) = regions_of(1, 1, [{"type": kind, "value": {**value, kind: ["PERSON"]}}])
        offsets.append((row[START], row[START + 1]))
    assert offsets == [(4, 7), (None, None), (4, 7)]


ODD: list[Any] = [
    None, 7, {"type": "choices"}, {"type": "choices", "value": None}, {"type": "choices", "value": ["a"]},
    {"type": "choices", "value": {"choices": []}},
    {"id": 5, "from_name": None, "type": "choices", "value": {"choices": "whole", "x": "12", "y": True, "text": ["a"]}},
    {"id": "r", "type": "choices", "value": {"choices": [None, 3], "x": float("nan"), "width": 2**60, "start": 1.5}},
]  # fmt: skip


def test_odd_regions_are_rows_with_nulls_and_never_stop_a_version(tmp_path: Path) -> None:
    rows = regions_of(1, 2, ODD)
    assert [row[LABEL] for row in rows] == ["whole", "None", "3"]
    assert [row[4] for row in rows] == ["5", "r", "r"]
    assert all(value is None for row in rows for value in row[6:15]) and rows[0][15] == '["a"]'
    label = {"task_id": 1, "annotation_id": 2, "at": datetime(2026, 1, 1, tzinfo=UTC), "rev_hash": "h", "is_truth": True,
             "result": orjson.dumps(ODD[2:]).decode()}  # fmt: skip
    write_dataset(tmp_path, body(), [{"task_id": 1, "data": "{}"}], [label], None, "2026-01-01T00:00:00+00:00")
    assert read_dataset(tmp_path).regions.height == 3
