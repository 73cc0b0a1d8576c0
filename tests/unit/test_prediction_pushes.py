"""Predictions go to Label Studio in few requests, of bounded size."""

from __future__ import annotations

from typing import Any

import pytest

from labelloop.label_studio import LabelStudio
from labelloop.label_studio import predictions as module


def test_requests_are_bounded_by_rows_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[dict[str, Any]]] = []

    def request(self: LabelStudio, method: str, path: str, *, json: Any = None, **more: Any) -> Any:
        sent.append(json)
        return {"created": len(json)}

    monkeypatch.setattr(LabelStudio, "request", request)
    monkeypatch.setattr(module, "PUSH_BYTES", 100)
    empty = [{"task": n, "result": []} for n in range(7)]
    full = [{"task": n, "result": ["x" * 60]} for n in range(3)]
    huge = [{"task": 9, "result": ["x" * 500]}]
    with LabelStudio("http://127.0.0.1:1", "none") as client:
        assert client.push_predictions(1, [*empty, *full, *huge, *empty[:1]], chunk=5) == 12
        assert client.push_predictions(1, []) == 0
    assert [len(part) for part in sent] == [5, 3, 1, 1, 1, 1]
