"""Tasks brought in bulk, alone or with predictions and annotations; what the server dropped is found and sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from labelloop.errors import ServiceError
from labelloop.label_studio.bounded import bounded
from labelloop.label_studio.predictions import Predictions
from labelloop.label_studio.tasks import Tasks

IMPORT_CHUNK = 1000
#: Long texts make a request large before they are many.
IMPORT_BYTES = 16_000_000

Row = Mapping[str, Any]


class Imports(Tasks, Predictions):
    """Calls that bring tasks in."""

    def import_tasks(
        self,
        project_id: int,
        tasks: Sequence[dict[str, Any]],
        progress: Callable[[int], None] | None = None,
        resent: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Import {"data", "meta", "predictions"?, "annotations"?} rows in bulk; task ids in input order.

        A prediction needs a `model_version`, and an annotation an `id`: without one Label Studio keeps no sign that it
        was imported, and it would count as a person's. When SQLite was locked
        the server answers 201 and may have dropped predictions and annotations: they are then found and sent again,
        and `resent` is told how many. On SQLite it numbers on from the highest id there is: the id of a deleted last
        task comes again. Raises ServiceError when Label Studio made another number of tasks than were sent.
        """
        ids: list[int] = []
        for chunk in bounded(tasks, _size, IMPORT_CHUNK, IMPORT_BYTES):
            answer = self.request(
                "POST",
                f"/api/projects/{project_id}/import",
                params={"return_task_ids": "true"},
                json=chunk,
                timeout_s=300,
            )
            made = answer.get("task_ids") or []
            if len(made) != len(chunk):
                raise ServiceError(
                    f"sent {len(chunk)} tasks to project {project_id} and Label Studio made {len(made)}; run the "
                    "import again: what is there already is recognised and left alone"
                )
            again = self._send_dropped(project_id, list(zip(made, chunk, strict=True)), answer)
            if again and resent is not None:
                resent(again)
            ids += made
            if progress is not None:
                progress(len(ids))
        return ids

    def add_annotation(self, task_id: int, annotation: Row) -> None:
        """Add one annotation as an imported one (65 ms); one with a `unique_id` that is there already is left alone."""
        body = {
            "result": annotation["result"],
            "import_id": annotation["id"],
            "ground_truth": annotation.get("ground_truth", False),
            "was_cancelled": annotation.get("was_cancelled", False),
        }
        body |= {key: annotation[key] for key in ("unique_id", "lead_time", "completed_by") if key in annotation}
        try:
            self.request("POST", f"/api/tasks/{task_id}/annotations/", json=body)
        except ServiceError as error:
            if error.status != 409:
                raise

    def _send_dropped(self, project_id: int, made: Sequence[tuple[int, Row]], answer: Row) -> int:
        """Send what the answer's counts say is missing of these tasks; how much that was."""
        again = 0
        if answer.get("prediction_count") != _count(made, "predictions"):
            again += self._send_predictions(project_id, made)
        if answer.get("annotation_count") != _count(made, "annotations"):
            again += self._send_annotations(project_id, made)
        return again

    def _send_predictions(self, project_id: int, made: Sequence[tuple[int, Row]]) -> int:
        wanted = [(task_id, row) for task_id, task in made for row in task.get("predictions") or ()]
        if not wanted:
            return 0
        lo, hi = min(task_id for task_id, _ in made), max(task_id for task_id, _ in made)
        there: Counter[tuple[int, str]] = Counter()
        for version in {str(row["model_version"]) for _, row in wanted}:
            for task_id, held in self.predictions_held(project_id, version, lo, hi).items():
                there[task_id, version] = len(held)
        missing = []
        for task_id, row in wanted:
            key = (task_id, str(row["model_version"]))
            there[key] -= 1
            if there[key] < 0:
                missing.append({**row, "task": task_id})
        return self.push_predictions(project_id, missing)

    def _send_annotations(self, project_id: int, made: Sequence[tuple[int, Row]]) -> int:
        wanted = [(task_id, row) for task_id, task in made for row in task.get("annotations") or ()]
        if not wanted:
            return 0
        there = {
            (task.task_id, annotation.import_id)
            for task in self.tasks_by_id(project_id, [task_id for task_id, _ in made])
            for annotation in task.annotations
        }
        missing = [(task_id, row) for task_id, row in wanted if (task_id, row["id"]) not in there]
        for task_id, row in missing:
            self.add_annotation(task_id, row)
        return len(missing)


def _size(task: dict[str, Any]) -> int:
    return len(orjson.dumps(task))


def _count(made: Sequence[tuple[int, Row]], key: str) -> int:
    return sum(len(task.get(key) or ()) for _, task in made)
