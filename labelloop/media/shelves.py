"""The disk cache of media: one file per content, which address has which content, least recently used files removed.

    content/<2 hex>/<sha256>.<suffix>     verified, never changed        partial/     being written
    index.sqlite3                         addresses, contents, last uses

Processes share a folder through the index. What was handed out in the last minutes stays: readers hold paths.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
create table if not exists contents (digest text primary key, name text not null, size integer not null, used_at real not null);
create table if not exists addresses (
    key text primary key, digest text not null references contents on delete cascade,
    etag text, modified text, stamp text, checked_at real not null);
create index if not exists addresses_by_digest on addresses (digest);
create index if not exists contents_by_use on contents (used_at);
"""
#: What was handed out so recently is not removed.
KEEP_S = 600.0
#: A use is written down once in so many seconds, so that most hand-outs only read.
_NOTED_S = 60.0
#: Files in the folder that the index does not know are a crash's; younger ones may be somebody's work.
_STRAY_S = 3600.0
_BUSY_S = 30.0
#: Removing goes on until this share of the limit is used, so that not every new file removes one.
_GOAL = 0.9


@dataclass(frozen=True)
class Stamp:
    """What tells whether an address still has the content it had: a server's validators, or a local file's state."""

    etag: str | None = None
    modified: str | None = None
    state: str | None = None

    @property
    def can_be_asked(self) -> bool:
        """Whether a server can be asked if its content changed."""
        return bool(self.etag or self.modified)


@dataclass(frozen=True)
class Remembered:
    """The content of an address, when that was last checked (seconds since the epoch), and its stamp."""

    digest: str
    stamp: Stamp
    checked_at: float


class Shelves:
    """The folder of a media cache; safe for threads and processes, also for ones that are killed."""

    def __init__(self, folder: Path, max_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._guard = threading.RLock()
        self._opened: tuple[int, sqlite3.Connection] | None = None
        self._closing: weakref.finalize[[], Shelves] | None = None
        self._added = 0
        self._first = True

    def close(self) -> None:
        """Close the index."""
        with self._guard:
            if self._closing is not None:
                self._closing()
            self._opened = self._closing = None

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """A path for a file in the making, gone afterwards unless it was put on a shelf."""
        path = self.folder / "partial" / uuid.uuid4().hex
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def recall(self, key: str) -> Remembered | None:
        """What is known of an address."""
        row = self._ask("select digest, etag, modified, stamp, checked_at from addresses where key = ?", key)
        return Remembered(row[0], Stamp(row[1], row[2], row[3]), row[4]) if row else None

    def remember(self, key: str, digest: str, stamp: Stamp) -> None:
        """Write down what an address has; its content must be on a shelf."""
        with self._writing() as index:
            index.execute(
                "insert or replace into addresses select ?, digest, ?, ?, ?, ? from contents where digest = ?",
                (key, stamp.etag, stamp.modified, stamp.state, self._clock(), digest),
            )

    def hand_out(self, digest: str) -> Path | None:
        """The file of a content, which then stays for KEEP_S at least; None when it is not there (any more)."""
        row = self._ask("select name, size, used_at from contents where digest = ?", digest)
        if row is None:
            return None
        if self._clock() - row[2] > _NOTED_S:
            try:
                with self._writing() as index:
                    noted = index.execute(
                        "update contents set used_at = ? where digest = ?", (self._clock(), digest)
                    ).rowcount
                if not noted:
                    return None
            except sqlite3.OperationalError:
                pass  # a full disk takes no note; it must not take away what is there, and nothing is removed in haste
        path = self._shelf(row[0])
        try:
            return path if path.stat().st_size == row[1] else None
        except FileNotFoundError:
            return None

    def put(self, partial: Path, digest: str, suffix: str) -> Path:
        """Shelve a finished, verified file; its path, which stays for KEEP_S at least."""
        name, size = f"{digest}.{suffix}", partial.stat().st_size
        path = self._shelf(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.chmod(0o444)  # a library that repairs files in place would change what datasets share
        with self._writing() as index:
            index.execute(
                "insert into contents values (?, ?, ?, ?) on conflict (digest) do update set name = excluded.name, "
                "size = excluded.size, used_at = excluded.used_at",
                (digest, name, size, self._clock()),
            )
            partial.replace(path)
        with self._guard:
            self._added += size
            due = self._first or self._added > self._max_bytes / 64
        if due:
            self.trim()
        return path

    def forget(self, key: str) -> bool:
        """Forget an address, and remove what it has unless another address has the same; whether it was known."""
        with self._writing() as index:
            known = index.execute("select digest from addresses where key = ?", (key,)).fetchone()
            index.execute("delete from addresses where key = ?", (key,))
            if known is None:
                return False
            if index.execute("select 1 from addresses where digest = ?", known).fetchone() is None:
                row = index.execute("select name from contents where digest = ?", known).fetchone()
                if row is not None:
                    self._shelf(row[0]).unlink(missing_ok=True)
                index.execute("delete from contents where digest = ?", known)
        return True

    def trim(self, max_bytes: int | None = None) -> int:
        """Remove least recently used files while all are over the limit; the bytes removed."""
        limit, removed = self._max_bytes if max_bytes is None else max_bytes, 0
        with self._guard:
            self._added, self._first = 0, False
        self._remove_strays()
        with self._writing() as index:
            total = index.execute("select coalesce(sum(size), 0) from contents").fetchone()[0]
            if total <= limit:
                return 0
            before = self._clock() - KEEP_S
            old = index.execute(
                "select digest, name, size from contents where used_at < ? order by used_at", (before,)
            ).fetchall()
            for digest, name, size in old:
                if total - removed <= limit * _GOAL:
                    break
                self._shelf(name).unlink(missing_ok=True)
                index.execute("delete from contents where digest = ?", (digest,))
                removed += size
        return removed

    # -- inside -------------------------------------------------------------------------------------------------------

    def _shelf(self, name: str) -> Path:
        return self.folder / "content" / name[:2] / name

    def _ask(self, sql: str, value: str) -> tuple[Any, ...] | None:
        with self._guard:
            row: tuple[Any, ...] | None = self._index.execute(sql, (value,)).fetchone()
            return row

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; other threads and processes wait for it."""
        with self._guard:
            index = self._index
            index.execute("begin immediate")
            try:
                yield index
            except BaseException:
                with suppress(sqlite3.OperationalError):  # SQLite ended it by itself, as it does on a full disk
                    index.execute("rollback")
                raise
            index.execute("commit")

    @property
    def _index(self) -> sqlite3.Connection:
        """This process's connection: one that was opened before a fork belongs to the parent."""
        if self._opened is None or self._opened[0] != os.getpid():
            self.folder.mkdir(parents=True, exist_ok=True)
            index = _opened_index(self.folder / "index.sqlite3")
            self._opened = (os.getpid(), index)
            self._closing = weakref.finalize(self, index.close)
        return self._opened[1]

    def _remove_strays(self) -> None:
        """Files of processes that were killed between writing a file and telling the index."""
        before = time.time() - _STRAY_S
        known = None
        for path in [*self.folder.glob("partial/*"), *self.folder.glob("content/*/*")]:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime >= before:
                    continue
                if known is None:
                    with self._guard:
                        known = {row[0] for row in self._index.execute("select name from contents")}
                if path.name not in known:
                    path.unlink()


def _opened_index(file: Path) -> sqlite3.Connection:
    """A connection to the index, made where there is none.

    While one process makes it, SQLite refuses others at once, whatever the timeout: they try again.
    """
    index = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    end = time.monotonic() + _BUSY_S
    try:
        while True:
            try:
                index.execute("pragma journal_mode = wal")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        index.execute("pragma synchronous = normal")
        index.execute("pragma foreign_keys = on")
        index.executescript(_SCHEMA)
    except BaseException:
        index.close()
        raise
    return index


def keep_file(source: Path, target: Path) -> None:
    """`target` as the same file as `source`, whatever becomes of that name: a hard link, or a copy where none can be made."""
    if target.exists():
        return
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        shutil.copyfile(source, partial)
        partial.replace(target)
