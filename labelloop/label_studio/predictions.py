"""Predictions in bulk: push with the count checked, count and delete by model version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from labelloop.errors import ServiceError
from labelloop.label_studio.bounded import bounded
from labelloop.label_studio.connection import Connection
from labelloop.label_studio.prediction_dump import PredictionDump, predictions_in

#: Rows of one request, and about the bytes of their regions. Each request costs Label Studio a look at the whole project: 10,000
#: rows take 7 s in one, and 65 s in ten.
PUSH_CHUNK, PUSH_BYTES = 10_000, 16 * 1024 * 1024


def _size(row: dict[str, Any]) -> int:
    return len(orjson.dumps(row["result"])) if row["result"] else 0


class Predictions(Connection):
    """Calls about predictions; a single post costs 66 ms, a bulk row 0.6 ms."""

    def push_predictions(
        self,
        project_id: int,
        rows: Sequence[dict[str, Any]],
        chunk: int = PUSH_CHUNK,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Add {"task", "result", "score", "model_version"} rows; how many were made.

        Label Studio drops rows that its config check refuses and still answers 201: ServiceError says how many are
        missing. Rows are always added, never replaced: delete the model version first when repeating.
        """
        made = 0
        for part in bounded(rows, _size, chunk, PUSH_BYTES):
            answer = self.request("POST", f"/api/projects/{project_id}/import/predictions", json=part, timeout_s=600)
            created = int(answer.get("created", 0))
            if created != len(part):
                raise ServiceError(
                    f"sent {len(part)} predictions to project {project_id} and Label Studio made {created}: "
                    f"{len(part) - created} were dropped; their labels or controls do not fit the project's config"
                )
            made += created
            if progress is not None:
                progress(made)
        return made

    def model_versions(self, project_id: int) -> dict[str, int]:
        """How many predictions there are of each model version that has any (one grouped count, 0.05 s per 2,000)."""
        answer = self.request("GET", f"/api/projects/{project_id}/model-versions/", params={"extended": "true"})
        return {str(row["model_version"]): int(row["count"]) for row in answer["static"]}

    def count_predictions(self, project_id: int, serving_id: str) -> int:
        """How many predictions a project has of one model version."""
        return self.model_versions(project_id).get(serving_id, 0)

    def delete_model_version(self, project_id: int, serving_id: str) -> int:
        """Delete all predictions of one model version; how many there were.

        Slow: Label Studio counts and saves the task of every row (3 s per 1,000 on an idle server, 9 s on a busy
        one), all in one request. `project.model_version` becomes empty if it named this version.
        """
        path = f"/api/projects/{project_id}/model-versions/"
        before = self.count_predictions(project_id, serving_id)
        if before:
            self.request("DELETE", path, json={"model_version": serving_id}, timeout_s=1800)
        return before

    def set_model_version(self, project_id: int, serving_id: str) -> None:
        """Serve in the order of this model version and show its suggestions; it must have predictions already."""
        self.request("PATCH", f"/api/projects/{project_id}/", json={"model_version": serving_id})

    def dump_predictions(self, project_id: int) -> PredictionDump:
        """Every prediction of a project in a temporary file (0.5 s per 1,000, where `predictions_of` takes 3).

        The server holds all of them in memory while it answers: for projects of up to some 100,000.
        """
        with self.streamed("/api/predictions/", params={"project": project_id}, timeout_s=600) as pieces:
            return PredictionDump(predictions_in(pieces))

    def update_prediction(self, prediction_id: int, result: list[dict[str, Any]], score: float) -> None:
        """Change what one prediction says (70 ms); its id stays, so whoever holds a task shown with it can submit."""
        self.request("PATCH", f"/api/predictions/{prediction_id}/", json={"result": result, "score": score})

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete one prediction; a label that begins from it afterwards is refused."""
        self.request("DELETE", f"/api/predictions/{prediction_id}/")
