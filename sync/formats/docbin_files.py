"""The columns of DocBin files: joined and counted without spaCy, whose import takes more memory than an export.

A DocBin is compressed msgpack (`spacy.tokens.DocBin` says of what). The spans and the user data of its documents are packed
here too: `DocBin.add` and `get_docs` look through every installed package's entry points for each of them, some
milliseconds a document.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

SPANS_KEY = "sc"
"""The key under which spaCy's span categorizer looks for spans."""
#: Columns that are a number of bytes for each document or token, and those with one entry for each document.
_BYTES = ("tokens", "spaces", "lengths")
_LISTS = ("cats", "flags", "span_groups", "user_data")
#: A span: id, knowledge base id, hash of its label, first token, token after the last, and the same in characters.
_SPAN = struct.Struct(">QQQllll")
_GROUPS = msgspec.msgpack.Decoder(dict[bytes, list[str]])
#: What stands for no span group at all: an empty list.
_NO_GROUPS = (b"", b"\x90")


def add_document(docbin: Any, doc: Any, spans: Sequence[Any] | None, user_data: Mapping[str, Any]) -> None:
    """Add a spaCy `Doc` to a `DocBin`, with spans under SPANS_KEY (None: without) and user data of plain values."""
    docbin.add(doc)
    if spans is not None:
        rows = [_SPAN.pack(0, 0, s.label, s.start, s.end, s.start_char, s.end_char) for s in spans]
        group = msgspec.msgpack.encode({"name": SPANS_KEY, "attrs": {}, "spans": rows})
        docbin.span_groups[-1] = msgspec.msgpack.encode({group: [SPANS_KEY]})
        docbin.strings.update(span.label_ for span in spans)
    docbin.user_data.append(msgspec.msgpack.encode(user_data))


def docbin_bytes(docbin: Any) -> bytes:
    """A DocBin to which documents were added by `add_document`, as a file."""
    docbin.store_user_data = True  # until here `add` must not pack it
    return bytes(docbin.to_bytes())


def spans_in(groups: bytes) -> Iterator[tuple[str, int, int, int]]:
    """(key, first character, character after the last, hash of the label) of a document's spans, group by group."""
    if groups in _NO_GROUPS:
        return
    for group, keys in _GROUPS.decode(groups).items():
        for row in msgspec.msgpack.decode(group)["spans"]:
            _, _, label, _, _, start, end = _SPAN.unpack(row)
            yield keys[0], start, end, label


def join_docbins(paths: Sequence[Path], target: Path) -> None:
    """Write one DocBin with the documents of these, in order; all of one kind."""
    bins = (_unpacked(path) for path in paths)
    whole = next(bins)
    columns = {name: [whole[name]] for name in _BYTES}
    strings = set(whole["strings"])
    for each in bins:
        strings.update(each["strings"])
        for name in _BYTES:
            columns[name].append(each[name])
        for name in _LISTS:
            whole[name] += each[name]
    whole["strings"] = sorted(strings)
    for name in _BYTES:
        whole[name] = b"".join(columns.pop(name))
    packed = msgspec.msgpack.encode(whole)
    del whole
    target.write_bytes(zlib.compress(packed))


def count_docbins(paths: Iterable[Path]) -> tuple[int, int, int]:
    """(documents, spans under SPANS_KEY, categories that hold) of files as they lie on the disk."""
    documents = spans = categories = 0
    for path in paths:
        found = _unpacked(path)
        documents += len(found["lengths"]) // 4
        spans += sum(key == SPANS_KEY for groups in found["span_groups"] for key, *_ in spans_in(groups))
        categories += sum(score == 1.0 for cats in found["cats"] for score in cats.values())
    return documents, spans, categories


def runs_of(paths: Sequence[Path], tokens: Sequence[int], most: int) -> Iterator[list[Path]]:
    """Pieces in runs of at most `most` tokens each (a single piece may have more); `tokens` are those of each piece."""
    run: list[Path] = []
    held = 0
    for path, count in zip(paths, tokens, strict=True):
        if run and held + count > most:
            yield run
            run, held = [], 0
        run.append(path)
        held += count
    if run:
        yield run


def _unpacked(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(path.read_bytes()))
    return found
