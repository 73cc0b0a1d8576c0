"""HyperTextLabels on HyperText: the text of an HTML document as a browser parses it, one piece per block.

Label Studio finds a region by the XPaths of the text nodes in which it begins and ends, with offsets in code points, and
by `globalOffsets`: code points of all text nodes before, where a <br> counts as one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.spacy_nlp.converters.labels import whole

REGION_TYPE = "hypertextlabels"
_INLINE = frozenset(
    {
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
    }
    | {
        "label",
        "mark",
        "nobr",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    }
)
_UNREAD = frozenset({"script", "style", "noscript", "iframe", "template", "title", "noembed", "noframes"})

_NOT_NESTED = frozenset(
    "area base br col embed hr img input link meta param source track wbr p li dt dd option tr td th".split()  # noqa: SIM905
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
#: Browsers nest no deeper, and a parser's time grows with the depth of every tag.
MAX_DEPTH = 512
_ROOT, _NOWHERE = -1, -2


@dataclass(frozen=True)
class _TextNode:
    number: int
    begin: int
    text: str


@dataclass
class _Piece:
    """The text nodes between two borders of blocks; `offsets` are where each begins in the piece."""

    nodes: list[_TextNode] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    length: int = 0

    def add(self, node: _TextNode) -> None:
        self.nodes.append(node)
        self.offsets.append(self.length)
        self.length += len(node.text)

    @property
    def text(self) -> str:
        return "".join(node.text for node in self.nodes)

    def locate(self, offset: int) -> tuple[_TextNode, int]:
        """The node of the character at an offset, and its place in it."""
        at = bisect_right(self.offsets, offset) - 1
        return self.nodes[at], offset - self.offsets[at]


def nesting(html: str) -> int:
    """How deep the tags of a document lie in each other at most, by its tags alone; tags without an end do not count."""
    depth = deepest = 0
    for closes, name in _TAG.findall(html):
        if name.lower() not in _NOT_NESTED:
            depth = max(depth - 1, 0) if closes else depth + 1
            deepest = max(deepest, depth)
    return deepest


class HtmlText:
    """The value of a HyperText tag; `inline` as the tag says it, which makes it part of a page and no document."""

    def __init__(self, html: str, *, inline: bool = False) -> None:
        self._pieces: list[_Piece] = []
        # nodes by number: parent, segment of the path, global offset; whole paths would grow with the depth squared
        self._nodes: list[tuple[int, str, int]] = []
        self._numbers: dict[tuple[int, str], int] = {}
        self._walk(html, inline)
        self.texts = tuple(piece.text for piece in self._pieces)

    def place(self, piece: int, start: int, end: int) -> dict[str, Any]:
        first, begin = self._pieces[piece].locate(start)
        last, stop = self._pieces[piece].locate(end - 1)
        stop += 1
        return {
            "start": self._path(first.number),
            "end": self._path(last.number),
            "startOffset": begin,
            "endOffset": stop,
            "globalOffsets": {"start": first.begin + begin, "end": last.begin + stop},
            "text": self.texts[piece][start:end],
        }

    def bounds(self, value: Mapping[str, Any]) -> list[tuple[int, int, int]]:
        """By the XPaths; where these lead nowhere, by `globalOffsets`."""
        begin = self._global(value.get("start"), value.get("startOffset"))
        stop = self._global(value.get("end"), value.get("endOffset"))
        if begin is None or stop is None:
            offsets = value.get("globalOffsets")
            offsets = offsets if isinstance(offsets, Mapping) else {}
            begin, stop = whole(offsets.get("start")), whole(offsets.get("end"))
        if begin is None or stop is None or begin >= stop:
            return []
        parts = []
        for number, piece in enumerate(self._pieces):
            inside = [
                (offset + max(begin - node.begin, 0), offset + min(stop - node.begin, len(node.text)))
                for node, offset in zip(piece.nodes, piece.offsets, strict=True)
                if node.begin < stop and node.begin + len(node.text) > begin
            ]
            if inside:
                parts.append((number, inside[0][0], inside[-1][1]))
        return parts

    def _global(self, path: object, offset: object) -> int | None:
        inner, number = whole(offset), _ROOT
        for segment in str(path).split("/")[1:]:
            number = self._numbers.get((number, segment), _NOWHERE)
        return self._nodes[number][2] + inner if number >= 0 and inner is not None and inner >= 0 else None

    def _path(self, number: int) -> str:
        segments = []
        while number != _ROOT:
            number, segment, _ = self._nodes[number]
            segments.append(segment)
        return "".join(f"/{segment}" for segment in reversed(segments))

    def _add(self, parent: int, segment: str, begin: int) -> int:
        self._numbers[(parent, segment)] = len(self._nodes)
        self._nodes.append((parent, segment, begin))
        return len(self._nodes) - 1

    def _walk(self, html: str, inline: bool) -> None:
        from selectolax.lexbor import LexborHTMLParser

        parser = LexborHTMLParser(html, is_fragment=inline)
        first = parser.root if inline else (parser.body.first_child if parser.body is not None else None)
        piece, position = _Piece(), 0
        open_nodes: list[tuple[Any, int, Counter[str], bool]] = [(first, _ROOT, Counter(), True)]

        def border() -> None:
            nonlocal piece
            if piece.text.strip():
                self._pieces.append(piece)
            piece = _Piece()

        while open_nodes:
            node, parent, counts, read = open_nodes.pop()
            if node is None:
                if parent == _ROOT or self._nodes[parent][1].partition("[")[0] not in _INLINE:
                    border()
                continue
            open_nodes.append((node.next, parent, counts, read))
            name = "text()" if node.is_text_node else str(node.tag)
            counts[name] += 1
            segment = f"{name}[{counts[name]}]"
            if node.is_text_node:
                text, number = str(node.text_content), self._add(parent, segment, position)
                if read:
                    piece.add(_TextNode(number, position, text))
                position += len(text)
            elif node.is_element_node:
                number = self._add(parent, segment, position)
                if name not in _INLINE:
                    border()
                position += name == "br"
                open_nodes.append((node.first_child, number, Counter(), read and name not in _UNREAD))
