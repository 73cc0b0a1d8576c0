"""Texts as tokens and sentences: a tokenizer of rules that never loses its place, nor cuts a span that somebody marked."""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

#: The key of a task's meta under which the tokens of its text are noted.
TOKENS = "tokens"

#: Each of these is a token by itself: punctuation and symbols of many scripts, and emoji.
_SYMBOLS = (
    "!-/:-@\\[-^`{-~\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u055a-\u055f\u0589\u058a\u05be"
    "\u05c0\u05c3\u05f3\u05f4\u0609-\u060d\u061b\u061f\u066a\u066d\u06d4\u0964\u0965\u104a\u104b\u1361-\u1368\u17d4-\u17da"
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20cf\u2190-\u245f\u2500-\u2bff\u2e00-\u2e5d\u3001-\u3003\u3008-\u3020\u3030"
    "\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffee\U0001f000-\U0001faff"
)
#: So is each of these: scripts that write words without spaces between them, and name characters one by one.
_IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fffd"
)
#: What belongs to the character before it: accents, variation selectors, skin tones.
_MARKS = (
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff]*"
)
_TOKEN = re.compile(
    rf"\d+(?:[.,:]\d+)+"  # 1,000.50 and 12:30
    rf"|[^\s{_SYMBOLS}{_IDEOGRAPHS}]+"  # a word of any script
    rf"|['\u2019](?:s|t|re|ve|m|ll|d)(?!\w)"  # the end of John's and we'll
    rf"|[\U0001f1e6-\U0001f1ff]{{2}}"  # a flag
    rf"|\S{_MARKS}(?:\u200d\S{_MARKS})*"  # a symbol, also one of several joined
)
_LINE_BREAKS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
#: After these no white space is needed.
_FULL_STOPS = "\u3002\uff01\uff1f"
#: Where a sentence may end: what ends it, what closes after that, and white space; or a line break with white space.
_END = re.compile(
    f"[.!?\u2026\u061f\u06d4\u0964{_FULL_STOPS}{_LINE_BREAKS}]"
    rf"(?:(?<![{_LINE_BREAKS}])[^\w\s(\[{{\u201c\u2018\u300c\u300e\uff08\u3010]+)?\s*"
)
#: Words (or a letter) after which a full stop ends no sentence.
_ABBREVIATED = re.compile(
    r"\b(?:\w|adj|adm|al|apr|aug|ave|bros|capt|cf|co|col|corp|dec|dept|dr|ed|est|etc|feb|fig|ft|gen|gov|hon|inc|jan|jr|jul"
    r"|jun|lt|ltd|mar|mr|mrs|ms|mt|nos?|nov|oct|op|pp?|prof|rep|rev|sec|sen|sept?|sgt|sr|st|univ|vol|vs)\Z",
    re.IGNORECASE,
)
#: Longer than any of them.
_LOOK_BACK = 6


def tokens_between(text: str, begin: int, end: int) -> list[str]:
    """The tokens in a stretch of a text; white space is between them, everything else is in one."""
    return _TOKEN.findall(text, begin, end)


def given_tokens_between(starts: Sequence[int], text: str, begin: int, end: int) -> list[str]:
    """The same by the tokens that a text came with; `starts` are their first characters, in order."""
    cuts = [begin, *starts[bisect_right(starts, begin) : bisect_left(starts, end)], end]
    return [token for a, b in pairwise(cuts) for token in text[a:b].split()]


def starts_of(text: str, tokens: Sequence[str]) -> list[int] | None:
    """Where the tokens of a text begin; None when they are not its tokens, with nothing but white space between them."""
    starts = []
    at = 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0 or (start > at and not text[at:start].isspace()):
            return None
        starts.append(start)
        at = start + len(token)
    return None if text[at:].strip() else starts


def token_map(text: str, starts: Sequence[int]) -> dict[str, Any]:
    """What a task's meta keeps (under TOKENS) of the tokens with which its text came."""
    return {"starts": list(starts), "crc32": _checksum(text)}


def given_starts(meta: Mapping[str, Any], text: str) -> list[int] | None:
    """Where the tokens begin with which a text came; None where nobody noted them, or of another text."""
    noted = meta.get(TOKENS)
    starts = noted.get("starts") if isinstance(noted, Mapping) and noted.get("crc32") == _checksum(text) else None
    if not isinstance(starts, list) or not all(type(at) is int and 0 <= at < len(text) for at in starts):
        return None
    return starts if all(a < b for a, b in pairwise(starts)) else None


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())


def sentence_starts(text: str) -> list[int]:
    """Where sentences after the first begin: after line breaks, and after what ends a sentence."""
    found = []
    length = len(text)
    for match in _END.finditer(text):
        at = match.end()
        if at < length and (_breaks_line(match.group()) or _ends_sentence(text, match)):
            found.append(at)
    return found


def line_starts(text: str) -> list[int]:
    """Where the lines after the first begin."""
    ends = accumulate(map(len, text.splitlines(keepends=True)))
    return [at for at in ends if at < len(text)]


def _breaks_line(gap: str) -> bool:
    return len((gap + "-").splitlines()) > 1


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    begin, at = match.span()
    first = text[begin]
    if first in _FULL_STOPS:
        return True
    if not text[at - 1].isspace() or text[at].islower():
        return False
    return first != "." or not _ABBREVIATED.search(text, max(0, begin - _LOOK_BACK), begin)
