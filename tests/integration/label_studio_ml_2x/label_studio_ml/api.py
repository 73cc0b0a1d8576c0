"""Stand-in for the server of label-studio-ml 2.x: how it makes and asks a model class for each endpoint."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, request
from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse

EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


def init_app(model_class: type[LabelStudioMLBase]) -> Flask:
    """The app that serves one model class."""
    if not issubclass(model_class, LabelStudioMLBase):
        raise ValueError("expected a subclass of LabelStudioMLBase")
    app = Flask(__name__)

    @app.post("/setup")
    def setup() -> Response:
        body = request.get_json()
        model = model_class(project_id=body["project"].split(".", 1)[0], label_config=body["schema"])
        return jsonify({"model_version": model.get("model_version")})

    @app.post("/predict")
    def predict() -> Response:
        body = request.get_json()
        params = body.get("params", {})
        model = model_class(project_id=str(body["project"]).split(".", 1)[0], label_config=body["label_config"])
        answer: Any = model.predict(body["tasks"], context=params.pop("context", {}), **params)
        if isinstance(answer, ModelResponse):
            if answer.has_model_version():
                answer.update_predictions_version()
            elif model.model_version:
                answer.set_version(model.model_version)
            answer = answer.model_dump()["predictions"]
        return jsonify({"results": answer or []})

    @app.post("/webhook")
    def webhook() -> tuple[Response, int]:
        data = request.get_json()
        event = data.pop("action")
        if event not in EVENTS:
            return jsonify({"status": "Unknown event"}), 200
        model = model_class(str(data["project"]["id"]), label_config=data["project"]["label_config"])
        return jsonify({"result": model.fit(event, data), "status": "ok"}), 201

    return app
