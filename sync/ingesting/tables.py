"""Rows of CSV, TSV, JSON Lines, JSON and Parquet files, one at a time; a row that cannot be read costs no other its place."""

from __future__ import annotations

import csv
import io
import json
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import msgspec
import orjson

from labelloop.errors import DataError
from sync.ingesting.items import Refusal, Rejected
from sync.ingesting.places import opened, suffix_of
from sync.ingesting.texts import decoded, told

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]
Reject = Callable[[Rejected], None]

#: Rows that a Parquet file gives at once.
_BATCH = 500
_BOM = "\ufeff"
_DELIMITERS = (",", ";", "\t", "|")


def is_table(address: str) -> bool:
    """Whether a file has rows, by its suffix."""
    return suffix_of(address) in _READERS


def rows_of(address: str, reject: Reject, encoding: str | None = None) -> Rows:
    """(where, row) of each row of a file, by its suffix; those that cannot be read go to `reject`.

    DataError when the file as a whole cannot be read.
    """
    with opened(address) as file:
        yield from _READERS[suffix_of(address)](address, file, reject, encoding)


def columns_of(address: str, encoding: str | None = None) -> tuple[str, ...] | None:
    """The columns of a file that has the same for every row; None where each row has its own."""
    suffix = suffix_of(address)
    if suffix in (".csv", ".tsv"):
        with opened(address) as file:
            header, _ = _header(address, file, encoding)
        return tuple(name for name in header if name)
    if suffix == ".parquet":
        with opened(address) as file:
            return tuple(_parquet(address, file).schema_arrow.names)
    return None


# -- CSV --------------------------------------------------------------------------------------------------------------


class _Lines:
    """The lines of a text file for csv; of a line that does not decode, what is wrong, in `broken`."""

    def __init__(self, file: IO[bytes], encoding: str | None) -> None:
        self._file, self._encoding = file, encoding
        self.broken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        if self._encoding is not None:
            yield from text_lines(self._file, self._encoding)
            return
        at = 0
        for line in self._file:
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                self.broken.append(told(line, error, None, at))
                text = line.decode(errors="replace")
            yield text.removeprefix(_BOM) if at == 0 else text
            at += len(line)


def text_lines(file: IO[bytes], encoding: str) -> Iterator[str]:
    """The lines of a file in another encoding than UTF-8, with their ends; the file stays open."""
    wrapper = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        yield from (line for line in wrapper)  # of itself it would be closed with this generator
    finally:
        wrapper.detach()


def _header(address: str, file: IO[bytes], encoding: str | None) -> tuple[list[str], str]:
    """The names of a CSV file's columns and its delimiter."""
    lines = _Lines(file, encoding)
    try:
        first = next(iter(lines), "").removeprefix(_BOM)
    except UnicodeError as error:
        raise DataError(f"{address}: {error}; name its encoding with --encoding") from error
    if lines.broken:
        raise DataError(f"{address}: {lines.broken[0]}")
    counts = [(first.count(each), each) for each in _DELIMITERS]
    delimiter = "\t" if suffix_of(address) == ".tsv" else max(counts, key=lambda pair: pair[0])[1]
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    named = [name for name in header if name]
    if not named or len(set(named)) < len(named):
        raise DataError(f"{address}: expected a first line that names each column once, got {first.strip()[:80]!r}")
    return header, delimiter


def _csv_rows(address: str, file: IO[bytes], reject: Reject, encoding: str | None) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
    header, delimiter = _header(address, file, encoding)
    file.seek(0)
    lines = _Lines(file, encoding)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begins = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reject(Rejected(f"{address}:{begins}", "columns", f"lines {begins} to {reader.line_num}: {error}"))
            cells = []
        except UnicodeError as error:
            reject(Rejected(f"{address}:{begins}", "encoding", f"{error}; nothing behind it was read"))
            return
        where, begins = f"{address}:{begins}", reader.line_num + 1
        if lines.broken:
            reject(Rejected(where, "encoding", lines.broken[0]))
            lines.broken.clear()
        elif cells and where != f"{address}:1":
            if len(cells) == len(header):
                yield where, {name: cell for name, cell in zip(header, cells, strict=True) if name}
            else:
                reject(Rejected(where, "columns", f"{len(cells)} cells, and the header has {len(header)}"))


# -- JSON -------------------------------------------------------------------------------------------------------------


def json_value(text: str | bytes | memoryview) -> Any:
    """A JSON value; halves of surrogate pairs are let through, as Python writes them. ValueError for what is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        plain = text if isinstance(text, str) else bytes(text).decode()
        return json.loads(plain, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _json_lines(address: str, file: IO[bytes], reject: Reject, encoding: str | None) -> Rows:
    number = 0
    try:
        for number, line in enumerate(_json_texts(file, encoding), 1):
            where = f"{address}:{number}"
            try:
                text = line if isinstance(line, str) else decoded(*line)
                if text.strip():
                    yield where, _object(text.removeprefix(_BOM))
            except Refusal as refusal:
                reject(Rejected(where, refusal.reason, refusal.detail))
    except UnicodeError as error:
        reject(Rejected(f"{address}:{number + 1}", "encoding", f"{error}; nothing behind it was read"))


def _json_texts(file: IO[bytes], encoding: str | None) -> Iterator[str | tuple[bytes, None, int]]:
    """Lines as text, or as what `decoded` takes."""
    if encoding is not None:
        yield from text_lines(file, encoding)
        return
    at = 0
    for line in file:
        yield line, None, at
        at += len(line)


def _object(text: str | bytes | memoryview) -> Row:
    try:
        value = json_value(text)
    except ValueError as error:
        raise Refusal("not_json", str(error)) from error
    return _as_object(value)


def _as_object(value: Any) -> Row:
    if not isinstance(value, dict):
        raise Refusal("not_json", f"expected an object, got a {type(value).__name__}")
    return value


def _json_list(address: str, file: IO[bytes], reject: Reject, encoding: str | None) -> Rows:
    with _mapped(file, encoding) as content:
        for number, raw in enumerate(_entries(address, content), 1):
            where = f"{address}, entry {number}"
            try:
                yield where, _object(memoryview(raw)) if isinstance(raw, msgspec.Raw) else _as_object(raw)
            except Refusal as refusal:
                reject(Rejected(where, refusal.reason, refusal.detail))


def _entries(address: str, content: Any) -> list[Any]:
    """The entries of a list, unparsed; parsed where only Python's tolerant parser reads them (halves of surrogate pairs)."""
    try:
        return msgspec.json.decode(content, type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        try:
            found = json_value(content)
        except ValueError as error:
            raise DataError(f"{address} is no JSON: {error}") from error
        if not isinstance(found, list):
            raise DataError(f"{address}: expected a list of tasks or rows, got a {type(found).__name__}") from None
        return found


@contextmanager
def _mapped(file: IO[bytes], encoding: str | None) -> Iterator[Any]:
    """A file's bytes in UTF-8 without holding them in memory."""
    if encoding is not None:
        yield file.read().decode(encoding).removeprefix(_BOM).encode()
        return
    with tempfile.TemporaryFile() as copy:
        try:
            descriptor = file.fileno()
        except OSError:  # a remote file has none
            shutil.copyfileobj(file, copy)
            copy.flush()
            descriptor = copy.fileno()
        if os.fstat(descriptor).st_size == 0:
            yield b""
            return
        content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        yield memoryview(content)[3 if content[:3] == b"\xef\xbb\xbf" else 0 :]


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(address: str, file: IO[bytes]) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{address} is no Parquet file: {error}") from error


def _parquet_rows(address: str, file: IO[bytes], reject: Reject, encoding: str | None) -> Rows:
    import pyarrow

    number = 0
    try:
        for batch in _parquet(address, file).iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"{address}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        reject(Rejected(f"{address}, row {number + 1}", "unreadable", f"{error}; nothing behind it was read"))


_READERS: dict[str, Callable[[str, IO[bytes], Reject, str | None], Rows]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".parquet": _parquet_rows,
}
TABLE_SUFFIXES = frozenset(_READERS)
