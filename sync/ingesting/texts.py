"""Texts as they are brought in: decoded, in one normal form, and offsets into them moved along. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sync.ingesting.items import Refusal

#: What was done to a text, as the report counts it.
CHANGES = ("bom", "nul", "surrogates", "line_ends", "nfc")
_BOM = "\ufeff"
_LONE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n?")
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def decoded(content: bytes, encoding: str | None = None, at: int = 0) -> str:
    """A text of a file that begins at byte `at`; Refusal "encoding" names the byte where it is not in the encoding."""
    try:
        return content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("encoding", told(content, error, encoding, at)) from None


def told(content: bytes, error: UnicodeDecodeError, encoding: str | None, at: int = 0) -> str:
    """What is wrong with bytes that do not decode, and what to do."""
    marked = next((name for mark, name in _MARKS if at == 0 and content.startswith(mark)), None)
    looks = f"; it begins like {marked}" if marked else ""
    wrong = error.object[error.start : error.start + 1].hex()
    name = encoding or "utf-8"
    return f"not {name} at byte {at + error.start} (0x{wrong}){looks}; name its encoding with --encoding"


def cleaned(text: str) -> tuple[str, frozenset[str]]:
    """A text that every service keeps as it is, and what was changed: no BOM, no NUL, no half of a surrogate pair.

    The halves of a pair that stand together become their character; a half alone becomes U+FFFD.
    """
    if text.isascii() and "\0" not in text:
        return text, frozenset()
    changes: set[str] = set()
    if text.startswith(_BOM):
        text, changes = text.removeprefix(_BOM), changes | {"bom"}
    if "\0" in text:
        text, changes = text.replace("\0", ""), changes | {"nul"}
    if _LONE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        changes.add("surrogates")
    return text, frozenset(changes)


def normalised(text: str) -> tuple[str, frozenset[str]]:
    """A cleaned text in NFC with line ends of one newline, and what was changed."""
    text, cleaning = cleaned(text)
    changes = set(cleaning)
    if _LINE_END.search(text):
        text, changes = _LINE_END.sub("\n", text), changes | {"line_ends"}
    if not unicodedata.is_normalized("NFC", text):
        text, changes = unicodedata.normalize("NFC", text), changes | {"nfc"}
    return text, frozenset(changes)


def moved(text: str, offset: int) -> int | None:
    """Where an offset of a text (code points) stands in its normalised form; None inside what became one character."""
    head, tail = text[:offset], text[offset:]
    before = normalised(head)[0]
    if text.startswith(_BOM) and offset == 0:
        before, tail = "", text.removeprefix(_BOM)
    # A BOM that only the cut puts first is none.
    after = normalised("\0" + tail)[0]
    return len(before) if before + after == normalised(text)[0] else None


def plain(value: Any) -> Any:
    """A value of a row as JSON has it: dates as ISO texts, numbers that are none as null; texts stay as they are.

    Refusal "not_json" for bytes and whatever else has no JSON.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ == "Decimal":
        return str(value)
    raise Refusal("not_json", f"a value of type {type(value).__name__} has no place in a task; leave the column out")


def all_cleaned(value: Any) -> Any:
    """A plain value with every text in it cleaned."""
    if isinstance(value, str):
        return cleaned(value)[0]
    if isinstance(value, dict):
        return {cleaned(key)[0]: all_cleaned(each) for key, each in value.items()}
    return [all_cleaned(each) for each in value] if isinstance(value, list) else value
