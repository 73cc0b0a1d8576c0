"""Stock Label Studio as `up` installs and starts it; its environment below .labelloop is kept for later runs."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from labelloop.errors import ServiceError
from labelloop.services.credentials import CREDENTIALS_FILE
from labelloop.services.label_studio import label_studio_spec, prepare_data
from labelloop.services.label_studio_install import LabelStudioInstall, install_label_studio
from labelloop.services.local import LocalRun, up
from labelloop.services.ports import free_port, is_free
from labelloop.services.processes import listens, marked
from labelloop.services.supervisor import Supervisor
from labelloop.settings import ServiceSettings

pytestmark = pytest.mark.e2e

ENVS = Path(__file__).resolve().parents[2] / ".labelloop" / "envs"


@pytest.fixture(scope="module")
def install() -> LabelStudioInstall:
    return install_label_studio(ENVS, print)


def start(data: Path, port: int | None = None) -> LocalRun:
    ports = {"label-studio": port}
    return up(ServiceSettings(data=data), print, names=("label-studio",), ports=ports, envs=ENVS)


def whoami(running: LocalRun) -> httpx.Response:
    headers = {"Authorization": f"Token {running.services.token()}"}
    return httpx.get(running.services.label_studio_url + "/api/current-user/whoami", headers=headers, timeout=30)


def test_the_template_is_migrated_and_knows_nobody(install: LabelStudioInstall) -> None:
    assert install.template is not None
    with closing(sqlite3.connect(install.template)) as database:
        assert database.execute("select count(*) from django_migrations").fetchone()[0] > 300
        for table in ("htx_user", "organization", "authtoken_token"):
            assert database.execute(f"select count(*) from {table}").fetchone()[0] == 0  # noqa: S608


def test_it_starts_from_nothing_with_its_login_and_token_on_the_port_that_was_asked_for(
    install: LabelStudioInstall, tmp_path: Path
) -> None:
    port = free_port()
    with start(tmp_path, port) as running:
        assert running.ports == {"label-studio": port} and running.credentials is not None
        pid = running.supervisor.status()["label-studio"].pid
        assert pid is not None and listens(pid, port)
        answer = whoami(running)
        assert (answer.status_code, answer.json()["email"]) == (200, running.credentials.username)
        with httpx.Client(base_url=running.services.label_studio_url, timeout=30) as browser:
            csrf = browser.get("/user/login/").cookies["csrftoken"]
            form = {"email": running.credentials.username, "password": running.credentials.password}
            login = browser.post(
                "/user/login/", data={**form, "csrfmiddlewaretoken": csrf}, headers={"Referer": str(browser.base_url)}
            )
            assert login.status_code == 302
        project = httpx.post(
            running.services.label_studio_url + "/api/projects/",
            headers={"Authorization": f"Token {running.services.token()}"},
            json={"title": "kept"},
            timeout=30,
        )
        assert project.status_code == 201
        # an address on this machine is accepted for webhooks
        hook = httpx.post(
            running.services.label_studio_url + "/api/webhooks/",
            headers={"Authorization": f"Token {running.services.token()}"},
            json={"project": project.json()["id"], "url": "http://127.0.0.1:1/hooks"},
            timeout=30,
        )
        assert hook.status_code == 201
    assert not marked(running.supervisor.run) and is_free(port)
    with start(tmp_path) as again:
        assert again.ports == running.ports and again.services.token() == running.services.token()
        projects = httpx.get(
            again.services.label_studio_url + "/api/projects/",
            headers={"Authorization": f"Token {again.services.token()}"},
            timeout=30,
        )
        assert [one["title"] for one in projects.json()["results"]] == ["kept"]
    lost = json.loads((tmp_path / CREDENTIALS_FILE).read_text()) | {"token": "0" * 40}
    (tmp_path / CREDENTIALS_FILE).write_text(json.dumps(lost))
    with pytest.raises(ServiceError, match=r"put the old credentials\.json back, or remove both"):
        start(tmp_path)


def test_a_port_that_is_taken_at_the_last_moment_is_noticed(install: LabelStudioInstall, tmp_path: Path) -> None:
    from labelloop.services.credentials import keep_credentials

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        prepare_data(install, tmp_path)
        spec = label_studio_spec(install, tmp_path, port, keep_credentials(tmp_path))
        supervisor = Supervisor([spec], tmp_path, print)
        with pytest.raises(ServiceError, match=f"port {port} was taken by another program"):
            supervisor.start()
    assert not marked(supervisor.run)
