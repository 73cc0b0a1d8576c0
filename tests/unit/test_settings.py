"""Settings: file and environment, errors that name the key and the nearest known one, secrets that stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from labelloop.errors import SettingsError
from labelloop.settings import ServiceSettings, inherited_environment, load_settings, service_environment

SECRET = "s3cret-0123456789"


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labelloop.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ or {})
    assert str(caught.value).strip()
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quality:\n  agrement_threshold: 0.5", ["quality.agrement_threshold", "did you mean 'agreement_threshold'"]),
        ("qualty:\n  spot_check: 0.5", ["unknown section 'qualty'", "did you mean 'quality'"]),
        ("export:\n  zzz: 1", ["export.zzz", "known keys: format, output_dir, task, train_val_split"]),
        ("active_learning:\n  explore_share: 2", ["active_learning.explore_share", "less than or equal to 1", "got 2"]),
        ("active_learning:\n  strategy: best", ["active_learning.strategy", "'hybrid'", "got 'best'"]),
        ("quality: 5", ["quality", "got 5"]),
        ("- a\n- b", ["expected sections", "list"]),
        ("a: [", ["not valid YAML"]),
        ("projects: [a, b]", ["projects", "got a list"]),
        ("projects:\n  Cats: 5", ["projects.Cats", "got a int"]),
        ("projects:\n  Cats:\n    quality:\n      spotcheck: 1", ["projects.Cats", "did you mean 'spot_check'"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_what_was_expected(text: str, words: list[str], tmp_path: Path) -> None:
    said = refusal(file(tmp_path, text))
    assert "labelloop.yaml" in said
    assert [word for word in words if word not in said] == [], said


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.yaml")


def test_the_environment_is_over_the_file_for_every_project(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "project: {name: Base, classes: [cat]}\nquality: {spot_check: 0.3, overlap_share: 0.4}\n"
        "projects:\n  Own:\n    quality: {spot_check: 0.5}\n",
    )
    environ = {"LABELLOOP_QUALITY__OVERLAP_SHARE": "0.9", "LABELLOOP_PROJECT__CLASSES": "a, b"}
    settings = load_settings(path, environ)
    assert settings.for_project("Base").quality.spot_check == 0.3
    assert settings.for_project("Own").quality.spot_check == 0.5
    assert settings.for_project("Own").project.name == "Own"
    assert settings.for_project("never heard of").project.name == "Base"
    for title in ("Base", "Own"):
        assert settings.for_project(title).quality.overlap_share == 0.9
        assert settings.for_project(title).project.classes == ("a", "b")


def test_a_mistake_in_the_environment_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, "quality: {spot_check: 0.3}")
    said = refusal(path, {"LABELLOOP_QUALITY__SPOT_CHEK": "1"})
    assert "quality.spot_chek" in said and "did you mean 'spot_check'" in said
    assert "labelloop.yaml" not in said


def test_services_come_from_the_environment() -> None:
    environ = {
        "LABELLOOP_DATA": "/srv/loop",
        "LABELLOOP_TASK_LOCK_TTL_S": "60",
        "LABELLOOP_BACKEND_URLS": "yolo=http://a:1, spacy_nlp=http://b:2",
    }
    services = load_settings(None, environ).services
    assert services.database == "sqlite:////srv/loop/store.sqlite3" and services.artifacts == "/srv/loop/artifacts"
    assert services.task_lock_ttl_s == 60
    assert dict(services.backend_urls) == {"yolo": "http://a:1", "spacy_nlp": "http://b:2"}
    assert "name=address" in refusal(None, {"LABELLOOP_BACKEND_URLS": "http://a:1"})
    assert "task_lock_ttl_s" in refusal(None, {"LABELLOOP_TASK_LOCK_TTL_S": "a day"})


def test_secrets_are_in_no_repr_and_in_no_message(tmp_path: Path) -> None:
    environ = {
        "LABELLOOP_LABEL_STUDIO_TOKEN": SECRET,
        "LABELLOOP_WEBHOOK_SECRET": SECRET,
        "LABELLOOP_DATABASE_URL": f"postgresql://loop:{SECRET}@db:5432/loop",
        "LABELLOOP_REDIS_URL": f"redis://:{SECRET}@queue:6379/0",
        "LABELLOOP_MLFLOW_URI": f"http://mlflow:{SECRET}@registry:5000",
    }
    settings = load_settings(None, environ)
    for shown in (repr(settings), str(settings), repr(settings.services), str(settings.services), f"{settings}"):
        assert SECRET not in shown
        assert "queue:6379" in shown  # the address itself is worth seeing
    assert settings.services.token() == SECRET and settings.services.secret() == SECRET
    assert SECRET in settings.services.database
    refusal(None, environ | {"LABELLOOP_THREADS": "0"})
    refusal(file(tmp_path, "qualty: {}"), environ)


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{SECRET}\n")
    environ = {"LABELLOOP_LABEL_STUDIO_TOKEN_FILE": str(secret), "LABELLOOP_WEBHOOK_SECRET_FILE": str(secret)}
    services = load_settings(None, environ).services
    assert (services.token(), services.secret()) == (SECRET, SECRET)
    said = refusal(None, {"LABELLOOP_WEBHOOK_SECRET_FILE": str(tmp_path / "gone")})
    assert "LABELLOOP_WEBHOOK_SECRET_FILE" in said and "cannot be read" in said


def test_a_missing_secret_is_said_when_it_is_needed() -> None:
    services = load_settings(None, {}).services
    with pytest.raises(SettingsError, match="LABELLOOP_LABEL_STUDIO_TOKEN_FILE"):
        services.token()
    with pytest.raises(SettingsError, match="LABELLOOP_WEBHOOK_SECRET_FILE"):
        services.secret()


def test_a_child_process_loads_the_same_services() -> None:
    services = ServiceSettings(
        data=Path("/srv/loop"),
        label_studio_token=SecretStr(SECRET),
        backend_urls={"yolo": "http://a:1"},
        task_lock_ttl_s=0,
        reconcile_every_s=0.5,
        chromium=None,
    )
    assert load_settings(None, service_environment(services)).services == services


def test_a_child_process_inherits_no_setting_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELLOOP_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    inherited = inherited_environment()
    assert inherited["SOMETHING_ELSE"] == "kept" and SECRET not in inherited.values()


def test_model_options_come_as_a_mapping_or_as_pairs(tmp_path: Path) -> None:
    file = tmp_path / "labelloop.yaml"
    file.write_text("active_learning: {model_options: {features: hashing}}", encoding="utf-8")
    assert load_settings(file, {}).defaults.active_learning.model_options == {"features": "hashing"}
    environ = {"LABELLOOP_ACTIVE_LEARNING__MODEL_OPTIONS": "tile=640, half=true"}
    assert load_settings(file, environ).defaults.active_learning.model_options["tile"] == 640
    with pytest.raises(SettingsError, match="model_options"):
        load_settings(file, {"LABELLOOP_ACTIVE_LEARNING__MODEL_OPTIONS": "tile"})
