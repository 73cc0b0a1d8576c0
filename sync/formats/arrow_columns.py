"""Arrow columns of plain lists. `pyarrow.array` does the same, but imports pandas first, which takes half a second."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def arrow_column(column: Sequence[Any], type_: str) -> pa.Array:
    """A column of a type of `labelloop.datasets.Schema`.

    In a column of texts what is no text becomes one, in any other what is not of its type becomes null.
    """
    import pyarrow as pa

    count = len(column)
    empty = column.count(None)
    kind = pa.timestamp("us", "UTC") if type_ == "time" else pa.type_for_alias(type_)
    if empty == count:
        return pa.nulls(count, kind)
    if not empty and (buffers := _plain(column, type_)) is not None:
        return pa.Array.from_buffers(kind, count, [None, *buffers])
    if type_ == "string":
        column, buffers = _texts(column)
    else:
        column, buffers = _numbers(column, type_)
    valid = _bits([value is not None for value in column]) if None in column else None
    return pa.Array.from_buffers(kind, count, [valid, *buffers])


def _plain(column: Sequence[Any], type_: str) -> list[pa.Buffer] | None:
    """The buffers of a column in which one text stands everywhere, or of numbers of the type; None for any other."""
    import numpy as np
    import pyarrow as pa

    first = column[0]
    if type_ == "string" and isinstance(first, str) and column.count(first) == len(column):
        data = first.encode("utf-8", "replace")
        ends = np.arange(0, len(data) * len(column) + 1, len(data) or 1, np.int32)
        return [pa.py_buffer(ends), pa.py_buffer(data * len(column))] if data else None
    if type_ == "int64":
        try:
            return [pa.py_buffer(array("q", column))]
        except (TypeError, OverflowError):
            return None
    return None


def _texts(column: Sequence[Any]) -> tuple[Sequence[str | None], list[pa.Buffer]]:
    """The column as texts, and its buffers: where each text ends, and all of them."""
    import numpy as np
    import pyarrow as pa

    told: Sequence[Any] = column
    try:
        joined = "".join(column)
    except TypeError:
        column = [value if value is None or isinstance(value, str) else str(value) for value in column]
        told = [value or "" for value in column]
        joined = "".join(told)
    data = joined.encode("utf-8", "replace")
    if len(data) != len(joined):
        told = [value.encode("utf-8", "replace") for value in told]
    ends = np.zeros(len(column) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, told), np.int32, len(column)), out=ends[1:])
    return column, [pa.py_buffer(ends), pa.py_buffer(data)]


def _numbers(column: Sequence[Any], type_: str) -> tuple[Sequence[Any], list[pa.Buffer]]:
    """The column with null for what is not of the type, and its buffer."""
    import numpy as np
    import pyarrow as pa

    clean, zero = _CLEAN[type_]
    column = [clean(value) for value in column]
    values = [zero if value is None else value for value in column]
    if type_ == "bool":
        return column, [_bits(values)]
    return column, [pa.py_buffer(np.array(values, np.float64 if type_ == "float64" else np.int64))]


def _bits(flags: Sequence[bool]) -> pa.Buffer:
    import numpy as np
    import pyarrow as pa

    return pa.py_buffer(np.packbits(np.array(flags, np.bool_), bitorder="little"))


def _whole(value: Any) -> int | None:
    return value if type(value) is int and -(1 << 63) <= value < 1 << 63 else None


def _real(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _moment(value: Any) -> int | None:
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else None


_CLEAN: dict[str, tuple[Any, Any]] = {
    "int64": (_whole, 0), "float64": (_real, 0.0), "bool": (_flag, False), "time": (_moment, 0),
}  # fmt: skip
