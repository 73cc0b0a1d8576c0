"""What jobs, the receiver and the command line stand on: settings, store, queue and Label Studio, opened when first used."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from labelloop.queueing import Queue
from labelloop.settings import ProjectSettings, Settings, load_settings
from labelloop.store import ProjectRow, Store, open_store

if TYPE_CHECKING:
    from labelloop.label_studio import LabelStudio
    from labelloop.media import MediaCache
    from labelloop.registry import Registry


class Runtime:
    """One process's connections; nothing is opened before it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.services = settings.services

    @cached_property
    def store(self) -> Store:
        """The store, migrated."""
        return open_store(self.services.database)

    @cached_property
    def queue(self) -> Queue:
        """Redis."""
        return Queue(self.services.redis_url, self.store.instance)

    @cached_property
    def client(self) -> LabelStudio:
        """Label Studio."""
        from labelloop.label_studio import LabelStudio

        return LabelStudio(self.services.label_studio_url, self.services.token())

    @cached_property
    def media(self) -> MediaCache:
        """Images and documents of tasks, fetched once."""
        from labelloop.media import MediaCache

        return MediaCache.of(self.services, self.client.auth_headers)

    @cached_property
    def registry(self) -> Registry:
        """MLflow."""
        from labelloop.registry import Registry

        return Registry(self.services.mlflow_uri)

    def project_settings(self, project: ProjectRow) -> ProjectSettings:
        """The project's settings: labelloop.yaml's where it names the project, else those that it was made with."""
        if project.title in self.settings.projects or not project.settings:
            return self.settings.for_project(project.title)
        return ProjectSettings.model_validate(project.settings)

    def scratch(self, name: str) -> Path:
        """A folder of this machine for work in progress."""
        folder = self.services.data.absolute() / "scratch" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self, prefix: str) -> None:
        """Remove such folders of this machine: a killed process left them. Only for who holds the lease of that work."""
        for left in (self.services.data.absolute() / "scratch").glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)


def open_runtime(config: Path | None = None) -> Runtime:
    """A runtime with the settings of the environment and labelloop.yaml."""
    return Runtime(load_settings(config))
