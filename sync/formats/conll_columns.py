"""Columns of tokens and tags as documents, sentences and chunks; IOB1, IOB2, IOBES, BILOU, BMES and bare classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BORDER = "-DOCSTART-"
_TAG = re.compile(r"([BIESLUM])-(.+)\Z", re.DOTALL)
_BLANKS = re.compile(" +")
_UNTAGGED = ("O", "-", "_")
_OTHER_BYTES = re.compile("[\udc80-\udcff]")
#: What stands for a line with them.
_NOT_UTF8 = "\udc80"
#: Prefixes that begin a chunk, and those that end one.
_BEGINNING, _ENDING = "BSU", "ESLU"
#: More classes than this without any prefix are no tags, but something else in the last column.
_MANY = 200


@dataclass(frozen=True)
class Chunk:
    """Tokens `first` to before `after` of a sentence, under one label."""

    first: int
    after: int
    label: str


@dataclass
class Document:
    """A document that begins in line `line` of its file: sentences of (token, tag), and why it cannot be read, if so."""

    line: int
    sentences: list[list[tuple[str, str]]] = field(default_factory=list)
    problem: str | None = None

    @property
    def tokens(self) -> list[str]:
        """All tokens, sentence after sentence."""
        return [token for sentence in self.sentences for token, _ in sentence]


@dataclass(frozen=True)
class Survey:
    """What a look through a file found: its labels in order, and how many documents it has.

    `bare`: tags are classes without a prefix. `bordered`: -DOCSTART- begins each document; otherwise a sentence is one.
    """

    labels: tuple[str, ...]
    documents: int
    bare: bool
    bordered: bool


def survey_of(path: Path, *, bordered: bool = False) -> Survey:
    """Look through a file; `bordered` says that it has documents, even if it is only one."""
    prefixed: dict[str, None] = {}
    bare: dict[str, None] = {}
    borders = sentences = 0
    fresh = True
    for _, columns in _lines(path):
        if not columns or columns[0] == BORDER:
            borders += bool(columns)
            fresh = True
            continue
        match = _TAG.match(columns[-1])
        if len(columns) == 1 or (columns[0].startswith("#") and not match and columns[-1] not in _UNTAGGED):
            continue
        sentences, fresh = sentences + fresh, False
        if match:
            prefixed[match[2]] = None
        elif columns[-1] not in _UNTAGGED and len(bare) <= _MANY:
            bare[columns[-1]] = None
    bordered = bordered or borders > 1
    is_bare = not prefixed and 0 < len(bare) <= _MANY
    known = prefixed or not bare or is_bare
    labels = bare if is_bare else prefixed
    return Survey(tuple(labels), (borders if bordered else sentences) if known else 0, is_bare, bordered)


def documents_of(path: Path, survey: Survey) -> Iterator[Document]:
    """The documents of a file, one after another."""
    current: Document | None = None
    for line, sentence, problem in _sentences(path, survey):
        if not survey.bordered:
            if sentence is not None:
                yield Document(line, [sentence], problem)
        elif sentence is None:
            if current is not None:
                yield current
            current = Document(line)
        else:
            current = current or Document(line)
            current.sentences.append(sentence)
            current.problem = current.problem or problem
    if current is not None:
        yield current


def _sentences(path: Path, survey: Survey) -> Iterator[tuple[int, list[tuple[str, str]] | None, str | None]]:
    """(first line, (token, tag) of each row, what is wrong) of every sentence; None for the rows is a border."""
    rows: list[tuple[str, str]] = []
    problem: str | None = None
    first = width = 0
    for number, columns in _lines(path):
        border = bool(columns) and columns[0] == BORDER
        if columns and not border:
            if columns[0].startswith("#") and (width not in (0, len(columns)) or not _is_tag(columns[-1], survey)):
                continue  # a comment
            width, first = len(columns), first or number
            reason = _problem(columns, survey)
            if reason is not None:
                problem = problem or f"line {number}: {reason}"
            elif columns[0]:  # a token that is only white space is none
                rows.append((columns[0], columns[-1]))
            continue
        if rows or problem:
            yield first, rows, problem
        rows, problem, first = [], None, 0
        if border:
            yield number, None, None
    if rows or problem:
        yield first, rows, problem


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, columns) of every line; none of a blank one. Tabs part columns where a line has them, else blanks."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                yield number, []
            elif not line.isascii() and _OTHER_BYTES.search(line):
                yield number, [_NOT_UTF8]
            elif "\t" in line:
                yield number, [column.strip() for column in line.rstrip().split("\t")]
            else:
                yield number, _BLANKS.split(line.strip(" \r\n"))


def _is_tag(tag: str, survey: Survey) -> bool:
    return tag in _UNTAGGED or (tag in survey.labels if survey.bare else _TAG.match(tag) is not None)


def _problem(columns: Sequence[str], survey: Survey) -> str | None:
    if columns[0] == _NOT_UTF8:
        return "expected UTF-8, got other bytes"
    if len(columns) < 2:
        return f"expected a token and its tag, got {columns[0]!r}"
    if not _is_tag(columns[-1], survey):
        return f"expected O, or B, I, E, S, L or U with a class (B-PER) in the last column, got {columns[-1]!r}"
    return None


def chunks_of(tags: Sequence[str], *, bare: bool) -> list[Chunk]:
    """The labelled chunks of one sentence, whichever of the schemes its tags follow."""
    found: list[Chunk] = []
    first, label, before = 0, "", "O"
    for at, tag in enumerate([*tags, "O"]):
        match = None if tag in _UNTAGGED else _TAG.match(tag)
        prefix, name = match.groups() if match and not bare else ("O" if tag in _UNTAGGED else "I", tag)
        continues = label != "" and prefix != "O" and name == label
        if not continues or prefix in _BEGINNING or before in _ENDING:
            if label:
                found.append(Chunk(first, at, label))
            first, label = at, "" if prefix == "O" else name
        before = prefix
    return found
