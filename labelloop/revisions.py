"""The content hash that tells one state of an annotation from another, however often and from wherever it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson


def revision_hash(result: Sequence[Any], state: str, ground_truth: bool) -> str:
    """SHA-256 hex of the canonical JSON of [result, state, ground_truth]; the order of keys does not matter."""
    content = orjson.dumps([list(result), state, ground_truth], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()
