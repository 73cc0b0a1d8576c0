"""The ingest's own notes on disk: what files hold, what this run brings in, and what was begun; one SQLite file per project.

Nothing here is truth: Label Studio's tasks are. Lost, it costs looking at the files again. It bounds the memory, and
tells the run after a killed one which tasks it had begun.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError

_SCHEMA = """
create table if not exists facts (address text primary key, state text not null, facts text not null);
create table if not exists intents (content text primary key, overlap integer not null);
create table if not exists candidates (
    number integer primary key, content text not null unique, source text not null, body text not null,
    key text not null, fingerprint text, labelled integer not null, has_media integer not null, task_id integer,
    dropped integer not null default 0);
create index if not exists candidates_by_task on candidates (task_id);
create table if not exists held (
    task_id integer primary key, content text, key text, fingerprint text, overlap integer not null, name text);
create index if not exists held_by_content on held (content);
create index if not exists held_by_name on held (name);
create table if not exists joined (
    part text not null, name text not null, body text not null, used integer not null default 0,
    number integer not null, primary key (part, name));
create index if not exists joined_by_number on joined (part, number);
"""
_BUSY_S = 30.0
#: Rows that are read at once where rows may be written meanwhile.
_PAGE = 500
#: In place of a row's number, where a name stands for several rows.
_NOBODYS = -1


@dataclass(frozen=True)
class Candidate:
    """An item that passed the checks. `body` is what is needed to bring it in, of `size` bytes; `key` its group's."""

    number: int
    content: str
    source: str
    body: Mapping[str, Any]
    key: str
    fingerprint: str | None
    labelled: bool
    task_id: int | None
    size: int = 0


@dataclass(frozen=True)
class Held:
    """A task that the project has; `content`, `key`, `fingerprint` and `name` where an ingest has marked it."""

    task_id: int
    content: str | None
    key: str | None
    fingerprint: str | None
    overlap: int
    name: str | None


class Journal:
    """The notes of one project; one process at a time writes them (the ingest lease), threads may not."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._guard = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._translated():
            self._db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin_run(self) -> None:
        """Forget the rows of the run before; what files hold and what was begun stays."""
        with self.writing():
            for table in ("candidates", "held", "joined"):
                self._db.execute(f"delete from {table}")  # noqa: S608

    def forget(self, contents: Iterable[str]) -> None:
        """Drop what earlier runs read, and what is known of files with these contents; the file holds nothing of it after."""
        with self._translated():
            self._db.execute("pragma secure_delete = on")
            self.begin_run()
            with self.writing():
                for content in contents:
                    self._db.execute("delete from facts where instr(facts, ?) > 0", (content,))
                    self._db.execute("delete from intents where content = ?", (content,))
            self._db.execute("vacuum")
            self._db.execute("pragma wal_checkpoint(truncate)")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction; one inside another is part of it."""
        if self._db.in_transaction:
            yield
            return
        with self._translated():
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(
                f"{self.file} cannot be used ({error}); make room, or delete it (it costs looking at the files again)"
            ) from error

    # -- what files hold --------------------------------------------------------------------------------------------

    def facts_of(self, address: str, state: str) -> Mapping[str, Any] | None:
        """What is known of a file, where its state is still the same; threads may ask while nothing is written."""
        with self._guard:
            query = "select facts from facts where address = ? and state = ?"
            row = self._db.execute(query, (address, state)).fetchone()
        return dict(orjson.loads(row[0])) if row else None

    def note_facts(self, address: str, state: str, facts: Mapping[str, Any]) -> None:
        """Remember what a file holds while it is in that state."""
        with self.writing():
            self._db.execute("replace into facts values (?, ?, ?)", (address, state, orjson.dumps(facts).decode()))

    # -- what comes in ----------------------------------------------------------------------------------------------

    def add_candidate(self, candidate: Candidate) -> str | None:
        """Add one; None, or the source of the one that has the same content already."""
        row = self._db.execute("select source from candidates where content = ?", (candidate.content,)).fetchone()
        if row:
            return str(row[0])
        with self.writing():
            self._db.execute(
                "insert into candidates (content, source, body, key, fingerprint, labelled, has_media, task_id) "
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    candidate.content, candidate.source, orjson.dumps(candidate.body).decode(), candidate.key,
                    candidate.fingerprint, candidate.labelled, bool(candidate.body.get("media")), candidate.task_id,
                ),
            )  # fmt: skip
        return None

    def candidates(self, *, present: bool) -> Iterator[Candidate]:
        """Those that the project has, or has not, in order; rows may be changed meanwhile."""
        query = (
            "select number, content, source, body, key, fingerprint, labelled, task_id from candidates "
            "where not dropped and (task_id is not null) = ? and number > ? order by number limit ?"
        )
        after = 0
        while page := self._db.execute(query, (present, after, _PAGE)).fetchall():
            for number, content, source, body, key, fingerprint, labelled, task_id in page:
                yield Candidate(
                    number, content, source, orjson.loads(body), key, fingerprint, bool(labelled), task_id, len(body)
                )
            after = page[-1][0]

    def count_missing(self, *, with_media: bool = False) -> int:
        """How many candidates the project has not; with media only those that show a file."""
        query = "select count(*) from candidates where not dropped and task_id is null and has_media >= ?"
        return int(self._db.execute(query, (with_media,)).fetchone()[0])

    def group_keys(self) -> Iterator[str]:
        """The group key of every candidate."""
        yield from (row[0] for row in self._db.execute("select key from candidates where not dropped"))

    def prints(self) -> Iterator[tuple[int, str, str]]:
        """(number, group key, fingerprint) of the candidates that the project has not and that have one, in order."""
        query = "select number, key, fingerprint from candidates where task_id is null and fingerprint is not null"
        yield from self._db.execute(query + " order by number")

    def regroup(self, keys: Iterable[tuple[int, str]]) -> None:
        """Give candidates by number another group key."""
        with self.writing():
            self._db.executemany("update candidates set key = ? where number = ?", ((key, n) for n, key in keys))

    def drop(self, numbers: Iterable[int]) -> None:
        """Leave candidates out."""
        with self.writing():
            self._db.executemany("update candidates set dropped = 1 where number = ?", ((n,) for n in numbers))

    def source_of(self, number: int) -> str:
        """Where a candidate comes from."""
        return str(self._db.execute("select source from candidates where number = ?", (number,)).fetchone()[0])

    # -- what the project has ---------------------------------------------------------------------------------------

    def add_held(self, rows: Sequence[Held]) -> None:
        """Note tasks of the project."""
        with self.writing():
            self._db.executemany(
                "replace into held values (?, ?, ?, ?, ?, ?)",
                [(r.task_id, r.content, r.key, r.fingerprint, r.overlap, r.name) for r in rows],
            )

    def held_with(self, content: str) -> Held | None:
        """The project's task with a content, the first of several."""
        query = "select * from held where content = ? order by task_id limit 1"
        row = self._db.execute(query, (content,)).fetchone()
        return Held(*row) if row else None

    def held_named(self, names: Sequence[str]) -> list[Held]:
        """The project's tasks that carry the first of these names that any carries (two are enough to tell)."""
        for name in names:
            rows = self._db.execute("select * from held where name = ? limit 2", (name,)).fetchall()
            if rows:
                return [Held(*row) for row in rows]
        return []

    def held_task(self, task_id: int) -> Held:
        """A task of the project."""
        return Held(*self._db.execute("select * from held where task_id = ?", (task_id,)).fetchone())

    def held_prints(self) -> Iterator[tuple[int, str, str]]:
        """(task, group key, fingerprint) of the project's tasks that have both."""
        query = "select task_id, key, fingerprint from held where key is not null and fingerprint is not null"
        yield from self._db.execute(query + " order by task_id")

    def held_without_mark(self) -> list[int]:
        """The project's tasks that came another way."""
        query = "select task_id from held where content is null order by task_id"
        return [row[0] for row in self._db.execute(query)]

    # -- what is joined to items ------------------------------------------------------------------------------------

    def add_joined(self, part: str, number: int, names: Sequence[str], body: Any) -> bool:
        """Note a row of another file under its names; False when its first name is taken by another row of it.

        A further name that two rows have is nobody's.
        """
        text = orjson.dumps(body).decode()
        query = "select 1 from joined where part = ? and name = ? and body <> ''"
        if self._db.execute(query, (part, names[0])).fetchone():
            return False
        with self.writing():
            self._db.execute(
                "insert into joined (part, name, body, number) values (?, ?, ?, ?) on conflict do update "
                "set body = excluded.body, number = excluded.number",
                (part, names[0], text, number),
            )
            self._db.executemany(
                "insert into joined (part, name, body, number) values (?, ?, '', ?) on conflict do update "
                "set number = ? where body = ''",
                [(part, name, number, _NOBODYS) for name in names[1:]],
            )
        return True

    def take_joined(self, part: str, names: Sequence[str]) -> Any:
        """The row under the first of these names that there is, used once more; None without one."""
        for name in names:
            query = "select number from joined where part = ? and name = ? and number >= 0"
            row = self._db.execute(query, (part, name)).fetchone()
            if row:
                own = "part = ? and number = ? and body <> ''"
                with self.writing():
                    self._db.execute(f"update joined set used = used + 1 where {own}", (part, row[0]))  # noqa: S608
                query = f"select body from joined where {own}"  # noqa: S608
                return orjson.loads(self._db.execute(query, (part, row[0])).fetchone()[0])
        return None

    def joined_counts(self, part: str) -> tuple[int, int, int]:
        """(rows, rows that no item took, rows that several items took) of another file."""
        query = (
            "select count(*), coalesce(sum(used = 0), 0), coalesce(sum(used > 1), 0) from joined "
            "where part = ? and body <> ''"
        )
        rows, unused, shared = self._db.execute(query, (part,)).fetchone()
        return int(rows), int(unused), int(shared)

    def unused(self, part: str) -> Iterator[tuple[str, Any]]:
        """(first name, row) of the rows that no item took, in order."""
        query = (
            "select number, name, body from joined where part = ? and used = 0 and body <> '' and number > ? "
            "order by number limit ?"
        )
        after = -1
        while page := self._db.execute(query, (part, after, _PAGE)).fetchall():
            for _, name, body in page:
                yield name, orjson.loads(body)
            after = page[-1][0]

    # -- what was begun ---------------------------------------------------------------------------------------------

    def intend(self, rows: Iterable[tuple[str, int]]) -> None:
        """Note (content, overlap) of tasks that are about to be imported."""
        with self.writing():
            self._db.executemany("replace into intents values (?, ?)", rows)

    def finish(self, contents: Iterable[str]) -> None:
        """Note that those tasks are as they should be."""
        with self.writing():
            self._db.executemany("delete from intents where content = ?", ((content,) for content in contents))

    def begun(self, content: str) -> bool:
        """Whether a task was about to be imported, or was, and was not finished."""
        return self._db.execute("select 1 from intents where content = ?", (content,)).fetchone() is not None
