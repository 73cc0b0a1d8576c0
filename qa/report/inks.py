"""How the report tells people apart in pictures and texts: a colour and a dash pattern for each, with a sample line."""

from __future__ import annotations

from qa.report.markup import Html, element

#: Colours with a contrast of 3 or more on white and on the dark page alike; CSS has them as .ink0 to .ink7.
COLOURS = ("#1c7ed6", "#d9480f", "#2b9348", "#9c5fd6", "#d6336c", "#0c8599", "#a0671b", "#6b7785")
_DASHES = (None, "9 5", "3 4", "12 4 3 4", "16 4 2 3 2 3")
_UNDERLINES = ("solid", "dashed", "dotted", "double", "wavy")


def ink(place: int) -> str:
    """The class of the colour of the person at that place."""
    return f"ink{place % len(COLOURS)}"


def dash(place: int) -> str | None:
    """The dash pattern of the person at that place; with the colour it comes again after 40 people."""
    return _DASHES[place % len(_DASHES)]


def underline(place: int) -> str:
    """The style of lines below texts of the person at that place."""
    return _UNDERLINES[place % len(_UNDERLINES)]


def sample(place: int) -> Html:
    """A short line in a person's colour and pattern."""
    line = element("line", x1=1, x2=43, y1=6, y2=6, stroke_dasharray=dash(place), class_=f"drawn {ink(place)}")
    return element("svg", line, viewBox="0 0 44 12", width=44, height=12, class_="sample", aria_hidden="true")
