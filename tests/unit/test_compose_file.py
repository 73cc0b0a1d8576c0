"""docker-compose.yml and the Dockerfile as documents: valid, pinned, unprivileged, and fit for stock Label Studio."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from labelloop.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def said_by(command: list[str]) -> str:
    """What a checker prints; the test fails with it when the checker is not content."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def aliases_of(service: str) -> list[str]:
    """The names by which other containers reach a service."""
    aliases: list[str] = (SERVICES[service]["networks"]["loop"] or {}).get("aliases", [])
    return aliases


def test_the_compose_file_fits_the_compose_schema() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    said_by([str(BIN / "check-jsonschema"), *schema, "docker-compose.yml"])


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert said_by([str(BIN / "hadolint"), "--no-color", "deploy/Dockerfile"]) == ""


def test_every_service_of_the_loop_is_there() -> None:
    wanted = {"label-studio", "postgres", "redis", "mlflow", "receiver", "worker-train", "worker-sync", "scheduler"}
    assert wanted | {"yolo", "yolo-gpu", "spacy-nlp", "sklearn-text", "rules"} <= set(SERVICES)
    assert SERVICES["label-studio"]["image"] == "heartexlabs/label-studio:1.23.2"
    assert SERVICES["yolo-gpu"]["profiles"] == ["gpu"] and "devices" in str(SERVICES["yolo-gpu"]["deploy"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_is_pinned_restarted_watched_and_reached_by_a_dotted_name(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":\d[\w.-]*$", service["image"]), "an image without a version changes under our feet"
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert all("." in alias for alias in aliases_of(name))
    waited_for = service.get("depends_on", {})
    assert all(how == {"condition": "service_healthy"} for how in waited_for.values())
    assert set(waited_for) <= set(SERVICES)


def test_our_images_run_as_an_unprivileged_user() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    stages = {stage.split(" AS ")[1].split()[0]: stage for stage in re.split(r"^FROM ", text, flags=re.M)[1:]}
    for service in OURS.values():
        users = re.findall(r"^USER (\S+)", stages[service["build"]["target"]], flags=re.M)
        assert users and users[-1] not in ("0", "root")
        assert service["cap_drop"] == ["ALL"]
    assert SERVICES["postgres"]["user"] == "postgres" and SERVICES["redis"]["user"] == "redis"


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.M) for name in line.split()[:-1]]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied and {name for name in copied if not (ROOT / name).exists()} == set()
    assert set(copied) <= let_through


def test_the_extras_of_each_image_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for service in OURS.values():
        for extra in service["build"]["args"]["EXTRAS"].split():
            assert re.search(rf"^{extra} = \[", project, flags=re.M), extra


def test_l1_label_studio_accepts_addresses_of_this_network() -> None:
    environment = SERVICES["label-studio"]["environment"]
    assert environment["ML_BLOCK_LOCAL_IP"] == environment["SSRF_PROTECTION_ENABLED"] == "false"
    ours = OURS["receiver"]["environment"]
    aliases = {
        alias for service in SERVICES.values() for alias in (service["networks"]["loop"] or {}).get("aliases", [])
    }
    hosts = set(re.findall(r"(?://|@)([\w.-]+):\d+", " ".join(ours.values())))
    assert len(hosts) >= 8 and hosts <= aliases


def test_our_environment_names_settings_that_exist() -> None:
    known = {f"LABELLOOP_{name.upper()}" for name in ServiceSettings.model_fields}
    for service in OURS.values():
        assert {name.removesuffix("_FILE") for name in service.get("environment", {})} <= known


def test_every_backend_that_others_reach_has_its_password() -> None:
    backends = {name: service for name, service in OURS.items() if "backends" in service["command"]}
    assert {"yolo", "yolo-gpu", "spacy-nlp", "sklearn-text", "rules"} <= set(backends)
    for service in backends.values():
        assert "0.0.0.0" in service["command"]  # noqa: S104
        assert service["environment"]["LABELLOOP_BACKEND_PASSWORD_FILE"] == "/run/secrets/backend_password"
        assert "backend_password" in service["secrets"]
    assert COMPOSE["secrets"]["backend_password"] == {"environment": "BACKEND_PASSWORD"}


def test_no_secret_is_written_down_and_every_variable_is_explained() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = {name: default for name, default in re.findall(r"\$\{(\w+)(:[-?][^}]*)?\}", text)}
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    told = dict(re.findall(r"^(\w+)=(.*)$", example, flags=re.M))
    ours = {"WEBHOOK_SECRET", "BACKEND_PASSWORD"}
    secrets = ours | {"POSTGRES_PASSWORD", "LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_TOKEN"}
    assert set(used) | ours | {"COMPOSE_PROFILES"} == set(told)
    assert {name for name in secrets if told[name]} == set()
    assert all(used[name].startswith(":?") for name in secrets & set(used))


def test_y11_an_image_is_built_from_released_versions_with_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^[\w.\[\]-]+==\S+", lock, flags=re.MULTILINE)
    assert len(pinned) > 100 and lock.count("--hash=sha256:") >= len(pinned)
    for name in ("requirements.lock", "pyproject.toml", "deploy/Dockerfile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"git\+|@ ?https?://|:latest\b|\bconda\b", text), name
    assert "requirements.lock" in (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
