"""Opening the store's database: SQLite in WAL mode or PostgreSQL, migrated to the newest schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from labelloop.errors import ServiceDown, SettingsError

MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(database_url: str) -> Engine:
    """An engine on `database_url`; a SQLite file's folder is made. SettingsError for an address it cannot use."""
    try:
        url = make_url(database_url)
    except Exception as error:
        raise SettingsError(
            "LABELLOOP_DATABASE_URL: expected an address such as sqlite:////path/store.sqlite3 or "
            "postgresql+psycopg://user@host/name"
        ) from error
    if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, json_deserializer=_loads)
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30.0}, json_deserializer=_loads)
    event.listen(engine, "connect", _sqlite_on_connect)
    event.listen(engine, "begin", _sqlite_on_begin)
    return engine


def _loads(text: str | bytes) -> Any:
    """A column's JSON: reading results is what takes the time of most queries, and orjson takes a fifth of it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN and lone surrogates, which Python's own writes
        return json.loads(text)


def _sqlite_on_connect(connection: Any, _record: Any) -> None:
    # pysqlite begins transactions too late for SELECT ... then UPDATE; SQLAlchemy begins them by _sqlite_on_begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_on_begin(connection: Connection) -> None:
    # A writer takes the write lock at once: a read turned into a write would fail with "database is locked".
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version; several processes may call it at once.

    Raises ServiceDown when the database cannot be reached.
    """
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            newest = ScriptDirectory.from_config(_alembic_config(connection)).get_current_head()
            if current == newest:
                return
        with engine.connect().execution_options(writing=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7355608)"))
            command.upgrade(_alembic_config(connection), "head")
    except OperationalError as error:
        raise ServiceDown(
            f"the database {engine.url.render_as_string(hide_password=True)} cannot be opened: {error.orig}; "
            "check LABELLOOP_DATABASE_URL and that the server runs"
        ) from error
