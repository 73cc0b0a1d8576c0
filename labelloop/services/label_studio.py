"""The service `label-studio`: stock Label Studio on SQLite, with a login, a token, and local addresses allowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from labelloop.errors import ServiceError
from labelloop.services.credentials import CREDENTIALS_FILE, Credentials
from labelloop.services.label_studio_install import LabelStudioInstall, plain_environment
from labelloop.services.processes import listens
from labelloop.services.readiness import Ready, http_ready, http_status
from labelloop.services.spec import ServiceSpec

NAME = "label-studio"
_DATABASE = "label_studio.sqlite3"


def prepare_data(install: LabelStudioInstall, data: Path) -> None:
    """Make `data`/label-studio and `data`/files; a fresh one starts from the migrated template where there is one."""
    folder = data / NAME
    folder.mkdir(parents=True, exist_ok=True)
    (data / "files").mkdir(exist_ok=True)
    database = folder / _DATABASE
    if not database.exists() and install.template is not None and install.template.is_file():
        new = database.with_suffix(".new")
        shutil.copyfile(install.template, new)
        new.replace(database)


def label_studio_environment(data: Path, port: int, credentials: Credentials, task_lock_ttl_s: int) -> dict[str, str]:
    """The whole environment of the service."""
    return {
        **plain_environment(data / NAME),
        "LABEL_STUDIO_HOST": f"http://127.0.0.1:{port}",
        "LABEL_STUDIO_USERNAME": credentials.username,
        "LABEL_STUDIO_PASSWORD": credentials.password,
        "LABEL_STUDIO_USER_TOKEN": credentials.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "false",
        # without both, backends and webhooks on this machine are refused
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(data / "files"),
        "TASK_LOCK_TTL": str(task_lock_ttl_s),
        "MALLOC_ARENA_MAX": "2",
    }


def label_studio_spec(
    install: LabelStudioInstall, data: Path, port: int, credentials: Credentials, *, task_lock_ttl_s: int = 86400
) -> ServiceSpec:
    """Label Studio on this port of 127.0.0.1; call `prepare_data` before it starts."""
    data = data.absolute()
    url = f"http://127.0.0.1:{port}"
    log = data / "logs" / f"{NAME}.log"
    host = ("--internal-host", "127.0.0.1", "--port", str(port))
    return ServiceSpec(
        name=NAME,
        command=(str(install.executable), "start", "--no-browser", *host, "--enable-legacy-api-token"),
        env=label_studio_environment(data, port, credentials, task_lock_ttl_s),
        log=log,
        ready=_ready(url, port, log),
        cwd=data / NAME,
        ready_timeout_s=300.0,
        url=url,
        port=port,
        check=_check(url, port, credentials, data),
    )


def _ready(url: str, port: int, log: Path) -> Ready:
    ask_health = http_ready(url + "/health")

    def ask() -> str | None:
        try:
            said = log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            said = ""
        if f"Port {port} is in use" in said:  # it goes on with the next one, which nobody would look for
            raise ServiceError(
                f"{NAME}: port {port} was taken by another program meanwhile; end that one or give another port"
            )
        waits_for = ask_health()
        if waits_for is not None and "Initializing database" in said and "Starting development server" not in said:
            return "migrating its database (up to a minute on the first start)"
        return waits_for

    return ask


def _check(url: str, port: int, credentials: Credentials, data: Path) -> Callable[[int], None]:
    def check(pid: int) -> None:
        if not listens(pid, port):
            raise ServiceError(f"{NAME}: another program answers at {url}; end it, or give Label Studio another port")
        status, body = http_status(
            url + "/api/current-user/whoami", {"Authorization": f"Token {credentials.token}"}, timeout_s=20.0
        )
        if status != 200:
            raise ServiceError(f"{NAME}: {explain_refusal(status, body, data)}", status)

    return check


def explain_refusal(status: int, body: bytes, data: Path) -> str:
    """Why Label Studio does not accept the token of credentials.json, and what to do."""
    try:
        detail = str(json.loads(body).get("detail", ""))
    except (ValueError, AttributeError):
        detail = body[:200].decode(errors="replace")
    if "legacy token" in detail.lower():
        return (
            "legacy tokens have been switched off in Label Studio; switch them on again in its Organization page, "
            "Access Token Settings"
        )
    if status == 401:
        return (
            f"the token in {data / CREDENTIALS_FILE} is not that of the account in {data / NAME} (Label Studio takes a "
            f"token only when it makes the account); put the old {CREDENTIALS_FILE} back, or remove both to begin anew"
        )
    return f"expected 200 for the account of the token, got {status}: {detail}"
