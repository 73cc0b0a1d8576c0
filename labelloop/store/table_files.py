"""A table of the store as a Parquet file and back, a few thousand rows at a time, the same from SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Boolean, Connection, DateTime, Float, Integer, Table, Text, bindparam, cast, insert, select

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows and characters of text of one row group at most.
GROUP_ROWS, GROUP_TEXT = 10_000, 16_000_000
_FETCHED = 500
Told = Callable[[int], None]


def write_table(connection: Connection, table: Table, file: Path, told: Told) -> int:
    """Write every row of a table, in order of its key; how many. `told` is called with each number of rows written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column.name, _arrow_type(column.type)) for column in table.columns])
    # JSON as it stands in the column: what is not read cannot change.
    columns = [cast(c, Text).label(c.name) if isinstance(c.type, JSON) else c for c in table.columns]
    query = select(*columns).order_by(*table.primary_key.columns)
    rows = connection.execution_options(yield_per=_FETCHED).execute(query).mappings()
    written = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pa.Table.from_pylist(group, schema))
            written += len(group)
            told(len(group))
    return written


def read_table(connection: Connection, table: Table, file: Path, told: Told) -> int:
    """Add the rows of such a file to a table, which may have columns that the file lacks; how many."""
    import pyarrow.parquet as pq

    added = 0
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        statement = insert(table).values({name: _parameter(connection, table, name) for name in names})
        for batch in parquet.iter_batches(batch_size=_FETCHED):
            rows = [{name: _bound(row[name], table.c[name].type) for name in names} for row in batch.to_pylist()]
            connection.execute(statement, rows)
            added += len(rows)
            told(len(rows))
    return added


def _groups(rows: Iterator[Mapping[Any, Any]] | Any) -> Iterator[list[dict[str, Any]]]:
    """Rows in groups of bounded size."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(dict(row))
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(group) >= GROUP_ROWS or size >= GROUP_TEXT:
            yield group
            group, size = [], 0
    if group:
        yield group


def _arrow_type(kind: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, Integer):
        return pa.int64()
    if isinstance(kind, Float):
        return pa.float64()
    if isinstance(getattr(kind, "impl", kind), DateTime):
        return pa.timestamp("us", tz="UTC")
    return pa.string()


def _parameter(connection: Connection, table: Table, name: str) -> Any:
    """How a value goes into a column: JSON as text, which PostgreSQL wants told; SQLite would make a number of it."""
    if not isinstance(table.c[name].type, JSON):
        return bindparam(name)
    text = bindparam(name, type_=Text)
    return cast(text, JSON) if connection.dialect.name == "postgresql" else text


def _bound(value: Any, kind: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, str) and isinstance(kind, JSON) and ("NaN" in value or "Infinity" in value):
        # Python writes such numbers into JSON and PostgreSQL refuses them.
        return json.dumps(json.loads(value, parse_constant=lambda _number: None), separators=(",", ":"))
    return value
