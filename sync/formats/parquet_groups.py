"""Parquet files joined from the pieces of the parts: row groups large enough to read fast, and never more than one in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: A row group is closed when it has so many rows, or so many bytes in memory.
GROUP_ROWS, GROUP_BYTES = 100_000, 32 << 20


def in_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the tables, with a schema, in tables of the size of a row group."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table.cast(schema))
        rows, size = rows + len(table), size + table.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def tables_of(path: Path) -> Iterator[pa.Table]:
    """The row groups of a Parquet file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def join_pieces(target: Path, pieces: Iterable[Path], schema: pa.Schema) -> None:
    """Write a file of the pieces (Parquet that polars wrote), zstd, in their order; its folder is made."""
    import polars as pl
    import pyarrow.parquet as pq

    target.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for group in in_groups((pl.read_parquet(piece).to_arrow() for piece in pieces), schema):
            writer.write_table(group, row_group_size=len(group) or 1)
