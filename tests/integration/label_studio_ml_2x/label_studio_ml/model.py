"""Stand-in for the base class of label-studio-ml 2.x, which no index has: its constructor, its cache, its signatures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from label_studio_sdk.label_interface import LabelInterface

#: (project, key) -> value; the original keeps it in a SQLite file.
CACHE: dict[tuple[str, str], str] = {}


class LabelStudioMLBase(ABC):
    """Made anew for every request; ends its construction with `setup`."""

    INITIAL_MODEL_VERSION = "0.0.1"
    TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    @abstractmethod
    def setup(self) -> None:
        """For subclasses: set a version, load a model."""

    def use_label_config(self, label_config: str) -> None:
        self.label_interface = LabelInterface(config=label_config)
        self.set("label_config", label_config)

    def get(self, key: str) -> str | None:
        return CACHE.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        CACHE[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def process_event(self, event: str, data: dict[str, Any], job_id: str, additional_params: dict[str, Any]) -> Any:
        if event in self.TRAIN_EVENTS:
            return self.fit(event=event, data=data, job_id=job_id, **additional_params)
        return None

    def fit(self, event: str, data: dict[str, Any], **additional_params: Any) -> Any:
        return None
