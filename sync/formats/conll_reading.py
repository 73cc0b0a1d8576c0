"""Reads columns of tokens and tags (CoNLL-2002, -2003 and their kin) as labelled texts, document by document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.conll_columns import Document, Survey, chunks_of, documents_of, survey_of
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for, region_for
from sync.formats.text_reading import TextPlace, labels_of_manifest, manifest_of, split_named
from sync.formats.tokens import TOKENS, starts_of, token_map

#: Beside <name>.conll: a line of JSON for each document, with its text as it was.
SIDE = ".texts.jsonl"
_SUFFIXES = (".conll", ".conll2003", ".conll03", ".bio", ".iob", ".iob2", ".bioes", ".bilou")
_LOOSE_SUFFIXES = (".txt", ".tsv")
_LOSSES = (
    "the columns between token and tag",
    "white space between tokens, where no file of texts lies beside: one space is put between tokens, a line break "
    "between sentences",
)


@dataclass(frozen=True)
class _File:
    path: Path
    side: Path | None
    survey: Survey
    split: str | None


def read_conll(
    path: Path, *, task: str | None = None, config: LabelConfig | None = None, images: Path | None = None
) -> Labelled:
    """Open a file of columns, or a folder of them; the first column is the token, the last its tag.

    IOB1, IOB2, IOBES, BILOU, BMES and bare classes are told apart. In a file with two -DOCSTART- lines or more (or with
    our file of texts beside it) the documents are the items, in any other the sentences. DataError when no line has a tag,
    or the config no <Labels> on a <Text>.
    """
    files = [_opened(file) for file in _files_at(path)]
    if not any(file.survey.documents for file in files):
        raise DataError(f"{path} has no line with a token and its tag (O, B-PER, I-PER); is it of another format?")
    manifest = manifest_of(path, "conll")
    tags = manifest.get("tags")
    names = {str(tag): str(name) for name, tag in tags.items()} if isinstance(tags, dict) else {}
    found = [names.get(tag, tag) for file in files for tag in file.survey.labels]
    classes = list(dict.fromkeys([*labels_of_manifest(manifest), *found]))
    made = config or config_for("Text", "text", [WantedControl("Labels", "label", classes)])
    reader = _Reader(files, TextPlace(made, "Labels"), names)
    return Labelled(made, reader.items, _LOSSES, sum(file.survey.documents for file in files))


def _files_at(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for suffixes in (_SUFFIXES, _LOOSE_SUFFIXES):
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
        if found:
            return found
    raise DataError(
        f"{path} has no file of columns; expected names that end in {', '.join(_SUFFIXES + _LOOSE_SUFFIXES)}"
    )


def _opened(path: Path) -> _File:
    side = path.with_suffix(SIDE)
    there = side.exists()
    return _File(path, side if there else None, survey_of(path, bordered=there), split_named(path))


@dataclass(frozen=True)
class _Reader:
    """Turns documents into items; `names` are the classes of tags that do not spell them."""

    files: Sequence[_File]
    place: TextPlace
    names: Mapping[str, str]

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every document that can be read; what cannot is added to `rejected`."""
        for file in self.files:
            sides = _side_lines(file.side)
            for document in documents_of(file.path, file.survey):
                side = next(sides, {})
                source = f"{file.path.name}, line {document.line}"
                if document.problem is not None:
                    rejected.append(Unread(source, "bad_row", f"{file.path.name}, {document.problem}"))
                elif not document.sentences and not side:
                    rejected.append(Unread(source, "empty", f"{source}: the document has no tokens"))
                else:
                    yield self._item(file, document, side, source, rejected)

    def _item(
        self, file: _File, document: Document, side: Mapping[str, Any], source: str, rejected: list[Unread]
    ) -> LabelledItem:
        tokens = document.tokens
        told = _told(side, tokens)
        if file.side is not None and told is None:
            detail = f"{source}: {file.side.name} does not fit its tokens; the text was made of the tokens"
            rejected.append(Unread(source, "other_tokens", detail))
        text, starts = told or _joined(document)
        annotator = side.get("annotator")
        return LabelledItem(
            {**(side.get("data", {}) if told else {}), self.place.data_key: text},
            list(self._regions(file, document, text, starts, source, rejected)),
            source,
            split=file.split,
            group=side.get("group"),
            meta={TOKENS: token_map(text, starts)},
            annotator=str(annotator) if annotator is not None else None,
            at=side.get("at"),
        )

    def _regions(
        self, file: _File, document: Document, text: str, starts: Sequence[int], source: str, rejected: list[Unread]
    ) -> Iterator[Region]:
        tokens = document.tokens
        before = number = 0
        for sentence in document.sentences:
            for chunk in chunks_of([tag for _, tag in sentence], bare=file.survey.bare):
                label = self.names.get(chunk.label, chunk.label)
                start, last = starts[before + chunk.first], before + chunk.after - 1
                end = starts[last] + len(tokens[last])
                control = self.place.control_of("Labels", label)
                if control is None:
                    detail = f"{source}: {text[start:end]!r} is {label!r}, which the label config has not"
                    rejected.append(Unread(source, "class_not_in_config", detail))
                    continue
                number += 1
                yield region_for(control, number, {"start": start, "end": end, "text": text[start:end]}, [label])
            before += len(sentence)


def _side_lines(path: Path | None) -> Iterator[Mapping[str, Any]]:
    """The texts beside a file of columns; a line that is none is empty."""
    if path is None:
        return
    with path.open("rb") as file:
        for line in file:
            try:
                side = orjson.loads(line)
            except orjson.JSONDecodeError:
                side = {}
            yield side if isinstance(side, dict) else {}


def _told(side: Mapping[str, Any], tokens: Sequence[str]) -> tuple[str, list[int]] | None:
    """A document's text as it was, and the starts of its tokens in it; None where they do not fit."""
    data = side.get("data")
    text = data.get(side.get("key")) if isinstance(data, dict) else None
    starts = starts_of(text, tokens) if isinstance(text, str) else None
    return None if starts is None else (str(text), starts)


def _joined(document: Document) -> tuple[str, list[int]]:
    text = "\n".join(" ".join(token for token, _ in sentence) for sentence in document.sentences)
    starts, at = [], 0
    for token in document.tokens:
        starts.append(at)
        at += len(token) + 1
    return text, starts
