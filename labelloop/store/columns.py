"""What the tables of the store are made of: the columns that every one starts with, numbers of rows, keys of some rows."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, TextClause

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


def scope_columns(*, key: bool) -> list[Column[object]]:
    """The two columns that every table starts with."""
    return [
        Column("instance", String(36), primary_key=key, nullable=False),
        Column("project_id", Integer, primary_key=key, nullable=False, autoincrement=False),
    ]


def unique_where(condition: TextClause, *columns: str) -> Index:
    """A unique key of the rows of `predictions` that meet a condition, named like a constraint."""
    name = "_".join(("uq_predictions", *columns))
    return Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)
