"""HTML that is escaped by construction: what is no `Html` yet is text, and becomes text of the page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: What no page may hold: control characters, and halves of surrogate pairs, which UTF-8 can't write.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "col", "input", "hr"})


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


Child = str | int | float | None
Attribute = str | int | float | bool | None


def escaped(text: str) -> Html:
    """A text as markup, in elements and in quoted attributes alike."""
    return text if isinstance(text, Html) else Html(html.escape(_FORBIDDEN.sub("\ufffd", text), quote=True))


def element(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """An element; None children and attributes are left out, True is an attribute without a value.

    In names of attributes `_` stands for `-`, and one at the end for nothing (`class_`).
    """
    said = "".join(_attribute(name, value) for name, value in attributes.items() if value is not None)
    if tag in _VOID:
        return Html(f"<{tag}{said}>")
    return Html(f"<{tag}{said}>{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Html:
    """Children one after the other."""
    return Html("".join(escaped(str(child)) if not isinstance(child, Html) else child for child in _there(children)))


def named(text: object) -> Html:
    """A name that people gave (a class, a control), kept apart so that its writing direction can't turn what is around it."""
    return element("bdi", str(text), class_="named")


def _there(children: Iterable[Child]) -> Iterable[str | int | float]:
    return (child for child in children if child is not None)


def _attribute(name: str, value: Attribute) -> str:
    if value is False:
        return ""
    said = name.rstrip("_").replace("_", "-")
    return f" {said}" if value is True else f' {said}="{escaped(str(value))}"'
