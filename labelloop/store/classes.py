"""The classes of a project in the store, and every schema version that they went through, hash-chained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from labelloop.class_schema import ClassEntry, ClassTable, RegionKey, assignments_json
from labelloop.label_config import parse_label_config
from labelloop.store.chains import ChainEnd, Link, chain_end, chain_problems, link_hash, lock_project, move_end
from labelloop.store.rows import ProjectRow
from labelloop.store.store import Store
from labelloop.store.tables import class_assignments, classes, schema_versions
from labelloop.store.types import utc_now

#: Who changes the classes by changing the label config.
CONFIG = "label config"


@dataclass(frozen=True)
class SchemaVersion:
    """One state of a project's classes; `number` counts from 1, `change` says what made it."""

    number: int
    at: datetime
    by: str
    change: Mapping[str, Any]
    config_hash: str
    classes: list[dict[str, Any]]
    assigned_hash: str
    previous_hash: str
    hash: str

    def content(self) -> dict[str, Any]:
        """What the hash is made of."""
        return {
            "number": self.number,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "by": self.by,
            "change": dict(self.change),
            "config_hash": self.config_hash,
            "classes": self.classes,
            "assigned_hash": self.assigned_hash,
        }


_COLUMNS = [getattr(schema_versions.c, name) for name in SchemaVersion.__dataclass_fields__]


def class_table(store: Store, project: ProjectRow) -> ClassTable:
    """The project's classes as they stand, brought up to its label config first: a new config is a new schema version."""
    config = parse_label_config(project.label_config)
    with store.read() as connection:
        found = _read(store, connection, project.project_id)
    if found.with_config(config) == found:
        return found
    return change_classes(store, project, CONFIG, lambda table: table)


def change_classes(
    store: Store,
    project: ProjectRow,
    by: str,
    change: Callable[[ClassTable], ClassTable],
    told: Mapping[str, Any] | None = None,
    label_config: str | None = None,
) -> ClassTable:
    """Apply a change to the classes that the label config leads to, and write what came of it as a new schema version.

    `told` describes the change; `label_config` is the config that comes with it, stored with it. Nothing is written where
    nothing changes. Changes at one time come one after the other.
    """
    config = parse_label_config(project.label_config)
    with store.begin() as connection:
        lock_project(store, connection, project.project_id)
        before = _read(store, connection, project.project_id)
        followed = before.with_config(config)
        if followed != before:
            _write(store, connection, project, before, followed, CONFIG, _difference(before, followed))
        after = change(followed)
        if label_config is not None:
            after = after.with_config(parse_label_config(label_config))
            project = replace(project, label_config=label_config)
            store.set_label_config(connection, project.project_id, label_config)
        if after != followed:
            _write(store, connection, project, followed, after, by, dict(told or {}))
    return after


def schema_version(store: Store, project_id: int) -> SchemaVersion | None:
    """The newest schema version; None before the first."""
    query = select(*_COLUMNS).where(store.scope(schema_versions, project_id))
    with store.read() as connection:
        row = connection.execute(query.order_by(schema_versions.c.number.desc()).limit(1)).mappings().first()
    return SchemaVersion(**row) if row else None


def schema_versions_of(store: Store, project_id: int) -> list[SchemaVersion]:
    """Every schema version, oldest first."""
    query = select(*_COLUMNS).where(store.scope(schema_versions, project_id)).order_by(schema_versions.c.number)
    with store.read() as connection:
        return [SchemaVersion(**row) for row in connection.execute(query).mappings()]


def verify_schema(store: Store, project_id: int) -> list[str]:
    """What is wrong with the chain of schema versions; empty when it is whole."""
    links = [Link(v.number, v.content(), v.previous_hash, v.hash) for v in schema_versions_of(store, project_id)]
    with store.read() as connection:
        return chain_problems("schema version", links, chain_end(store, connection, project_id, "schema"))


def assigned_hash(table: ClassTable) -> str:
    """SHA-256 hex of the classes of single regions, whatever their order."""
    digest = hashlib.sha256()
    for row in assignments_json(table):
        digest.update(orjson.dumps(row) + b"\n")
    return digest.hexdigest()


def _read(store: Store, connection: Connection, project_id: int) -> ClassTable:
    c, a = classes.c, class_assignments.c
    rows = connection.execute(select(classes).where(store.scope(classes, project_id)).order_by(c.place)).mappings()
    entries = tuple(_entry(row) for row in rows)
    query = select(a.task_id, a.annotation_id, a.region_id, a.control, a.class_id)
    said: dict[RegionKey, tuple[str, int]] = {}
    for task_id, annotation_id, region_id, control, class_id in connection.execute(
        query.where(store.scope(class_assignments, project_id)).order_by(a.number)
    ):
        said[task_id, annotation_id, region_id] = (control, class_id)
    return ClassTable(entries, said)


def _entry(row: Mapping[Any, Any]) -> ClassEntry:
    became = row["became"]
    return ClassEntry(
        row["control"], row["class_id"], row["place"], row["name"], tuple(row["aliases"]), row["in_config"],
        None if became is None else tuple(became), became is None and row["retired_at"] is not None,
    )  # fmt: skip


def _write(
    store: Store,
    connection: Connection,
    project: ProjectRow,
    before: ClassTable,
    after: ClassTable,
    by: str,
    change: Mapping[str, Any],
) -> None:
    """The classes, the new assignments and the schema version, in the caller's transaction."""
    project_id, now = project.project_id, utc_now()
    end = chain_end(store, connection, project_id, "schema")
    number = end.length + 1
    known = {(entry.control, entry.class_id): entry for entry in before.entries}
    since = select(classes.c.control, classes.c.class_id, classes.c.retired_at).where(store.scope(classes, project_id))
    retired_at = {(control, class_id): at for control, class_id, at in connection.execute(since)}
    changed = [entry for entry in after.entries if known.get((entry.control, entry.class_id)) != entry]
    rows = [
        {
            "project_id": project_id, "control": entry.control, "class_id": entry.class_id, "place": entry.place,
            "name": entry.name, "aliases": list(entry.aliases), "in_config": entry.in_config,
            "became": None if entry.became is None else list(entry.became),
            "retired_at": (retired_at.get((entry.control, entry.class_id)) or now) if entry.retired else None,
        }
        for entry in changed
    ]  # fmt: skip
    store.upsert(connection, classes, rows, ["name", "aliases", "in_config", "became", "retired_at"])
    fresh = [
        {"project_id": project_id, "task_id": key[0], "annotation_id": key[1], "region_id": key[2], "number": number,
         "control": said[0], "class_id": said[1]}
        for key, said in after.assigned.items()
        if before.assigned.get(key) != said
    ]  # fmt: skip
    store.insert_missing(connection, class_assignments, fresh)
    version = SchemaVersion(
        number, now, by, change, hashlib.sha256(project.label_config.encode()).hexdigest(), after.to_json(),
        assigned_hash(after), end.hash, "",
    )  # fmt: skip
    made = link_hash(end.hash, version.content())
    row = {"instance": store.instance, "project_id": project_id, **version.__dict__, "hash": made}
    connection.execute(insert(schema_versions).values(row))
    move_end(store, connection, project_id, "schema", ChainEnd(number, made))


def _difference(before: ClassTable, after: ClassTable) -> dict[str, Any]:
    """What a label config changed."""
    known = {(entry.control, entry.class_id): entry for entry in before.entries}
    told: dict[str, list[dict[str, Any]]] = {"added": [], "retired": [], "returned": [], "shown": []}
    for entry in after.entries:
        old = known.get((entry.control, entry.class_id))
        if old == entry:
            continue
        if old is None:
            kind = "added"
        elif entry.vanished != old.vanished:
            kind = "retired" if entry.vanished else "returned"
        else:
            kind = "shown"
        told[kind].append({"control": entry.control, "class": entry.name})
    return {"kind": "config", **{kind: found for kind, found in told.items() if found}}
