"""Tables with headers and a caption, in a frame that scrolls by keyboard where they are wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qa.report.markup import Child, Html, element, joined


def table(caption: str, heads: Sequence[Child], rows: Iterable[Sequence[Child]], *, class_: str | None = None) -> Html:
    """A table whose first column names its rows; the others are numbers or texts."""
    head = element("tr", *[element("th", each, scope="col") for each in heads])
    body = [
        element("tr", element("th", row[0], scope="row"), *[element("td", cell) for cell in row[1:]]) for row in rows
    ]
    made = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_=class_,
    )
    return framed(made, caption)


def framed(made: Html, label: str) -> Html:
    """A part of the page that may be wider than it."""
    return element("div", made, class_="wide", tabindex=0, role="region", aria_label=label)


def left_out_note(shown: int, there: int, what: str) -> Html | None:
    """How many rows a table does not show."""
    if shown >= there:
        return None
    return element("p", f"{shown} of {there} {what} are shown.", class_="note")


def section(ident: str, title: Child, *children: Child, level: int = 2) -> Html:
    """A part of the page with a heading that it is named by."""
    heading = element(f"h{level}", title, id=f"{ident}-title")
    return element("section", joined([heading, *children]), id=ident, aria_labelledby=f"{ident}-title")
