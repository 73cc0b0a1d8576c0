"""Hash chains: each row carries the hash of the one before it, so that a changed, removed or inserted row is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, select

from labelloop.errors import UsageError
from labelloop.store.store import Store
from labelloop.store.tables import chains, projects

Chain = Literal["decisions", "schema"]
#: What the first row follows.
START = "0" * 64


@dataclass(frozen=True)
class ChainEnd:
    """How many rows a chain has, and the hash of the last one."""

    length: int
    hash: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"length": self.length, "hash": self.hash}


@dataclass(frozen=True)
class Link:
    """One row of a chain as it was read: what identifies it, its content, and the two hashes that it carries."""

    row: int
    content: Mapping[str, Any]
    previous_hash: str
    hash: str


def link_hash(previous_hash: str, content: Mapping[str, Any]) -> str:
    """SHA-256 hex of the canonical JSON of [hash of the row before, content]."""
    return hashlib.sha256(orjson.dumps([previous_hash, content], option=orjson.OPT_SORT_KEYS)).hexdigest()


def lock_project(store: Store, connection: Connection, project_id: int) -> None:
    """Let one transaction at a time add to the project's chains; UsageError for an unknown project."""
    # SQLite's writing transaction has the whole database already; the clause is left out there.
    query = select(projects.c.project_id).where(store.scope(projects, project_id)).with_for_update()
    if connection.execute(query).first() is None:
        raise UsageError(f"no project {project_id}; labelloop does not look after it")


def chain_end(store: Store, connection: Connection, project_id: int, chain: Chain) -> ChainEnd:
    """Where a chain ends."""
    where = store.scope(chains, project_id) & (chains.c.chain == chain)
    found = connection.execute(select(chains.c.length, chains.c.hash).where(where)).first()
    return ChainEnd(found.length, found.hash) if found else ChainEnd(0, START)


def move_end(store: Store, connection: Connection, project_id: int, chain: Chain, end: ChainEnd) -> None:
    """Note where a chain ends now, in the transaction that added its last row."""
    row = {"project_id": project_id, "chain": chain, "length": end.length, "hash": end.hash}
    store.upsert(connection, chains, [row], ["length", "hash"])


def chain_problems(name: str, links: Iterable[Link], end: ChainEnd) -> list[str]:
    """What is wrong with a chain whose rows are given in order; empty when it is whole."""
    problems: list[str] = []
    previous, length = START, 0
    for link in links:
        length += 1
        if link.previous_hash != previous:
            problems.append(f"{name} {link.row}: does not follow the row before it; rows are missing, added or moved")
        if link_hash(link.previous_hash, link.content) != link.hash:
            problems.append(f"{name} {link.row}: its content was changed after it was written")
        previous = link.hash
    if (length, previous) != (end.length, end.hash):
        problems.append(
            f"{name}s: expected {end.length} rows ending in {end.hash[:12]}, got {length} ending in {previous[:12]}"
        )
    return problems
