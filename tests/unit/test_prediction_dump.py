"""A project's predictions read piece by piece, wherever the pieces are cut, and looked up by id."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.label_studio import ShownPrediction
from labelloop.label_studio.prediction_dump import PredictionDump, predictions_in

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def raw(prediction_id: int, text: str = 'ß, [{"}] 😀') -> dict[str, Any]:
    return {
        "id": prediction_id, "task": prediction_id + 1000, "model_version": "v1", "score": 0.5,
        "created_at": "2026-01-02T03:04:05.678901Z", "result": [{"value": {"text": text}}],
    }  # fmt: skip


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


@settings(deadline=None)
@given(st.integers(0, 5), st.integers(1, 400), st.sampled_from([None, 2]), st.booleans())
def test_they_are_found_wherever_the_answer_is_cut(count: int, size: int, indent: int | None, escaped: bool) -> None:
    content = json.dumps([raw(n) for n in range(count)], indent=indent, ensure_ascii=escaped).encode()
    found = list(predictions_in(pieces(content, size)))
    assert found == [ShownPrediction(n, n + 1000, "v1", AT, 0.5, raw(n)["result"]) for n in range(count)]


@pytest.mark.parametrize("content", [b"", b"[", b'{"detail": "no"}', b"<html>", json.dumps([raw(1)]).encode()[:-1]])
def test_an_answer_that_is_cut_short_or_none_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JSON array"):
        list(predictions_in(pieces(content, 7)))


def test_they_are_looked_up_by_id() -> None:
    made = [ShownPrediction(n, n, "", AT, None, [{"text": "half \\ud83d"}]) for n in range(2500)]
    with PredictionDump(made) as dump:
        assert dump.of([7, 2400, 9999]) == [made[7], made[2400]]
        assert len(dump.of(list(range(5000)))) == 2500
