"""All services of one machine: their ports, addresses and command lines, and `up`, which starts them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from pydantic import SecretStr

from labelloop.errors import UsageError
from labelloop.services import label_studio, preflight
from labelloop.services.credentials import Credentials, keep_credentials
from labelloop.services.label_studio_install import (
    LabelStudioInstall,
    existing_install,
    install_label_studio,
    is_installed,
)
from labelloop.services.ports import choose_ports
from labelloop.services.readiness import http_ready, log_event_ready, owns_port, redis_ready
from labelloop.services.spec import ServiceSpec
from labelloop.services.state import FolderLock, end_leftovers, read_state
from labelloop.services.supervisor import Report, Supervisor
from labelloop.settings import THREAD_COUNTS, ServiceSettings, inherited_environment, service_environment

BACKENDS = ("yolo", "spacy_nlp", "sklearn_text", "rules")
WORKERS: Mapping[str, tuple[str, ...]] = {
    "worker-train": ("train",),
    "worker-predict": ("predict",),
    "worker-sync": ("sync",),
}
WITH_PORT = ("label-studio", "redis", "mlflow", "receiver", *BACKENDS)
ALL_SERVICES = (*WITH_PORT, *WORKERS, "scheduler")
_OWN_RESTARTS = 5
_STORE_RESTARTS = 2


def with_local_addresses(
    services: ServiceSettings, ports: Mapping[str, int], credentials: Credentials | None
) -> ServiceSettings:
    """The settings with the addresses of the services on these ports, and the secrets of the local Label Studio."""
    at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    new: dict[str, object] = {"data": services.data.absolute()}
    if "label-studio" in at and credentials is not None:
        new["label_studio_url"] = at["label-studio"]
        new["label_studio_token"] = SecretStr(credentials.token)
    if services.webhook_secret is None and credentials is not None:
        new["webhook_secret"] = SecretStr(credentials.webhook_secret)
    if "redis" in ports:
        new["redis_url"] = f"redis://127.0.0.1:{ports['redis']}/0"
    if "mlflow" in at:
        new["mlflow_uri"] = at["mlflow"]
    if "receiver" in at:
        new["receiver_url"] = at["receiver"]
    backends = {name: at[name] for name in BACKENDS if name in at}
    new["backend_urls"] = {**services.backend_urls, **backends}
    return services.model_copy(update=new)


def with_running_services(services: ServiceSettings) -> ServiceSettings:
    """The settings with the addresses and secrets of the services that run for this data folder; what was set stays."""
    data = services.data.absolute()
    state = read_state(data)
    if state is None:
        return services
    ports = {name: service.port for name, service in state.services.items() if service.port is not None}
    local = with_local_addresses(services, ports, keep_credentials(data))
    found = {name: value for name, value in local if name not in services.model_fields_set}
    return services.model_copy(update=found)


def child_environment(services: ServiceSettings) -> dict[str, str]:
    """What the processes of this package start with: the settings, few threads, and nothing sent home."""
    threads = str(services.threads)
    return {
        **inherited_environment(),
        **service_environment(services),
        **dict.fromkeys(THREAD_COUNTS, threads),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "YOLO_OFFLINE": "true",
    }


def redis_spec(data: Path, port: int) -> ServiceSpec:
    """Redis on this port of 127.0.0.1; what is queued is on disk within a second. UsageError: no program."""
    program = preflight.redis_program()
    if program is None:
        preflight.require(preflight.redis_there())
    folder = data / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "notice",
        "ignore-warnings": "ARM64-COW-BUG",
    }
    return ServiceSpec(
        name="redis",
        command=(str(program), *(part for key, value in options.items() for part in (f"--{key}", value))),
        env=_bare_environment(),
        log=data / "logs" / "redis.log",
        ready=redis_ready(port),
        cwd=folder,
        ready_timeout_s=60.0,
        restarts=_STORE_RESTARTS,
        url=f"redis://127.0.0.1:{port}/0",
        port=port,
        check=owns_port("redis", port),
    )


def mlflow_spec(services: ServiceSettings, port: int) -> ServiceSpec:
    """One `mlflow server` with a SQLite database and its artefacts in the data folder."""
    folder = services.data / "mlflow"
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    store = ("--backend-store-uri", f"sqlite:///{folder / 'mlflow.sqlite3'}")
    artifacts = ("--artifacts-destination", str(folder / "artifacts"))
    where = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    return ServiceSpec(
        name="mlflow",
        command=(sys.executable, "-m", "mlflow", "server", *store, *artifacts, *where),
        # its job runner for language models costs eight processes and 640 MB
        env={**child_environment(services), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        log=services.data / "logs" / "mlflow.log",
        ready=http_ready(f"http://127.0.0.1:{port}/health"),
        cwd=folder,
        ready_timeout_s=240.0,
        grace_s=5.0,  # it waits for idle connections; its database is whole at any moment
        restarts=_STORE_RESTARTS,
        url=f"http://127.0.0.1:{port}",
        port=port,
        check=owns_port("mlflow", port),
    )


def _bare_environment() -> dict[str, str]:
    inherited = inherited_environment()
    return {name: inherited[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in inherited}


def _module_spec(
    services: ServiceSettings,
    name: str,
    arguments: Sequence[str],
    after: tuple[str, ...],
    port: int | None = None,
) -> ServiceSpec:
    """A process of this package: healthy by GET /health where it has a port, else by its log line "ready"."""
    log = services.data / "logs" / f"{name}.log"
    url = f"http://127.0.0.1:{port}" if port is not None else None
    return ServiceSpec(
        name=name,
        command=(sys.executable, "-m", *arguments, *(("--port", str(port)) if port is not None else ())),
        env=child_environment(services),
        log=log,
        ready=http_ready(f"{url}/health") if url else log_event_ready(log),
        after=after,
        ready_timeout_s=240.0,
        grace_s=15.0,
        restarts=_OWN_RESTARTS,
        url=url,
        port=port,
        check=owns_port(name, port) if port is not None else None,
    )


def local_specs(
    services: ServiceSettings,
    names: Sequence[str],
    ports: Mapping[str, int],
    *,
    credentials: Credentials | None = None,
    install: LabelStudioInstall | None = None,
) -> list[ServiceSpec]:
    """The specs of `names`; `services` must already hold the local addresses (see `with_local_addresses`)."""
    specs: list[ServiceSpec] = []
    if "redis" in names:
        specs.append(redis_spec(services.data, ports["redis"]))
    if "label-studio" in names and install is not None and credentials is not None:
        specs.append(
            label_studio.label_studio_spec(
                install, services.data, ports["label-studio"], credentials, task_lock_ttl_s=services.task_lock_ttl_s
            )
        )
    if "mlflow" in names:
        specs.append(mlflow_spec(services, ports["mlflow"]))

    def there(*wanted: str) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in names)

    if "receiver" in names:
        specs.append(_module_spec(services, "receiver", ("sync.receiver",), there("redis"), ports["receiver"]))
    for name in there(*BACKENDS):
        specs.append(_module_spec(services, name, ("backends", name), there("redis"), ports[name]))
    stores = there("redis", "label-studio", "mlflow")
    for name in there(*WORKERS):
        specs.append(_module_spec(services, name, ("sync.worker", *WORKERS[name]), stores))
    if "scheduler" in names:
        specs.append(_module_spec(services, "scheduler", ("sync.scheduler",), there("redis", "label-studio", *WORKERS)))
    return specs


@dataclass
class LocalRun:
    """Started services; `services` are the settings with which to reach them. A context: leaving it stops them all."""

    supervisor: Supervisor
    services: ServiceSettings
    ports: Mapping[str, int]
    credentials: Credentials | None = field(repr=False, default=None)

    def __enter__(self) -> LocalRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.stop()


def up(
    services: ServiceSettings,
    report: Report,
    *,
    names: Sequence[str] = ALL_SERVICES,
    ports: Mapping[str, int | None] | None = None,
    label_studio_program: Path | None = None,
    envs: Path | None = None,
) -> LocalRun:
    """Check, install what is missing, start `names` in order, and return when all are healthy.

    `ports`: given ones (a busy one is an error); the rest are free ones, kept from run to run.
    `label_studio_program`: an existing executable instead of an own installation below `envs` (default: <data>/envs).
    Raises UsageError (also when another supervisor has the data folder) and ServiceError; nothing runs then.
    """
    unknown = sorted(set(names) - set(ALL_SERVICES))
    if unknown:
        raise UsageError(f"no such service: {', '.join(unknown)}; known: {', '.join(ALL_SERVICES)}")
    data = services.data.absolute()
    envs = (envs or data / "envs").absolute()
    lock = FolderLock(data)
    lock.acquire()
    try:
        return _start(services, report, names, ports or {}, label_studio_program, envs, lock)
    except BaseException:
        lock.release()
        raise


def _start(
    services: ServiceSettings,
    report: Report,
    names: Sequence[str],
    ports: Mapping[str, int | None],
    label_studio_program: Path | None,
    envs: Path,
    lock: FolderLock,
) -> LocalRun:
    data = lock.path.parent
    with_label_studio = "label-studio" in names
    to_install = with_label_studio and label_studio_program is None and not is_installed(envs)
    with_port = [name for name in WITH_PORT if name in names]
    for line in end_leftovers(data):
        report(f"ended a process that an earlier run had left: {line[:120]}")
    preflight.require(preflight.check(data, names, wanted_ports=ports, to_install=to_install))
    install = None
    if with_label_studio:
        install = existing_install(label_studio_program) if label_studio_program else install_label_studio(envs, report)
        label_studio.prepare_data(install, data)
    credentials = keep_credentials(data) if with_label_studio or services.webhook_secret is None else None
    chosen = choose_ports(with_port, {k: v for k, v in ports.items() if v is not None}, data)
    local = with_local_addresses(services, chosen, credentials)
    specs = local_specs(local, names, chosen, credentials=credentials, install=install)
    supervisor = Supervisor(specs, data, report, lock=lock)
    supervisor.start()
    return LocalRun(supervisor, local, chosen, credentials)
