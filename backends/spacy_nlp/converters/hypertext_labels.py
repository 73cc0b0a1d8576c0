"""HyperTextLabels on HyperText: the text of an HTML document as a browser parses it, one piece per block.

Label Studio finds a region by the XPaths of the text nodes in which it begins and ends, with offsets in code points, and
by `globalOffsets`: code points of all text nodes before, where a <br> counts as one.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class _TextNode:
    path: str
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


class HtmlText:
    """The value of a HyperText tag; `inline` as the tag says it, which makes it part of a page and no document."""

    def __init__(self, html: str, *, inline: bool = False) -> None:
        self._pieces: list[_Piece] = []
        self._begins: dict[str, int] = {}
        self._walk(html, inline)
        self.texts = tuple(piece.text for piece in self._pieces)

    def place(self, piece: int, start: int, end: int) -> dict[str, Any]:
        first, begin = self._pieces[piece].locate(start)
        last, stop = self._pieces[piece].locate(end - 1)
        stop += 1
        return {
            "start": first.path,
            "end": last.path,
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
        begin, inner = self._begins.get(str(path)), whole(offset)
        return None if begin is None or inner is None or inner < 0 else begin + inner

    def _walk(self, html: str, inline: bool) -> None:
        from selectolax.lexbor import LexborHTMLParser

        parser = LexborHTMLParser(html, is_fragment=inline)
        first = parser.root if inline else (parser.body.first_child if parser.body is not None else None)
        piece, position = _Piece(), 0
        open_nodes: list[tuple[Any, str, Counter[str], bool]] = [(first, "", Counter(), True)]

        def border() -> None:
            nonlocal piece
            if piece.text.strip():
                self._pieces.append(piece)
            piece = _Piece()

        while open_nodes:
            node, parent, counts, read = open_nodes.pop()
            if node is None:
                if parent.rpartition("/")[2].partition("[")[0] not in _INLINE:
                    border()
                continue
            open_nodes.append((node.next, parent, counts, read))
            name = "text()" if node.is_text_node else str(node.tag)
            counts[name] += 1
            path = f"{parent}/{name}[{counts[name]}]"
            if node.is_text_node:
                text = str(node.text_content)
                self._begins[path] = position
                if read:
                    piece.add(_TextNode(path, position, text))
                position += len(text)
            elif node.is_element_node:
                self._begins[path] = position
                if name not in _INLINE:
                    border()
                position += name == "br"
                open_nodes.append((node.first_child, path, Counter(), read and name not in _UNREAD))
