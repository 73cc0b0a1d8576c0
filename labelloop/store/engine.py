"""Opening the store's database: SQLite in WAL mode or PostgreSQL, migrated to the newest schema."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError

from labelloop.errors import ServiceDown, SettingsError, StoreFull

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
        engine = create_engine(url, pool_pre_ping=True, json_serializer=_dumps, json_deserializer=_loads)
    else:
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        wait = {"timeout": 30.0}
        engine = create_engine(url, connect_args=wait, json_serializer=_dumps, json_deserializer=_loads)
        event.listen(engine, "connect", _sqlite_on_connect)
        event.listen(engine, "begin", _sqlite_on_begin)
    event.listen(engine, "handle_error", _say_when_full)
    return engine


def _say_when_full(context: ExceptionContext) -> None:
    """StoreFull in place of the driver's error where the database has no room left; its transaction is undone."""
    cause = context.original_exception
    full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", "") == "53100"
    if full and context.engine is not None:
        address = context.engine.url.render_as_string(hide_password=True)
        raise StoreFull(
            f"the database {address} has no room left ({_first_line(cause)}): nothing of this step was stored; free space "
            "on its disk and run it again, it goes on from where it stands"
        ) from cause


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _dumps(value: Any) -> str:
    """The JSON of a column."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, numbers beyond 64 bits
        return json.dumps(value, separators=(",", ":"))


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


def move_schema(connection: Connection, revision: str) -> None:
    """Bring the schema up to a version (`head`: the newest), within the caller's transaction."""
    command.upgrade(_alembic_config(connection), revision)


def known_schemas() -> list[str]:
    """Every schema version that this release can read, oldest first."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def newest_schema() -> str:
    """The schema version that this release works with."""
    return known_schemas()[-1]


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version; several processes may call it at once.

    Raises ServiceDown when the database cannot be reached, SettingsError when its schema is of a newer release.
    """
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            if current == newest_schema():
                return
            if current is not None and current not in known_schemas():
                raise SettingsError(
                    f"the database {engine.url.render_as_string(hide_password=True)} has schema {current}, and this "
                    f"release of labelloop knows none newer than {newest_schema()}: install the release that wrote it, or "
                    "set LABELLOOP_DATABASE_URL to another database"
                )
        with engine.connect().execution_options(writing=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7355608)"))
            move_schema(connection, "head")
    except OperationalError as error:
        raise ServiceDown(
            f"the database {engine.url.render_as_string(hide_password=True)} cannot be opened: {error.orig}; "
            "check LABELLOOP_DATABASE_URL and that the server runs"
        ) from error
