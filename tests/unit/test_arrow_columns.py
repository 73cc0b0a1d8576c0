"""Arrow columns made of plain lists hold what `pyarrow.array` would put there; what is not of the type is told apart."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
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


#: An export of 2,300 images by one process, after which pandas must not be there.
EXPORT = """
import orjson, sys
from pathlib import Path
from sync.formats.exporting import export_dataset
from sync.formats.sources import open_export
folder = Path(sys.argv[1])
value = {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["ant"]}
region = {"id": "r", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value,
          "original_width": 200, "original_height": 100}
tasks = [{"id": n, "data": {"image": f"/d/{n}.png"}, "annotations": [{"id": n, "completed_by": 1, "result": [region]}]}
         for n in range(1, 2301)]
(folder / "export.json").write_bytes(orjson.dumps(tasks))
(folder / "config.xml").write_text(
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="ant"/></RectangleLabels></View>'
)
export_dataset(open_export(folder / "export.json", folder / "config.xml", "latest"), "coco", folder / "out")
assert "pyarrow" in sys.modules and "pandas" not in sys.modules and "polars" not in sys.modules
"""


def test_pandas_stays_out(tmp_path: Path) -> None:
    """pyarrow imports it where plain values are made Arrow's, and every export would wait for it."""
    subprocess.run([sys.executable, "-c", EXPORT, str(tmp_path)], check=True, timeout=120)
