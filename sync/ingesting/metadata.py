"""Columns of another file joined to items, by file name or by a key that both have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from labelloop.errors import UsageError
from sync.ingesting.items import IngestItem, Refusal, Rejected
from sync.ingesting.journal import Journal
from sync.ingesting.places import suffix_of
from sync.ingesting.run_files import RunFiles
from sync.ingesting.sources import names_of
from sync.ingesting.tables import TABLE_SUFFIXES, columns_of, rows_of
from sync.ingesting.texts import cleaned, plain

PART = "metadata"
Into = Literal["data", "meta"]
#: Columns that are taken for the file name where no key is named.
_USUAL_KEYS = ("file_name", "filename", "file", "path", "image", "name", "key")


@dataclass(frozen=True)
class MetadataOptions:
    """Which file to join, by which column, and where its other columns go."""

    address: str
    key: str | None = None
    into: Into = "data"
    group: str = "group"
    encoding: str | None = None
    exact: bool = False
    """Whether a key must be the same text; else it may be a path's last part, or that without its suffix."""


class Metadata:
    """The rows of a file in the journal, given to items one by one."""

    def __init__(self, journal: Journal, options: MetadataOptions, files: RunFiles) -> None:
        self._journal, self._options, self._files = journal, options, files
        self.joined = 0
        self.without = 0

    def load(self) -> None:
        """Read the file into the journal; UsageError when it is no table or has no such key."""
        address = self._options.address
        if suffix_of(address) not in TABLE_SUFFIXES:
            raise UsageError(f"{address}: expected metadata as {', '.join(sorted(TABLE_SUFFIXES))}")
        columns = columns_of(address, self._options.encoding)
        key = self._key(columns) if columns is not None else None
        with self._journal.writing():
            rows = rows_of(address, self._files.reject, self._options.encoding)
            for number, (where, row) in enumerate(rows):
                key = key or self._key(tuple(row))
                self._add(number, where, row, key)

    def _key(self, columns: tuple[str, ...]) -> str:
        wanted = (self._options.key,) if self._options.key else _USUAL_KEYS
        found = next((name for name in wanted if name in columns), None)
        if found is None:
            named = repr(self._options.key) if self._options.key else f"of the usual ones ({', '.join(_USUAL_KEYS)})"
            raise UsageError(
                f"{self._options.address} has no column {named} to match items by; it has {', '.join(columns)}: "
                "name the right one with --key"
            )
        return found

    def _add(self, number: int, where: str, row: Mapping[str, Any], key: str) -> None:
        value = row.get(key)
        if value is None or not str(value).strip():
            self._files.reject(Rejected(where, "columns", f"nothing under {key!r}, by which items are matched"))
            return
        try:
            rest = {name: plain(each) for name, each in row.items() if name != key}
        except Refusal as refusal:
            self._files.reject(Rejected(where, refusal.reason, refusal.detail))
            return
        names = (str(value),) if self._options.exact else names_of(str(value))
        if not self._journal.add_joined(PART, number, names, rest):
            self._files.reject(Rejected(where, "columns", f"{key!r} is {value!r} once more; the first row counts"))

    def join(self, item: IngestItem) -> IngestItem:
        """The item with its row's columns; what it has itself stays."""
        row = self._journal.take_joined(PART, item.names)
        if row is None:
            self.without += 1
            self._files.unmatch("item", item.source, "no row of the metadata names it")
            return item
        self.joined += 1
        group = row.pop(self._options.group, None)
        taken = {medium.key for medium in item.media}
        own = item.data if self._options.into == "data" else item.meta
        both = {**{name: value for name, value in row.items() if name not in taken}, **own}
        changed = replace(item, data=both) if self._options.into == "data" else replace(item, meta=both)
        return replace(changed, group=item.group or (None if group is None else cleaned(str(group))[0]))

    def report(self) -> dict[str, Any]:
        """Counts of both sides; what has no partner is listed in the run's files."""
        rows, unused, shared = self._journal.joined_counts(PART)
        for name, _ in self._journal.unused(PART):
            self._files.unmatch("row", name, "no item has this name")
        return {
            "rows": rows,
            "joined": self.joined,
            "items_without_row": self.without,
            "rows_without_item": unused,
            "rows_for_several_items": shared,
        }
