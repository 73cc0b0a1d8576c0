"""ParagraphLabels on Paragraphs: a dialogue, one piece per turn.

Label Studio's page counts offsets in a paragraph in UTF-16 units (its other text tags count code points), so an emoji
before an entity moves it by two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.spacy_nlp.converters.labels import whole

REGION_TYPE = "paragraphlabels"


@dataclass(frozen=True)
class Dialogue:
    """The value of a Paragraphs tag: the texts of its turns."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, value: object, text_key: str = "text") -> Dialogue | None:
        """The turns of a list of objects; None when it is none. A turn without a text stays, as an empty piece."""
        if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
            return None
        said = [turn.get(text_key) for turn in value]
        return cls(tuple(text if isinstance(text, str) else "" for text in said))

    def place(self, piece: int, start: int, end: int) -> dict[str, Any]:
        text = self.texts[piece]
        return {
            "start": str(piece),
            "end": str(piece),
            "startOffset": _units(text[:start]),
            "endOffset": _units(text[:end]),
            "text": text[start:end],
        }

    def bounds(self, value: Mapping[str, Any]) -> list[tuple[int, int, int]]:
        first, last = whole(value.get("start")), whole(value.get("end"))
        begin, stop = whole(value.get("startOffset")), whole(value.get("endOffset"))
        if first is None or last is None or begin is None or stop is None:
            return []
        if not 0 <= first <= last < len(self.texts) or begin < 0 or stop > _units(self.texts[last]):
            return []
        parts = []
        for piece in range(first, last + 1):
            text = self.texts[piece]
            start = _code_points(text, begin) if piece == first else 0
            end = _code_points(text, stop) if piece == last else len(text)
            if start < end:
                parts.append((piece, start, end))
        return parts


def _units(text: str) -> int:
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def _code_points(text: str, units: int) -> int:
    """How many code points lie in the first `units` UTF-16 units of a text."""
    return len(text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "replace"))
