"""Every prediction of a project in one answer, kept in a temporary file and looked up by id."""

from __future__ import annotations

import codecs
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Self

from labelloop.label_studio.rows import ShownPrediction, shown_prediction

_AT_ONCE = 1000
_START, _BETWEEN = re.compile(r"\s*\[\s*"), re.compile(r"[\s,]*")


class PredictionDump:
    """Predictions by id, in a database of its own that goes with its last use; only one thread may use it."""

    def __init__(self, predictions: Iterable[ShownPrediction]) -> None:
        self._database = sqlite3.connect("")  # a temporary file
        self._database.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, task, version, at, score, result)")
        rows = iter(
            (p.prediction_id, p.task_id, p.model_version, p.created_at.isoformat(), p.score, json.dumps(p.result))
            for p in predictions
        )
        while chunk := list(islice(rows, _AT_ONCE)):
            self._database.executemany("INSERT OR REPLACE INTO p VALUES (?, ?, ?, ?, ?, ?)", chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the file."""
        self._database.close()

    def of(self, prediction_ids: Sequence[int]) -> list[ShownPrediction]:
        """Those of these predictions that there were."""
        found: list[ShownPrediction] = []
        for start in range(0, len(prediction_ids), _AT_ONCE):
            chunk = prediction_ids[start : start + _AT_ONCE]
            marks = ",".join("?" * len(chunk))
            for row in self._database.execute(f"SELECT * FROM p WHERE id IN ({marks})", chunk):  # noqa: S608
                at = datetime.fromisoformat(row[3])
                found.append(ShownPrediction(row[0], row[1], row[2], at, row[4], json.loads(row[5])))
        return found


def predictions_in(chunks: Iterable[bytes]) -> Iterator[ShownPrediction]:
    """The predictions of a JSON array that comes piece by piece; ValueError where it is none or ends too early."""
    return (shown_prediction(raw) for raw in _objects(chunks))


def _objects(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    scan = json.JSONDecoder().raw_decode
    decode = codecs.getincrementaldecoder("utf-8")()
    text, skipped = "", _START
    for chunk in chunks:
        text, at = text + decode.decode(chunk), 0
        while between := skipped.match(text, at):
            at, skipped = between.end(), _BETWEEN
            if not text.startswith("{", at):
                break
            try:
                found, at = scan(text, at)
            except json.JSONDecodeError:  # the rest of it is still to come
                break
            yield found
        text = text[at:]
    if skipped is _START or text.strip() != "]":
        raise ValueError(f"expected a JSON array of predictions, got an answer that ends with {text[-80:]!r}")
