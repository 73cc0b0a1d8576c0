"""Stand-in for what label-studio-ml 2.x wants of `predict`: a validated model, on the SDK's real PredictionValue."""

from __future__ import annotations

from label_studio_sdk.label_interface.objects import PredictionValue
from pydantic import BaseModel, ConfigDict


class ModelResponse(BaseModel):
    """Predictions, each with its version."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str | None = None
    predictions: list[list[PredictionValue] | PredictionValue]

    def has_model_version(self) -> bool:
        return bool(self.model_version)

    def update_predictions_version(self) -> None:
        for found in self.predictions:
            for each in found if isinstance(found, list) else [found]:
                each.model_version = each.model_version or self.model_version

    def set_version(self, version: str) -> None:
        self.model_version = version
        self.update_predictions_version()
