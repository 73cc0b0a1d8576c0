"""Agreement that is kept: after any changes it is what measuring all labels anew gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from qa.agreement import Running, agreement_report, measure_agreement

CONFIG = parse_label_config(
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text"><Choice value="a"/><Choice value="b"/>'
    '<Choice value="unsure"/></Choices><Choices name="tags" toName="text" choice="multiple"><Choice value="x"/>'
    '<Choice value="y"/></Choices><Rating name="stars" toName="text"/></View>'
)
START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA: dict[str, Any] = {
    "task_id": pl.Int64,
    "annotation_id": pl.Int64,
    "annotator": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
    "shown": pl.String,
    "state": pl.String,
    "role": pl.String,
    "result": pl.String,
}
Rows = dict[tuple[int, int], dict[str, Any]]


@st.composite
def a_label(draw: st.DrawFn, task: int, person: int) -> dict[str, Any]:
    result: list[dict[str, Any]] = []
    if (topic := draw(st.sampled_from(["a", "b", "unsure", None]))) is not None:
        result.append(region("topic", "choices", {"choices": [topic]}))
    if tags := draw(st.lists(st.sampled_from("xy"), unique=True)):
        result.append(region("tags", "choices", {"choices": tags}))
    if (stars := draw(st.sampled_from([None, 1, 2, 5]))) is not None:
        result.append(region("stars", "rating", {"rating": stars}))
    if draw(st.booleans()):
        result.append({"from_name": "elsewhere", "type": "choices", "value": {}})
    return {
        "task_id": task,
        "annotation_id": task * 10 + person,
        "annotator": person,
        "at": START + timedelta(days=draw(st.integers(0, 20))),
        "shown": draw(st.sampled_from([None, "v1", "v2"])),
        "state": draw(st.sampled_from(["submitted", "submitted", "cancelled"])),
        "role": "gold" if task == 4 else "pool",
        "result": orjson.dumps(result).decode(),
    }


def region(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": kind, "value": value}


def frame(rows: Rows, tasks: set[int] | None = None) -> pl.DataFrame:
    return pl.DataFrame([row for (task, _), row in rows.items() if tasks is None or task in tasks], schema=SCHEMA)


def assert_same(found: Any, wanted: Any, at: str = "") -> None:
    if isinstance(wanted, Mapping):
        assert set(found) == set(wanted), at
        for key in wanted:
            assert_same(found[key], wanted[key], f"{at}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), at
        for each, other in zip(found, wanted, strict=True):
            assert_same(each, other, f"{at}[]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-9), at
    else:
        assert found == wanted, at


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_changes_give_what_measuring_anew_gives(data: st.DataObject) -> None:
    """Created, edited, deleted and cancelled labels, some tasks at a time."""
    rows: Rows = {}
    running = Running.of(frame(rows), CONFIG)
    for _ in range(data.draw(st.integers(1, 3))):
        before = dict(rows)
        touched: set[int] = set()
        for _ in range(data.draw(st.integers(1, 5))):
            key = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)))
            touched.add(key[0])
            if key in rows and data.draw(st.booleans()):
                del rows[key]
            else:
                rows[key] = data.draw(a_label(*key))
        running = running.changed(Running.of(frame(before, touched), CONFIG), Running.of(frame(rows, touched), CONFIG))
    wanted = measure_agreement(frame(rows), CONFIG, intervals=False)
    found = agreement_report(running, intervals=False)
    for control in wanted["controls"].values():
        control["tasks"] = []
    assert_same(found, wanted)


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    rows: Rows = {
        (task, person): {
            "task_id": task, "annotation_id": task * 10 + person, "annotator": person, "at": START, "shown": None,
            "state": "submitted", "role": "pool",
            "result": orjson.dumps([region("topic", "choices", {"choices": ["ab"[task * person % 2]]})]).decode(),
        }
        for task in range(5) for person in range(3)
    }  # fmt: skip
    running = Running.of(frame(rows), CONFIG)
    running.save(tmp_path)
    read = Running.load(tmp_path, CONFIG)
    assert read is not None and agreement_report(read) == agreement_report(running)
    assert Running.load(tmp_path, parse_label_config(CONFIG.xml.replace('"b"', '"c"'))) is None
    (tmp_path / "0-pairs.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="can't be read"):
        Running.load(tmp_path, CONFIG)
