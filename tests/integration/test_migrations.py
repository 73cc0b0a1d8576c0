"""A database of every earlier release is brought up to date with its rows, and back; one of a later release is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Boolean, DateTime, Engine, Float, Integer, MetaData, String, Table, insert, select, text

from labelloop.errors import SettingsError
from labelloop.store import Store, open_store
from labelloop.store.engine import _alembic_config, known_schemas, migrate, newest_schema, open_engine

pytestmark = pytest.mark.integration

EARLIER = known_schemas()[:-1]
AT = datetime(2026, 1, 2, 3, 4, 5, 678901)
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


def move(engine: Engine, direction: str, revision: str) -> None:
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        getattr(command, direction)(_alembic_config(connection), revision)


def tables_of(engine: Engine) -> dict[str, Table]:
    found = MetaData()
    found.reflect(engine)
    return {name: table for name, table in found.tables.items() if name != "alembic_version"}


def value(column: Any, n: int) -> Any:
    """Something that fits the column and differs from row to row."""
    if isinstance(column.type, Boolean):
        return n % 2 == 0
    if isinstance(column.type, DateTime):
        return AT + timedelta(seconds=n)
    if isinstance(column.type, Integer):
        return n
    if isinstance(column.type, Float):
        return n + 0.25
    if isinstance(column.type, String):
        return f"{column.name} {n} ß"[: column.type.length or 99]
    return {"n": n, "text": "ß 😀"}


def fill(engine: Engine) -> Rows:
    """Three rows in every table; what there is afterwards."""
    with engine.begin() as connection:
        for table in tables_of(engine).values():
            connection.execute(insert(table), [{c.name: value(c, n) for c in table.columns} for n in (1, 2, 3)])
    return rows_of(engine)


def rows_of(engine: Engine) -> Rows:
    with engine.connect() as connection:
        return {
            name: sorted((dict(row) for row in connection.execute(select(table)).mappings()), key=repr)
            for name, table in tables_of(engine).items()
        }


def columns_as_before(rows: Rows, before: Rows) -> Rows:
    """The rows without the columns and tables that came later."""
    return {
        name: sorted(({key: row[key] for key in before[name][0]} for row in rows[name]), key=repr) for name in before
    }


@pytest.mark.parametrize("revision", EARLIER)
def test_an_earlier_database_is_brought_up_to_date_with_its_rows(engine: Engine, revision: str) -> None:
    move(engine, "upgrade", revision)
    before = fill(engine)
    migrate(engine)
    assert columns_as_before(rows_of(engine), before) == before
    store = Store(engine, "instance 1 ß")
    assert store.labels(1) == [] and [project.project_id for project in store.projects()] == [1]


@pytest.mark.parametrize("revision", EARLIER)
def test_it_is_taken_back_with_its_rows(engine: Engine, revision: str) -> None:
    move(engine, "upgrade", revision)
    before = fill(engine)
    migrate(engine)
    move(engine, "downgrade", revision)
    # Copies of what people were shown have no place before 0003.
    kept = {name: rows for name, rows in before.items() if name != "predictions" or revision >= "0003"}
    found = rows_of(engine)
    assert found.keys() == before.keys() and {name: found[name] for name in kept} == kept
    migrate(engine)


def test_every_step_can_be_taken_alone_and_nothing_is_left_of_the_first(engine: Engine) -> None:
    for revision in known_schemas():
        move(engine, "upgrade", revision)
    for revision in reversed(["base", *EARLIER]):
        move(engine, "downgrade", revision)
    assert tables_of(engine) == {}


def test_places_in_the_queue_come_through(engine: Engine) -> None:
    move(engine, "upgrade", "0002")
    table = tables_of(engine)["predictions"]
    places = [
        {c.name: None if c.name == "ls_prediction_id" else value(c, n) for c in table.columns} | {"serving_id": "v1-r1"}
        for n in (1, 2)
    ]
    with engine.begin() as connection:
        connection.execute(insert(table), places)
    migrate(engine)
    move(engine, "downgrade", "0002")
    assert sorted(rows_of(engine)["predictions"], key=repr) == sorted(places, key=repr)


def test_a_database_of_a_later_release_is_refused(database_url: str) -> None:
    store = open_store(database_url)
    with store.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(SettingsError, match=rf"schema 9999.*newer than {newest_schema()}.*LABELLOOP_DATABASE_URL"):
        open_store(database_url)
