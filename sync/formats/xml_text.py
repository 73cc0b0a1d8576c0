"""Text in XML documents: escaped, and without the characters that no document may hold."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

#: Everything else is harmless as it is: most texts are.
_TO_ESCAPE = re.compile("[&<>\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PLAIN = re.compile("[A-Za-z0-9_.:/ -]*")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def xml_text(text: str) -> str:
    """Text between tags; a character that XML forbids becomes U+FFFD."""
    if not _TO_ESCAPE.search(text):
        return text
    from xml.sax.saxutils import escape  # it brings all of HTTP with it

    return escape(_FORBIDDEN.sub("\ufffd", text), {"\r": "&#13;"})


def xml_attribute(value: Any) -> str:
    """A value with its quotes; an empty text for None."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    from xml.sax.saxutils import quoteattr

    return quoteattr(_FORBIDDEN.sub("\ufffd", text))


#: `xml_attribute` of a text that comes again and again.
repeated_attribute = lru_cache(maxsize=256)(xml_attribute)
