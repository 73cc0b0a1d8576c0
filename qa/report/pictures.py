"""What people drew, over the image: boxes, outlines, masks and points, each person in a colour and dash pattern of their own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labelloop.geometry import bounds
from labelloop.masks import resized
from labelloop.outlines import mask_rings
from qa.kinds.shapes import Boxes, Brushed, Outlines, Points
from qa.report.disagreements import Answer, Disagreement
from qa.report.inks import dash, ink, sample
from qa.report.markup import Child, Html, element, joined

#: Regions of one person that are drawn, images of one task, and pixels along which a mask's outline runs.
MOST_REGIONS, MOST_ITEMS, MASK_WIDTH = 300, 4, 400
#: Letters of a label in a picture; its tooltip has all of them.
MOST_LETTERS = 30
#: Coordinates beyond this many image sizes are cut, so that a slip of the hand does not break the picture.
_FAR = 50.0
DRAWN = (Boxes, Outlines, Brushed, Points)


@dataclass(frozen=True)
class Photo:
    """A thumbnail as a data: address, and the width and height of the image that it is of."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Absent:
    """Why an image can't be shown."""

    reason: str


#: Gives the thumbnail of an image by the address that a task has for it.
Look = Callable[[str], Photo | Absent]


@dataclass(frozen=True)
class _Shape:
    """A region: a path, ready to draw, in a canvas of 1 by 1; its label, and where that is written."""

    kind: str
    points: tuple[tuple[tuple[float, float], ...], ...]
    label: str
    item: int


def image_figures(found: Disagreement, look: Look, ident: str, *, drawn: bool = True) -> Html:
    """The task's images with everybody's regions, and a legend; one figure for each image that has regions.

    Not `drawn`: the first image alone, of a task whose answers are about the whole of it.
    """
    if not drawn:
        return _figure(found, 0, {}, look, ident)
    shapes = {place: list(_shapes(answer.value)) for place, answer in enumerate(found.answers)}
    items = sorted({shape.item for each in shapes.values() for shape in each}) or [0]
    figures: list[Child] = [
        _figure(
            found, item, {place: [s for s in each if s.item == item] for place, each in shapes.items()}, look, ident
        )
        for item in items[:MOST_ITEMS]
    ]
    if len(items) > MOST_ITEMS:
        figures.append(element("p", f"{MOST_ITEMS} of {len(items)} images are shown.", class_="note"))
    return joined(figures)


def _figure(found: Disagreement, item: int, shapes: dict[int, list[_Shape]], look: Look, ident: str) -> Html:
    photo = _photo(found, item, look)
    width, height, known = _size(photo, found.answers)
    if isinstance(photo, Photo):
        ground = element("image", href=photo.address, x=0, y=0, width=width, height=height, preserveAspectRatio="none")
    else:
        ground = element("rect", x=0, y=0, width=width, height=height, class_="canvas")
    answers = found.answers if shapes else ()
    said = [_told(answer, shapes[place]) for place, answer in enumerate(answers)]
    name = f"{ident}-{item}"
    layers = [
        _layer(place, answer, shapes[place], width, height, f"{name}-{place}") for place, answer in enumerate(answers)
    ]
    drawing = element(
        "svg",
        element("title", f"Task {found.task}{': what each person drew' if shapes else ''}", id=f"{name}-title"),
        element("desc", "; ".join(f"annotator {a.annotator}: {t}" for a, t in zip(answers, said, strict=True)),
                id=f"{name}-said"),
        ground, *layers,
        viewBox=f"0 0 {width:g} {height:g}", class_="drawing", role="img",
        aria_labelledby=f"{name}-title {name}-said", style=f"aspect-ratio: {width:g} / {height:g}",
    )  # fmt: skip
    notes: list[Child] = []
    if isinstance(photo, Absent):
        notes.append(element("p", f"The image is not shown: {photo.reason}.", class_="note"))
    if not known:
        notes.append(element("p", "The image's size is not known; its proportions are a guess.", class_="note"))
    legend = [
        element(
            "li",
            element(
                "label",
                element("input", type="checkbox", checked=True, data_layer=f"{name}-{place}"),
                sample(place), f" annotator {answer.annotator}",
            ),
            f": {said[place]}{'' if answer.blind else ' (saw a suggestion)'}",
        )
        for place, answer in enumerate(answers)
    ]  # fmt: skip
    return element(
        "figure", drawing, *notes,
        element("figcaption", element("ul", *legend, class_="legend")) if legend else None,
    )  # fmt: skip


def _photo(found: Disagreement, item: int, look: Look) -> Photo | Absent:
    value = found.data.get(found.control.data_key)
    address = value[item] if isinstance(value, list) and item < len(value) else value
    if not isinstance(address, str) or not address:
        return Absent(f"the task has no address under {found.control.data_key!r}")
    return look(address)


def _size(photo: Photo | Absent, answers: Sequence[Answer]) -> tuple[float, float, bool]:
    """(width, height, whether they are known) of the canvas."""
    if isinstance(photo, Photo):
        return float(photo.width), float(photo.height), True
    for answer in answers:
        if isinstance(answer.value, Brushed) and answer.value.masks:
            return float(answer.value.masks[0].width), float(answer.value.masks[0].height), True
        if isinstance(answer.value, Boxes | Outlines | Points) and (answer.value.width, answer.value.height) != (
            100,
            100,
        ):
            return float(answer.value.width), float(answer.value.height), True
    return 400.0, 300.0, False


# -- what was drawn -----------------------------------------------------------------------------------------------------


def _shapes(value: Any) -> Iterator[_Shape]:
    if isinstance(value, Boxes):
        for corners, label, item in zip(value.corners.tolist(), value.labels, value.items, strict=True):
            ring = _ellipse(corners) if value.is_ellipse else corners
            yield _Shape("box", (_unit(ring, value.width, value.height),), label, item)
    elif isinstance(value, Outlines):
        for ring, label, item in zip(value.rings, value.labels, value.items, strict=True):
            yield _Shape("outline", (_unit(ring.tolist(), value.width, value.height),), label, item)
    elif isinstance(value, Points):
        for place, label, item in zip(value.places.tolist(), value.labels, value.items, strict=True):
            yield _Shape("point", (_unit([place], value.width, value.height),), label, item)
    elif isinstance(value, Brushed):
        for mask, label, item in zip(value.masks, value.labels, value.items, strict=True):
            small = resized(mask, MASK_WIDTH, max(1, round(MASK_WIDTH * mask.height / mask.width)))
            rings = mask_rings(small.pixels())
            yield _Shape("mask", tuple(_unit(ring.tolist(), small.width, small.height) for ring in rings), label, item)


def _ellipse(corners: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Points of the ellipse that touches the middles of a rectangle's sides."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    x, y = (x0 + x2) / 2, (y0 + y2) / 2
    ax, ay, bx, by = (x1 - x0) / 2, (y1 - y0) / 2, (x3 - x0) / 2, (y3 - y0) / 2
    turns = [(math.cos(turn), math.sin(turn)) for turn in (math.tau * at / 48 for at in range(48))]
    return [(x + cos * ax + sin * bx, y + cos * ay + sin * by) for cos, sin in turns]


def _unit(points: Sequence[Sequence[float]], width: float, height: float) -> tuple[tuple[float, float], ...]:
    return tuple((_near(x / width), _near(y / height)) for x, y in points)


def _near(share: float) -> float:
    return min(max(share, -_FAR), _FAR)


def _told(answer: Answer, shapes: Sequence[_Shape]) -> str:
    """`2 regions (cat 1, dog 1)`, as text."""
    if not shapes:
        return "nothing"
    counts = Counter(shape.label or "no class" for shape in shapes)
    several = f"{len(shapes)} region{'s' if len(shapes) > 1 else ''}"
    return f"{several} ({', '.join(f'{label} {count}' for label, count in counts.most_common(8))})"


def _layer(place: int, answer: Answer, shapes: Sequence[_Shape], width: float, height: float, ident: str) -> Html:
    drawn = [_region(shape, place, answer, width, height) for shape in shapes[:MOST_REGIONS]]
    return element("g", *drawn, id=ident, class_=f"layer {ink(place)}", data_annotator=answer.annotator)


def _region(shape: _Shape, place: int, answer: Answer, width: float, height: float) -> Html:
    size = max(width, height)
    rings = [[(x * width, y * height) for x, y in ring] for ring in shape.points]
    first = rings[0][0] if rings and rings[0] else (0.0, 0.0)
    if shape.kind == "point":
        reach = size * 0.012
        x, y = first
        path = f"M{x - reach:.1f} {y:.1f}H{x + reach:.1f}M{x:.1f} {y - reach:.1f}V{y + reach:.1f}"
        path += f"M{x - reach:.1f} {y:.1f}a{reach:.1f} {reach:.1f} 0 1 0 {2 * reach:.1f} 0a{reach:.1f} {reach:.1f} 0 1 0 {-2 * reach:.1f} 0"  # noqa: E501
    else:
        path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring) + "Z" for ring in rings if ring)
    return element(
        "g",
        element("title", f"annotator {answer.annotator}: {shape.label or 'no class'}"),
        element("path", d=path, class_="halo"),
        element("path", d=path, class_=f"drawn {shape.kind}", stroke_dasharray=dash(place)),
        _label(shape.label, place, _label_box(shape, rings, size), width, height) if shape.label else None,
        class_="region",
    )


def _label_box(
    shape: _Shape, rings: Sequence[Sequence[tuple[float, float]]], size: float
) -> tuple[float, float, float, float]:
    """What the label of a region stands in the corners of; of a point, beside it."""
    if shape.kind != "point":
        return bounds(rings[0] if rings else [(0.0, 0.0)])
    (x, y), beside, letter = rings[0][0], size * 0.014, size * 0.018
    return x + beside, y - letter, x - beside, y + 1.3 * letter


def _label(said: str, place: int, box: tuple[float, float, float, float], width: float, height: float) -> Html:
    """The class in a corner of its region, another for each of four people, so that they do not cover each other."""
    letter = max(width, height) * 0.018
    left, right = (min(max(x, 0.0), width) for x in box[::2])
    top, bottom = (min(max(y, 0.0), height) for y in box[1::2])
    # Near an edge of the image a label is written towards its middle, where it would be cut off otherwise.
    at_end = (place % 2 == 1 or left > 0.85 * width) and right > 0.15 * width
    return element(
        "text",
        said[:MOST_LETTERS],
        x=f"{right - letter / 4 if at_end else left + letter / 4:.1f}",
        y=f"{bottom - letter / 3 if place % 4 > 1 else top + letter:.1f}",
        font_size=f"{letter:.1f}",
        text_anchor="end" if at_end else None,
    )
