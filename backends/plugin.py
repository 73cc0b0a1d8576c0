"""Each backend as a plugin of the `label-studio-ml` package: one shim for its published 1.0.9 and for its 2.x line.

Both make an instance of the plugin's class for nearly every request. So an instance holds nothing: what it answers with
is shared by all of a process, follows the store like our own server, and gives the same answers. Nothing trains here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from backends import backend_module
from backends.answering import Answer, Answering, read_request
from backends.connections import connect
from backends.serving import ServedModels
from labelloop.errors import UsageError
from labelloop.hints import START_TRAINING, HintSender, event_name, project_of
from labelloop.http_serving import is_authorized
from labelloop.settings import ServiceSettings, load_settings

#: Seconds after the first request of a process in which /predict waits for the models that are being loaded.
FIRST_LOOK_S = 30.0
#: The same for /setup, of whose answer Label Studio waits 3 s.
SETUP_WAIT_S = 1.0


class PluginService:
    """What the instances of a plugin share in one process: the served models, their answers and the hints."""

    def __init__(self, backend_name: str, services: ServiceSettings) -> None:
        real = connect(backend_name, services)
        self.models = ServedModels(backend_name, real.loader, real.store, services.data / "backends" / backend_name)
        self.hints = HintSender(real.queue)
        self._answering = Answering(self.models, real.store, real.media, budget_s=services.predict_budget_s)
        self._settled_at = time.monotonic() + FIRST_LOOK_S
        self.models.start()

    def close(self) -> None:
        """End the threads; hints that nobody has taken yet are dropped."""
        self.models.stop()
        self.hints.close()

    def serving_id(self, project: Any) -> str:
        """What Label Studio is to know as the model version of a project."""
        project_id = project_of(project)
        self._wait_for(project_id, SETUP_WAIT_S)
        row = self.models.row(project_id)
        return row.serving_id if row else f"{self.models.backend_name}-none"

    def answer(self, tasks: Any, project: Any, label_config: Any) -> list[Answer]:
        """One answer per task, as our own server gives them; DataError for something else than tasks and a config."""
        asked = read_request({"tasks": tasks, "project": project, "label_config": label_config})
        self._wait_for(asked.project_id, FIRST_LOOK_S)
        answers = self._answering.answer(asked)
        if asked.project_id is not None and any(answer.reason == "deadline" for answer in answers):
            self.hints.give("predict", asked.project_id)
        return answers

    def take(self, event: Any, project: Any) -> bool:
        """Hand an event on as a hint, as our own server does, without waiting; whether it named a project."""
        project_id = project_of(project)
        if project_id is not None:
            self.hints.give("train" if event == START_TRAINING else "reconcile", project_id)
        return project_id is not None

    def _wait_for(self, project_id: int | None, limit_s: float) -> None:
        """Let a process that has just begun load its models, rather than answer that there are none."""
        until = min(self._settled_at, time.monotonic() + limit_s)
        while self.models.row(project_id) is None and self.models.not_ready() and time.monotonic() < until:
            time.sleep(0.02)


class OncePerProcess:
    """Makes a service at the first call, and again in a child process: threads and connections survive no fork."""

    def __init__(self, make: Callable[[], PluginService]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, PluginService] | None = None

    def __call__(self) -> PluginService:
        """The service of this process."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), self._make())
            return self._made[1]


class LabelloopPlugin:
    """What a plugin adds to `LabelStudioMLBase`; `plugin_class` puts the two together."""

    service: ClassVar[OncePerProcess]
    #: The 2.x base class sets it; for 1.0.9 the manager below does.
    project_id: Any = None
    label_config: Any
    if TYPE_CHECKING:

        def set(self, key: str, value: str) -> None: ...

    def setup(self) -> None:
        """2.x calls this at the end of `__init__`, and answers /setup with the version that is set here."""
        self.set("model_version", type(self).service().serving_id(self.project_id))

    def predict(self, tasks: Sequence[Any], context: Any = None, **params: Any) -> Any:
        """One prediction per task: a list for 1.0.9, a ModelResponse where there is that class."""
        project = self.project_id or _project_named_by(tasks)
        return _response(type(self).service().answer(tasks, project, self.label_config))

    def process_event(self, event: Any, data: Any, *_: Any, **__: Any) -> None:
        """Every event is a hint, whatever the base class takes for an event that trains."""
        self.fit(event, data)

    def fit(self, first: Any = None, second: Any = None, /, **named: Any) -> None:
        """Hand the event on and return; called (event, data) by 2.x and (tasks, event=, data=) by 1.0.9."""
        data = named.get("data", second)
        project = data.get("project") if isinstance(data, dict) else None
        type(self).service().take(named.get("event", first), project or self.project_id)


def _project_named_by(tasks: Any) -> Any:
    """The project that a request's tasks say they are of; all are of one."""
    named = (task.get("project") for task in tasks if isinstance(task, dict)) if isinstance(tasks, list) else iter(())
    return next((project for project in named if project is not None), None)


def _response(answers: Sequence[Answer]) -> Any:
    """Answers as `predict` returns them; the reason codes stay with 1.0.9, whose results are not validated."""
    results = [answer.as_json() for answer in answers]
    if find_spec("label_studio_ml.response") is None:
        return results
    return import_module("label_studio_ml.response").ModelResponse(predictions=results)


# -- 1.0.9: the server asks a manager, which keeps one model for whatever project was set up last -------------------------


@dataclass(frozen=True)
class _Current:
    """What the server reads of a manager's model."""

    model: LabelloopPlugin
    model_version: str


class PluginManager:
    """What replaces the methods of 1.0.9's manager that its endpoints call.

    The manager itself answers /setup with "INITIAL", which makes Label Studio predict every task anew each time; it
    loses the project and the label config on the way to `predict`; and it forks a process for every webhook and keeps
    its body, with a token in it, on disk for ever.
    """

    model_class: ClassVar[Any]
    init_kwargs: ClassVar[dict[str, Any]]

    @classmethod
    def _model(cls, project: Any, label_config: Any, params: dict[str, Any]) -> Any:
        """A model that knows its project; the base class gets no label config, as its parser reads fewer than ours."""
        model = cls.model_class(**params, **cls.init_kwargs)
        model.project_id, model.label_config = project, label_config
        return model

    @classmethod
    def fetch(
        cls, project: Any = None, label_config: Any = None, force_reload: bool = False, **params: Any
    ) -> _Current:
        """For /setup: the serving id."""
        return _Current(cls._model(project, label_config, params), cls.model_class.service().serving_id(project))

    @classmethod
    def predict(
        cls,
        tasks: Any,
        project: Any = None,
        label_config: Any = None,
        force_reload: bool = False,
        try_fetch: bool = True,
        **params: Any,
    ) -> tuple[Any, _Current]:
        """For /predict: the predictions, and who made them."""
        model = cls._model(project, label_config, {})
        predictions = model.predict(tasks, **params)  # the first of a process waits for the version that is served
        return predictions, _Current(model, cls.model_class.service().serving_id(project))

    @classmethod
    def webhook(cls, event: Any, data: dict[str, Any]) -> dict[str, bool]:
        """For /webhook: whether the event named a project."""
        return {"accepted": cls.model_class.service().take(event, data.get("project"))}

    @classmethod
    def train(cls, tasks: Any, project: Any = None, label_config: Any = None, **params: Any) -> None:
        """For /train, which Label Studio before 1.5 called: a training is asked for, and no job of this server's made."""
        cls.model_class.service().take(START_TRAINING, project)

    @classmethod
    def is_training(cls, project: Any) -> dict[str, Any]:
        """For /is_training: never here."""
        return {"is_training": False, "model_version": cls.model_class.service().serving_id(project)}

    @classmethod
    def _get_models_from_workdir(cls, project: Any) -> list[str]:
        """For /versions."""
        return [cls.model_class.service().serving_id(project)]


def _replace_manager(services: ServiceSettings) -> None:
    """Let the server's endpoints ask a manager of ours: they look it up in their module at each request."""
    api: Any = import_module("label_studio_ml.api")
    if not isinstance(api._manager, PluginManager):
        api._manager = type("LabelloopManager", (PluginManager, api.LabelStudioMLManager), {})()
        if services.backend_login is not None:
            api._server.before_request(_password_check(*services.backend_login))


def _password_check(user: str, password: str) -> Callable[[], tuple[dict[str, str], int] | None]:
    """What asks for the backend's password where our own server does; the server of 1.0.9 has none to ask for."""
    request = import_module("flask").request
    api: Any = import_module("label_studio_ml.api")

    def check() -> tuple[dict[str, str], int] | None:
        if request.path == "/health" or is_authorized(request.headers.get("Authorization"), user, password):
            return None
        if request.path == "/webhook":  # Label Studio's automatic webhook has no credentials, and an event is a hint
            body = request.get_json(force=True, silent=True)
            project_id = project_of(body.get("project")) if event_name(body) not in (None, START_TRAINING) else None
            if project_id is not None and api._manager.model_class.service().models.knows(project_id):
                return None
        return {"error": "expected the backend's credentials: Authorization: Basic with user and password"}, 401

    return check


# -- both -----------------------------------------------------------------------------------------------------------------


def plugin_class(name: str, config: Path | None = None) -> type[LabelloopPlugin]:
    """The `LabelStudioMLBase` class of a backend, for a `model.py`; settings as for our own server.

    Nothing is opened or loaded before the first request. Raises UsageError for an unknown backend, for missing
    libraries and where label-studio-ml is missing, and SettingsError.
    """
    backend_module(name)
    if find_spec("label_studio_ml") is None:
        raise UsageError("label-studio-ml is not installed in this environment: pip install label-studio-ml==1.0.9")
    services = load_settings(config).services
    published: Any = import_module("label_studio_ml.model")
    if hasattr(published, "LabelStudioMLManager"):
        _replace_manager(services)
    members = {"service": OncePerProcess(lambda: PluginService(name, services)), "__doc__": f"labelloop's {name}."}
    # Made by call, because the base class is there in some environments only.
    return type(f"Labelloop_{name}", (LabelloopPlugin, published.LabelStudioMLBase), members)
