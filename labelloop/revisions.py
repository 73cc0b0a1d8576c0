"""Content hashes: what tells one state of an annotation or a task from another, however often and from wherever it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import orjson


def content_hash(value: Any) -> str:
    """SHA-256 hex of a value's canonical JSON; the order of keys does not matter."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def revision_hash(result: Sequence[Any], state: str, ground_truth: bool) -> str:
    """The content hash of [result, state, ground_truth]."""
    return content_hash([list(result), state, ground_truth])


def config_hash(xml: str) -> str:
    """SHA-256 hex of a label config's text."""
    return hashlib.sha256(xml.encode()).hexdigest()


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Half of a surrogate pair, or a number beyond 64 bits: rare, and no reason to lose the task.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
