"""Settings, read once: `labelloop.yaml` for projects, the environment for services and secrets. No other module reads it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from labelloop.errors import SettingsError

_Model = TypeVar("_Model", bound=BaseModel)
Share = Annotated[float, Field(ge=0.0, le=1.0)]


#: The part of an address before the host that holds a password.
_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]+@")


def _listed(value: Any) -> Any:
    """A comma-separated string (as an environment variable gives it) as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _paired(value: Any) -> Any:
    """`key=value` pairs, comma-separated as an environment variable gives them, as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in _listed(value)]
    return (
        {key.strip(): yaml.safe_load(text) for key, found, text in pairs if found}
        if all(p[1] for p in pairs)
        else value
    )


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProjectSection(_Section):
    """What a project is: its title in Label Studio, its template and its classes."""

    name: str | None = None
    task_type: str | None = None
    classes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()


class QualitySection(_Section):
    """How many people see a task, and what agreement is enough."""

    min_annotators_per_sample: int = Field(default=2, ge=1)
    overlap_share: Share = 0.15
    agreement_threshold: Share = 0.75
    agreement_alarm: float = Field(default=0.7, ge=-1.0, le=1.0)
    review_gate: bool = True
    auto_flag_low_confidence: bool = True
    spot_check: Share = 0.1
    check_every_n_labels: int = Field(default=200, ge=1)
    reviewers: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()


class ActiveLearningSection(_Section):
    """When a project retrains and in which order its tasks are served."""

    enabled: bool = True
    strategy: Literal[
        "hybrid", "uncertainty", "least_confidence", "entropy", "committee", "class_balance", "diversity", "k_center",
        "random",
    ] = "hybrid"  # fmt: skip
    explore_share: Share = 0.2
    blind_share: Share = 0.1
    model_checkpoint: str | None = None
    model_options: Annotated[Mapping[str, str | int | float | bool], BeforeValidator(_paired)] = Field(
        default_factory=dict
    )
    warm_start: Literal["none", "champion"] = "none"
    query_batch_size: int = Field(default=100, ge=1)
    retrain_every_n_labels: int = Field(default=500, ge=1)
    retrain_every_hours: float | None = Field(default=None, gt=0)
    holdout: Share = 0.1
    holdout_min_items: int = Field(default=100, ge=1)
    gate_min_items: int = Field(default=100, ge=10)
    gate_min_objects: int = Field(default=150, ge=10)
    epochs: int | None = Field(default=None, ge=1)
    max_training_minutes: float | None = Field(default=None, gt=0)


class ExportSection(_Section):
    """What leaves by default, and where to."""

    format: Literal["coco", "voc", "yolo", "spacy", "huggingface", "csv", "jsonl", "conll", "parquet"] = "coco"
    task: str | None = None
    output_dir: str = "./labeled_data"
    train_val_split: Share = 0.85


class ProjectSettings(_Section):
    """The four sections as they hold for one project."""

    project: ProjectSection = ProjectSection()
    quality: QualitySection = QualitySection()
    active_learning: ActiveLearningSection = ActiveLearningSection()
    export: ExportSection = ExportSection()


class ServiceSettings(_Section):
    """Where the services are and what opens them; `repr` hides the secrets."""

    data: Path = Path(".labelloop")
    label_studio_url: str = "http://127.0.0.1:8080"
    label_studio_token: SecretStr | None = None
    redis_url: str = "redis://127.0.0.1:6379/0"
    mlflow_uri: str = "http://127.0.0.1:5000"
    database_url: str | None = None
    artifacts_uri: str | None = None
    webhook_secret: SecretStr | None = None
    backend_user: str = Field(default="labelloop", pattern=r"^[^:\s]+$")
    backend_password: SecretStr | None = None
    predict_budget_s: float = Field(default=50.0, gt=0, le=85.0)
    receiver_url: str | None = None
    backend_urls: Mapping[str, str] = Field(default_factory=dict)
    task_lock_ttl_s: int = Field(default=86400, ge=0)
    reconcile_every_s: float = Field(default=5.0, gt=0)
    sweep_every_s: float = Field(default=180.0, gt=0)
    image_max_mb: float = Field(default=50.0, gt=0)
    image_max_megapixels: float = Field(default=89.0, gt=0, le=178.0)
    media_hosts: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    media_buckets: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    media_folder: Path | None = None
    media_cache_mb: float = Field(default=2048.0, gt=0)
    media_timeout_s: float = Field(default=20.0, gt=0)
    device: str = "cpu"
    threads: int = Field(default=2, ge=1)
    train_nice: int = Field(default=10, ge=0, le=19)
    train_gpu_memory: float = Field(default=0.8, gt=0.0, le=1.0)
    chromium: str | None = None
    log_level: str = "INFO"

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """The fields, without the passwords that addresses may carry."""
        for name, value in super().__repr_args__():
            yield name, _PASSWORD.sub(r"\1***@", value) if isinstance(value, str) else value

    @cached_property
    def database(self) -> str:
        """SQLAlchemy address of the store; a SQLite file in the data folder by default."""
        return self.database_url or f"sqlite:///{(self.data / 'store.sqlite3').absolute()}"

    @cached_property
    def artifacts(self) -> str:
        """Where dataset versions and model artefacts lie: a folder or an fsspec address."""
        return self.artifacts_uri or str((self.data / "artifacts").absolute())

    def token(self) -> str:
        """The Label Studio token; SettingsError says where to put it."""
        if self.label_studio_token is None:
            raise SettingsError(
                "no Label Studio token; set LABELLOOP_LABEL_STUDIO_TOKEN, or LABELLOOP_LABEL_STUDIO_TOKEN_FILE to a file "
                "that holds it (Label Studio: Account & Settings, Access Token)"
            )
        return self.label_studio_token.get_secret_value()

    def secret(self) -> str:
        """The webhook secret; SettingsError says where to put it."""
        if self.webhook_secret is None:
            raise SettingsError("no webhook secret; set LABELLOOP_WEBHOOK_SECRET or LABELLOOP_WEBHOOK_SECRET_FILE")
        return self.webhook_secret.get_secret_value()

    @property
    def backend_login(self) -> tuple[str, str] | None:
        """User and password that a backend asks for; None without a password."""
        password = self.backend_password.get_secret_value() if self.backend_password is not None else ""
        return (self.backend_user, password) if password else None


class Settings(_Section):
    """Everything that was configured, validated once."""

    services: ServiceSettings = ServiceSettings()
    defaults: ProjectSettings = ProjectSettings()
    projects: Mapping[str, ProjectSettings] = Field(default_factory=dict)

    def for_project(self, title: str) -> ProjectSettings:
        """The settings of the project of that title: its own, or the defaults."""
        return self.projects.get(title, self.defaults)


_SECTIONS = tuple(ProjectSettings.model_fields)
_SECRETS = ("label_studio_token", "webhook_secret", "backend_password")


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(sorted(known))}"


def _explain(error: ErrorDetails, model: type[BaseModel], where: str) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        current: Any = model
        for part in error["loc"][:-1]:
            current = current.model_fields[str(part)].annotation
        return f"{where}: unknown key {path!r}{_nearest(str(error['loc'][-1]), list(current.model_fields))}"
    return f"{where}: {path or 'value'}: {error['msg']} (got {error['input']!r})"


def _validated(model: type[_Model], values: Mapping[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        hidden = [e for e in error.errors() if str(e["loc"][0] if e["loc"] else "") not in _SECRETS]
        raise SettingsError("\n".join(_explain(e, model, where) for e in hidden or error.errors()[:0])) from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = (
            _merged(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), Mapping) else value
        )
    return out


def _from_file(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; give --config another file") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path}: expected sections such as 'project:', got a {type(loaded).__name__}")
    return loaded


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    """`value` where it is a mapping or nothing; SettingsError says what it is instead."""
    if value is not None and not isinstance(value, Mapping):
        raise SettingsError(f"{where}: expected keys and values, got a {type(value).__name__}")
    return value or {}


def _service_values(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ServiceSettings.model_fields:
        variable = f"LABELLOOP_{name.upper()}"
        if environ.get(variable):
            values[name] = environ[variable]
        if name in _SECRETS and environ.get(variable + "_FILE"):
            file = Path(environ[variable + "_FILE"])
            try:
                values[name] = file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsError(f"{variable}_FILE names {file}, which cannot be read: {error.strerror}") from error
            if not values[name]:
                raise SettingsError(f"{variable}_FILE names {file}, which is empty; write the secret into it")
    if "backend_urls" in values:
        pairs = [pair.partition("=") for pair in _listed(values["backend_urls"])]
        if any(not url for _, _, url in pairs):
            raise SettingsError("LABELLOOP_BACKEND_URLS: expected name=address pairs, as in yolo=http://127.0.0.1:9091")
        values["backend_urls"] = {name: url for name, _, url in pairs}
    return values


def _section_overrides(environ: Mapping[str, str]) -> dict[str, Any]:
    over: dict[str, dict[str, Any]] = {}
    for variable, value in environ.items():
        section, found, key = variable.removeprefix("LABELLOOP_").partition("__")
        if variable.startswith("LABELLOOP_") and found and section.lower() in _SECTIONS:
            over.setdefault(section.lower(), {})[key.lower()] = value
    return over


def load_settings(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `file` (default: ./labelloop.yaml where there is one) and the environment.

    `LABELLOOP_SECTION__KEY` overrides a key for every project. Raises SettingsError that names the key and the nearest known one.
    """
    env = os.environ if environ is None else environ
    path = file or (Path("labelloop.yaml") if Path("labelloop.yaml").is_file() else None)
    raw = _from_file(path) if path else {}
    where = str(path) if path else "environment"
    known = [*_SECTIONS, "projects"]
    for key in raw:
        if key not in known:
            raise SettingsError(f"{where}: unknown section {key!r}{_nearest(str(key), known)}")
    over = _section_overrides(env)
    _validated(ProjectSettings, over, "environment")
    base = {name: raw[name] or {} for name in _SECTIONS if name in raw}
    defaults = _validated(ProjectSettings, _merged(base, over), where)
    titled = _mapping(raw.get("projects"), f"{where}: projects")
    projects = {
        str(title): _validated(
            ProjectSettings,
            _merged(
                _merged(_merged(base, {"project": {"name": str(title)}}), _mapping(own, f"{where}: projects.{title}")),
                over,
            ),
            f"{where}: projects.{title}",
        )
        for title, own in titled.items()
    }
    if defaults.project.name and defaults.project.name not in projects:
        projects[defaults.project.name] = defaults
    services = _validated(ServiceSettings, _service_values(env), "environment")
    return Settings(services=services, defaults=defaults, projects=projects)


def service_environment(services: ServiceSettings) -> dict[str, str]:
    """The environment variables with which a child process loads the same service settings."""
    out: dict[str, str] = {}
    for name, value in services:
        if value is None:
            continue
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
        elif isinstance(value, Mapping):
            text = ",".join(f"{key}={url}" for key, url in value.items())
        elif isinstance(value, tuple):
            text = ",".join(value)
        else:
            text = str(value)
        if text:
            out[f"LABELLOOP_{name.upper()}"] = text
    return out


def inherited_environment() -> dict[str, str]:
    """This process's environment without labelloop's own variables: what a child process starts from."""
    return {key: value for key, value in os.environ.items() if not key.startswith("LABELLOOP_")}


#: What libraries read to know how many threads to start.
THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def set_library_environment(values: Mapping[str, str]) -> None:
    """Set variables that a third-party library reads from the environment at its import; call before importing it."""
    os.environ.update(values)
