"""The client of a stock Label Studio: `LabelStudio(url, token)`, one class put together from one module per noun."""

from __future__ import annotations

from labelloop.label_studio.imports import Imports
from labelloop.label_studio.projects import Projects
from labelloop.label_studio.rows import (
    AnnotationRow,
    HeldPrediction,
    Person,
    ProjectCounts,
    ShownPrediction,
    SweptTask,
    TaskMark,
    TaskRow,
)
from labelloop.label_studio.views import Views
from labelloop.label_studio.wiring import SECRET_HEADER, Wiring

__all__ = [
    "SECRET_HEADER",
    "AnnotationRow",
    "HeldPrediction",
    "LabelStudio",
    "Person",
    "ProjectCounts",
    "ShownPrediction",
    "SweptTask",
    "TaskMark",
    "TaskRow",
]


class LabelStudio(Projects, Imports, Views, Wiring):
    """A Label Studio server as one account (legacy or personal access token)."""
