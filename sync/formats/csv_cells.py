"""Cells of a CSV file that no spreadsheet runs as a formula, and back to what they were."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import polars as pl

#: With which a spreadsheet takes a cell for a formula (OWASP, "CSV Injection"), some ' before it or none: these get one
#: more, so that taking one away is exact.
_FORMULA = "^'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_IS_FORMULA = re.compile(_FORMULA)


def escaped(cell: str) -> str:
    """The cell with a ' before it where a spreadsheet could take it for a formula."""
    return f"'{cell}" if _IS_FORMULA.match(cell) else cell


def unescaped(cell: str) -> str:
    """What the cell was before `escaped`."""
    return cell[1:] if cell[:1] == "'" and _IS_FORMULA.match(cell) else cell


def escaped_column(name: str) -> pl.Expr:
    """`escaped` of a whole column of texts."""
    import polars as pl

    column = pl.col(name)
    return pl.when(column.str.contains(_FORMULA)).then(pl.lit("'") + column).otherwise(column).alias(name)


def cell_of(value: Any, *, escape: bool) -> str | None:
    """A value of a task's data as a cell: a text as it is, nothing as nothing, and everything else as JSON."""
    if isinstance(value, str):
        return escaped(value) if escape else value
    return None if value is None else orjson.dumps(value).decode()
