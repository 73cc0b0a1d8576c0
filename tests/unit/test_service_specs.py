"""What services are started with: order, environment, the lock of Label Studio, and messages for what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from labelloop.errors import ServiceError, UsageError
from labelloop.services import label_studio, label_studio_install, local, preflight
from labelloop.services.credentials import Credentials
from labelloop.services.label_studio_install import LOCK_FILE, LabelStudioInstall, existing_install, explain_failure
from labelloop.services.service_logs import end_in_words, keep_earlier_log, last_lines
from labelloop.services.spec import ServiceSpec, start_order
from labelloop.settings import ServiceSettings, load_settings

PORTS = {name: 21000 + number for number, name in enumerate(local.WITH_PORT)}


def all_specs(data: Path) -> dict[str, ServiceSpec]:
    credentials = Credentials()
    settings = local.with_local_addresses(ServiceSettings(data=data), PORTS, credentials)
    install = LabelStudioInstall(Path("/bin/label-studio"))
    specs = local.local_specs(settings, local.ALL_SERVICES, PORTS, credentials=credentials, install=install)
    return {spec.name: spec for spec in specs}


def test_every_service_has_a_spec_and_what_it_needs_comes_first(tmp_path: Path) -> None:
    specs = all_specs(tmp_path)
    assert set(specs) == set(local.ALL_SERVICES)
    level = {name: number for number, names in enumerate(start_order(list(specs.values()))) for name in names}
    assert level["redis"] == level["label-studio"] == level["mlflow"] == 0
    assert level["yolo"] > level["redis"] and level["worker-train"] > level["mlflow"]
    assert level["scheduler"] > level["worker-sync"]


def test_the_checks_before_a_start_know_every_service() -> None:
    assert set(preflight.MEMORY_GB) == set(local.ALL_SERVICES)
    assert set(preflight.EXTRAS) <= set(local.ALL_SERVICES)


def test_a_child_loads_the_settings_that_it_was_started_with(tmp_path: Path) -> None:
    specs = all_specs(tmp_path)
    loaded = load_settings(environ=specs["worker-train"].env).services
    assert loaded.label_studio_url == f"http://127.0.0.1:{PORTS['label-studio']}"
    assert loaded.redis_url == f"redis://127.0.0.1:{PORTS['redis']}/0"
    assert loaded.backend_urls == {name: f"http://127.0.0.1:{PORTS[name]}" for name in local.BACKENDS}
    assert loaded.data == tmp_path and len(loaded.token()) == 40 and len(loaded.secret()) == 40
    assert specs["worker-train"].env["OMP_NUM_THREADS"] == "2"
    assert loaded.token() not in repr(specs["worker-train"])


def test_secrets_of_the_caller_are_kept(tmp_path: Path) -> None:
    given = ServiceSettings(data=tmp_path, webhook_secret=SecretStr("mine"), label_studio_token=SecretStr("theirs"))
    ports = {name: port for name, port in PORTS.items() if name != "label-studio"}
    kept = local.with_local_addresses(given, ports, Credentials())
    assert kept.secret() == "mine" and kept.token() == "theirs" and kept.label_studio_url == given.label_studio_url


def test_label_studio_hears_only_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_NAME", "HOST", "DEBUG", "USERNAME", "DJANGO_DB", "PYTHONPATH", "LABEL_STUDIO_PORT"):
        monkeypatch.setenv(name, "from outside")
    env = all_specs(tmp_path)["label-studio"].env
    assert "from outside" not in env.values()
    assert env["ML_BLOCK_LOCAL_IP"] == env["SSRF_PROTECTION_ENABLED"] == "false"
    assert env["TASK_LOCK_TTL"] == "86400" and env["NO_PROXY"] == "127.0.0.1,localhost"


def test_circles_and_unknown_needs_are_refused(tmp_path: Path) -> None:
    def spec(name: str, *after: str) -> ServiceSpec:
        return ServiceSpec(name, ("true",), {}, tmp_path / name, lambda: None, after=after)

    assert start_order([spec("b", "a"), spec("a"), spec("c", "a", "b")]) == [["a"], ["b"], ["c"]]
    with pytest.raises(ValueError, match="circle: a, b"):
        start_order([spec("a", "b"), spec("b", "a")])
    with pytest.raises(ValueError, match="not there: z"):
        start_order([spec("a", "z")])
    with pytest.raises(ValueError, match="same name"):
        start_order([spec("a"), spec("a")])


def test_unknown_services_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such service: reddis; known: label-studio, redis"):
        local.up(ServiceSettings(data=tmp_path), print, names=("reddis",))


def test_the_lock_pins_label_studio_by_hash_and_names_no_address() -> None:
    text = LOCK_FILE.read_text(encoding="utf-8")
    assert not re.search(r"://|--index|--find|file:", text)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert f"label-studio=={label_studio_install.VERSION}" in text and len(entries) > 100
    assert [e for e in entries if not re.match(r"[a-z0-9._-]+==\S+.*--hash=sha256:[0-9a-f]{64}", e, re.S)] == []


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("error: Failed to fetch: `x`\n dns error", "package index cannot be reached"),
        ("error: No space left on device (os error 28)", "the disk is full"),
        ("error: No interpreter found for Python 3.10", "no usable Python"),
        ("one\ntwo\nthree\nfour", "exit code 2: two | three | four"),
    ],
)
def test_a_failed_installation_says_why_in_one_line(output: str, says: str) -> None:
    message = explain_failure("installing", 2, output, Path("x.log"))
    assert says in message and "x.log" in message and "\n" not in message


def test_a_program_that_is_not_this_label_studio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no program"):
        existing_install(tmp_path / "label-studio")
    program = tmp_path / "bin" / "label-studio"
    (tmp_path / "lib/python3.11/site-packages/label_studio-1.20.0.dist-info").mkdir(parents=True)
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match=r"is Label Studio 1\.20\.0; labelloop works with 1\.23\.2"):
        existing_install(program)


def test_refusals_of_the_token_say_what_to_do(tmp_path: Path) -> None:
    off = b'{"detail": "Authentication token no longer valid: legacy token authentication has been disabled"}'
    assert "switch them on again" in label_studio.explain_refusal(401, off, tmp_path)
    assert "remove both" in label_studio.explain_refusal(401, b'{"detail": "Invalid token."}', tmp_path)
    assert "got 500" in label_studio.explain_refusal(500, b"<html>", tmp_path)


def test_label_studio_on_the_next_port_is_noticed(tmp_path: Path) -> None:
    spec = all_specs(tmp_path)["label-studio"]
    spec.log.parent.mkdir()
    spec.log.write_text(f"* Port {spec.port} is in use.\n* Trying to start at 1\n")
    with pytest.raises(ServiceError, match=f"port {spec.port} was taken by another program"):
        spec.ready()
    spec.log.write_text("Initializing database..\n")
    assert "migrating its database" in (spec.ready() or "")


def test_earlier_logs_are_kept_and_ends_are_told_in_words(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    for text in ("one", "two", "three", "four", "five"):
        keep_earlier_log(log)
        log.write_text(text + "\n\nend\n")
    assert [last_lines(file)[0] for file in (log, *(tmp_path / f"x.log.{n}" for n in (1, 2, 3)))] == [
        "five",
        "four",
        "three",
        "two",
    ]
    assert last_lines(log, 1) == ["end"] and last_lines(tmp_path / "none.log") == []
    assert end_in_words(3) == "ended with exit code 3"
    assert (
        "SIGKILL" in end_in_words(-9) and "memory" in end_in_words(-9) and end_in_words(-15) == "was ended by SIGTERM"
    )


def test_a_half_made_environment_is_made_anew_and_a_whole_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = label_studio_install.environment_folder(tmp_path)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "half").touch()
    steps: list[str] = []

    def pretend(command: list[str], log: Path, what: str, report: object, **over: object) -> None:
        steps.append(what)
        if len(steps) == 2:
            raise ServiceError("the network went away")

    monkeypatch.setattr(label_studio_install, "_run", pretend)
    monkeypatch.setattr(label_studio_install, "_make_template", lambda install, log, report: folder.mkdir())
    monkeypatch.setattr("labelloop.services.preflight.package_index", lambda uv: [])
    with pytest.raises(ServiceError, match="network went away"):
        label_studio_install.install_label_studio(tmp_path, print)
    assert not label_studio_install.is_installed(tmp_path) and not (folder / "bin" / "half").exists()
    label_studio_install.install_label_studio(tmp_path, print)
    assert label_studio_install.is_installed(tmp_path) and len(steps) == 4
    label_studio_install.install_label_studio(tmp_path, print)
    assert len(steps) == 4
