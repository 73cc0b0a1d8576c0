"""A task's text as the object tag of the label config gives it: plain, HTML, or a dialogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.spacy_nlp.converters.hypertext_labels import MAX_DEPTH, HtmlText, nesting
from backends.spacy_nlp.converters.labels import Document, PlainText
from backends.spacy_nlp.converters.paragraph_labels import Dialogue
from labelloop.label_config import Control
from labelloop.values import Outcome

TEXT_TAGS = ("Text", "HyperText", "Paragraphs")
SPAN_TAGS = ("Labels", "HyperTextLabels", "ParagraphLabels")
MAX_CHARACTERS = 100_000
_MAX_MARKUP = 1_000_000  # of an HTML document with its tags
_YES = ("true", "yes", "1")
_READ = ("inline", "textKey")


def reading_attributes(control: Control) -> dict[str, str]:
    """The attributes of a control's object tag that `read_document` looks at."""
    return {key: control.object_attributes[key] for key in _READ if key in control.object_attributes}


def read_document(
    data: Mapping[str, Any], key: str, object_tag: str = "Text", attributes: Mapping[str, str] | None = None
) -> Document | Outcome:
    """The document under a key of a task's data, or the outcome that says why there is none to read."""
    value, attributes = data.get(key), attributes or {}
    document: Document | None
    if object_tag == "Paragraphs":
        document = Dialogue.of(value, attributes.get("textKey", "text"))
        wanted = "a list of objects with texts"
    elif isinstance(value, str) and object_tag == "HyperText":
        if len(value) > _MAX_MARKUP or nesting(value) > MAX_DEPTH:
            limits = f"at most {_MAX_MARKUP} characters of HTML, nested {MAX_DEPTH} deep, are read"
            return Outcome("too_large", detail=f"{len(value)} characters; {limits}")
        document = HtmlText(value, inline=attributes.get("inline", "").lower() in _YES)
        wanted = "an HTML text"
    else:
        document = PlainText(value) if isinstance(value, str) else None
        wanted = "a text"
    if document is None or not any(text.strip() for text in document.texts):
        found = type(value).__name__ if document is None else "one without any characters"
        return Outcome("text_missing", detail=f"expected {wanted} under {key!r}, got {found}")
    length = sum(map(len, document.texts))
    if length > MAX_CHARACTERS:
        return Outcome("too_large", detail=f"{length} characters; at most {MAX_CHARACTERS} are read")
    return document
