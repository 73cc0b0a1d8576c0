"""Arrow columns made of plain lists hold what `pyarrow.array` would put there; what is not of the type is told apart."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.formats.arrow_columns import arrow_column

KINDS: dict[str, tuple[Any, Any]] = {
    "string": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
    "int64": (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "float64": (pa.float64(), st.floats(allow_nan=False)),
    "bool": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("us", "UTC"), st.datetimes(datetime(1960, 1, 1), timezones=st.just(UTC))),
}


@pytest.mark.parametrize("kind", list(KINDS))
@settings(deadline=None)
@given(data=st.data())
def test_a_column_is_that_of_pyarrow(kind: str, data: st.DataObject) -> None:
    type_, values = KINDS[kind]
    same = data.draw(st.booleans())
    column = data.draw(st.lists(values if same else st.none() | values, max_size=20))
    made = arrow_column(column, kind)
    made.validate(full=True)
    assert made.equals(pa.array(column, type_)) and made.null_count == column.count(None)


@pytest.mark.parametrize("value", ["x", "", "é", "日本"])
def test_one_text_everywhere(value: str) -> None:
    made = arrow_column([value] * 5, "string")
    made.validate(full=True)
    assert made.to_pylist() == [value] * 5


@pytest.mark.parametrize(
    ("kind", "column", "told"),
    [
        ("string", [5, "a", None, {"b": 1}], ["5", "a", None, "{'b': 1}"]),
        ("string", ["a\ud83d", "b"], ["a?", "b"]),
        ("int64", ["5", 1 << 63, 7, 1.5], [None, None, 7, None]),
        ("float64", ["x", 2, 10**400, 0.5], [None, 2.0, None, 0.5]),
        ("bool", [1, True, None], [None, True, None]),
        ("time", ["2026", datetime(2026, 1, 2, tzinfo=UTC)], [None, datetime(2026, 1, 2, tzinfo=UTC)]),
        ("int64", [None, None], [None, None]),
        ("string", [], []),
    ],
)
def test_what_is_not_of_the_type(kind: str, column: list[Any], told: list[Any]) -> None:
    made = arrow_column(column, kind)
    made.validate(full=True)
    assert made.to_pylist() == told


def test_pandas_stays_out() -> None:
    """pyarrow imports it for `array`, and a process of an export would wait for it."""
    code = (
        "import sys; from sync.formats.arrow_columns import arrow_column as column\n"
        "for each in ([1, None], [2]): column(each, 'int64'), column(list(map(str, each)), 'string')\n"
        "assert 'pyarrow' in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
