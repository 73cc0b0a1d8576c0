"""A port that is given is used, or refused in one line; nothing is started before that."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from labelloop.demo.run import DemoOptions, run_demo
from labelloop.errors import UsageError
from labelloop.services.ports import wanted_ports
from labelloop.settings import ServiceSettings

pytestmark = pytest.mark.integration


def test_a_busy_port_that_was_given_stops_the_demo_before_anything_starts(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = DemoOptions(ports={"label-studio": port})
        with pytest.raises(UsageError, match=f"port {port} for label-studio is busy"):
            run_demo(ServiceSettings(data=tmp_path), headless=True, fresh=False, options=options)
    assert not (tmp_path / "services.json").exists()
    assert not (tmp_path / "envs").exists()


@pytest.mark.parametrize("text", ["labelstudio=8080", "redis", "redis=many", "=1"])
def test_what_is_no_port_of_a_service_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="expected SERVICE=PORT"):
        wanted_ports([text], ("label-studio", "redis"))


def test_ports_by_service() -> None:
    assert wanted_ports(["redis=6380"], ("label-studio", "redis")) == {"redis": 6380}
