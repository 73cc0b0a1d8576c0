"""Where a span really lies in its text: Label Studio counts code points, older data counts UTF-16 units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def span_offsets(text: str, value: Mapping[str, Any]) -> tuple[int, int] | str:
    """(start, end) in code points, or why there are none.

    Offsets are checked with `value.text` where it is there; on a mismatch they are read as UTF-16 units, and when that
    does not fit either, the span is refused rather than guessed.
    """
    start, end = value.get("start"), value.get("end")
    if not isinstance(start, int) or not isinstance(end, int):
        return "offset_missing: start and end are not whole numbers"
    said = value.get("text")
    if 0 <= start < end <= len(text) and (not isinstance(said, str) or _same(text[start:end], said)):
        return start, end
    if isinstance(said, str):
        older = from_utf16(text, start), from_utf16(text, end)
        if older[0] is not None and older[1] is not None and older[0] < older[1]:
            fits = _same(text[older[0] : older[1]], said)
            if fits:
                return older[0], older[1]
        return f"offset_mismatch: the text at {start}:{end} is not the text that was marked"
    return f"offset_outside: {start}:{end} is not inside the text of {len(text)} characters"


def from_utf16(text: str, offset: int) -> int | None:
    """The code point at a UTF-16 offset, or None when it is outside the text or inside a surrogate pair."""
    units = 0
    for position, character in enumerate(text):
        if units == offset:
            return position
        units += 2 if ord(character) > 0xFFFF else 1
    return len(text) if units == offset else None


def _same(found: str, said: str) -> bool:
    # The editor writes a line break into value.text as a backslash and an n.
    return found == said or found.replace("\r", "\\n").replace("\n", "\\n") == said.replace("\n", "\\n")
