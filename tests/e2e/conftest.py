"""One stock Label Studio for the whole session, on a data folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from labelloop.services.local import up
from labelloop.settings import ServiceSettings, Settings
from sync.runtime import Runtime

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class LabelStudioServer:
    """A running Label Studio, its administrator, and the folder that it serves local files from."""

    url: str
    token: str = field(repr=False)
    email: str
    password: str = field(repr=False)
    files_root: Path


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioServer]:
    """Installed once below .labelloop/envs; LABELLOOP_TEST_LABEL_STUDIO names another executable to use."""
    data = tmp_path_factory.mktemp("label-studio")
    program = os.environ.get("LABELLOOP_TEST_LABEL_STUDIO")
    envs = Path(os.environ.get("LABELLOOP_DATA", ROOT / ".labelloop")) / "envs"
    with up(
        ServiceSettings(data=data),
        print,
        names=("label-studio",),
        label_studio_program=Path(program) if program else None,
        envs=envs,
    ) as run:
        assert run.credentials is not None
        yield LabelStudioServer(
            url=run.services.label_studio_url,
            token=run.credentials.token,
            email=run.credentials.username,
            password=run.credentials.password,
            files_root=data / "files",
        )


@pytest.fixture
def runtime(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[Runtime]:
    """The product on an empty store, against that Label Studio."""
    services = ServiceSettings(
        data=tmp_path, label_studio_url=label_studio.url, label_studio_token=SecretStr(label_studio.token)
    )
    made = Runtime(Settings(services=services))
    yield made
    made.client.close()
    made.store.close()
