"""A template that no backend learns makes a project all the same: nothing is wired, and no training starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sync.projects
from backends import BACKENDS, NO_BACKEND, backend_entry, backend_module
from labelloop.cli import app
from labelloop.errors import UsageError
from labelloop.queueing import Queue
from labelloop.settings import ProjectSettings, ServiceSettings, Settings
from sync.projects import create_project
from sync.reconcile import trigger_training
from sync.runtime import Runtime
from templates.catalogue import load_template


class Remote:
    """A Label Studio that takes every project and notes what is wired."""

    def __init__(self) -> None:
        self.backends: list[str] = []

    def project_titled(self, title: str) -> None:
        assert title

    def create_project(self, title: str, label_config: str, **_: Any) -> dict[str, Any]:
        return {"id": 7, "title": title, "label_config": label_config}

    def ensure_ml_backend(self, project_id: int, url: str, *_: Any) -> None:
        self.backends.append(f"{project_id} {url}")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(Settings(services=ServiceSettings(data=tmp_path)))
    yield made
    made.store.close()


@pytest.mark.parametrize("name", ["rating", "text_classification"])
def test_a_backend_is_wired_where_the_template_names_one(name: str, runtime: Runtime) -> None:
    template, remote = load_template(name), Remote()
    settings = ProjectSettings.model_validate(template.defaults)
    made: Any = (remote, runtime.store, template, "P", template.example_classes, settings)
    assert create_project(*made, backend_url="http://127.0.0.1:9090") == 7
    project = runtime.store.project(7)
    assert project is not None and project.label_config == template.config
    wired = [f"7 {url}" for url in ("http://127.0.0.1:9090",)] if template.backend else []
    assert (project.backend, remote.backends) == (template.backend or NO_BACKEND, wired)


@pytest.mark.parametrize(
    ("name", "there", "kept"),
    [
        ("rating", "rating", True),
        ("rating", "pairwise", False),
        ("pairwise", "rating", False),
        ("text_taxonomy", "text_classification", False),
    ],
)
def test_a_project_of_that_title_keeps_its_config_where_it_asks_the_same(
    name: str, there: str, kept: bool, runtime: Runtime
) -> None:
    old = load_template(there).config.replace("<View>", "<View><!-- by hand -->", 1).replace('"comment"', '"why"')
    changed: list[str] = []

    class There(Remote):
        def project_titled(self, title: str) -> Any:
            shown = {"sampling": sync.projects.SAMPLING, "show_collab_predictions": True, "expert_instruction": "x"}
            return {"id": 7, "title": title, "label_config": old, **shown}

        def update_project(self, project_id: int, label_config: str) -> dict[str, Any]:
            changed.append(label_config)
            return {"id": project_id, "label_config": label_config}

    template = load_template(name)
    made: Any = (There(), runtime.store, template, "P", template.example_classes, ProjectSettings())
    create_project(*made)
    assert changed == ([] if kept else [template.config])
    project = runtime.store.project(7)
    assert project is not None and project.label_config == (old if kept else template.config)


def test_no_training_starts_or_is_asked_for(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = load_template("pairwise")
    made: Any = (Remote(), runtime.store, template, "Answers", (), ProjectSettings())
    create_project(*made)
    project = runtime.store.project(7)
    assert project is not None and runtime.project_settings(project).active_learning.enabled
    for now in (False, True):
        decision, training = trigger_training(runtime, project, now=now)
        assert (decision.train, training) == (False, None) and "no backend learns" in decision.reason
    asked: list[int] = []
    monkeypatch.setattr(Queue, "request_training", lambda _, project_id: asked.append(project_id))
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", "Answers"])
    assert isinstance(result.exception, UsageError) and "--backend NAME" in str(result.exception) and asked == []


def test_no_backend_is_called_none() -> None:
    assert NO_BACKEND not in BACKENDS
    for find in (backend_entry, backend_module):
        with pytest.raises(UsageError, match="no backend learns"):
            find(NO_BACKEND)


@pytest.mark.parametrize(
    ("arguments", "backend"), [((), None), (("--backend", "sklearn_text"), "sklearn_text")], ids=["none", "named"]
)
def test_the_command_makes_it_with_the_defaults_of_the_template(
    arguments: tuple[str, ...], backend: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def made(_client: Any, _store: Any, template: Any, _title: str, classes: Any, settings: Any, **more: Any) -> int:
        seen.extend((template, list(classes), settings, more["backend_url"]))
        return 1

    monkeypatch.setattr(sync.projects, "create_project", made)
    for name, value in {
        "DATA": str(tmp_path),
        "LABEL_STUDIO_TOKEN": "t",
        "BACKEND_URLS": "sklearn_text=http://b",
    }.items():
        monkeypatch.setenv(f"LABELLOOP_{name}", value)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["project", "create", "Stars", "--template", "rating", *arguments])
    assert result.exit_code == 0, result.exception
    template, classes, settings, url = seen
    assert (template.backend, classes, url) == (backend, [], "http://b" if backend else None)
    assert not settings.active_learning.enabled and settings.export.format == "jsonl"


def test_classes_for_a_template_without_are_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.setenv("LABELLOOP_LABEL_STUDIO_TOKEN", "t")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["project", "create", "S", "--template", "rating", "--classes", "good,bad"])
    assert isinstance(result.exception, UsageError) and "'rating' takes no classes" in str(result.exception)
