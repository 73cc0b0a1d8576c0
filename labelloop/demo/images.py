"""Makes the demo's images: simple shapes to find among clutter and noise, and the boxes that are true of them."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 160
LABELS: tuple[str, ...] = ("circle", "square", "triangle")
EMPTY_SHARE = 0.1
_SCALE = 3  # drawn larger and reduced, so that edges are smooth
_CONTRAST = 100.0
_USUAL_COLOUR_SHARE = 0.9
_Points = list[tuple[float, float]]


@dataclass(frozen=True)
class ImageTruth:
    """One image and what is in it; `boxes` are (label, x, y, width, height) in percent of the image."""

    file: str
    width: int
    height: int
    boxes: tuple[tuple[str, float, float, float, float], ...]


def generate_images(folder: Path, count: int = 300, seed: int = 7) -> list[ImageTruth]:
    """Write `count` PNG files into `folder` (made if absent) and return their truth; same arguments, same pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    empty = _empty_ones(count, seed)
    truths = []
    for index in range(count):
        pixels, boxes = draw_image(np.random.default_rng([seed, index]), empty=index in empty)
        file = f"shapes_{index:04d}.png"
        Image.fromarray(pixels).save(folder / file)
        truths.append(ImageTruth(file, SIDE, SIDE, boxes))
    return truths


def draw_image(
    rng: np.random.Generator, *, empty: bool
) -> tuple[np.ndarray[Any, Any], tuple[tuple[str, float, float, float, float], ...]]:
    """One image (SIDE, SIDE, 3) of bytes and its boxes in percent; `empty` has clutter only."""
    canvas = Image.fromarray(_background(rng)).resize((SIDE * _SCALE, SIDE * _SCALE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    back = np.asarray(canvas).mean(axis=(0, 1))
    for _ in range(rng.integers(1, 4)):
        _draw_clutter(draw, rng, back)
    wanted = 0 if empty else int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.2, 0.3, 0.25, 0.15]))
    placed: list[tuple[str, tuple[float, float, float, float]]] = []
    for _ in range(wanted * 12):
        if len(placed) == wanted:
            break
        label, points, box = _shape(rng)
        if all(_overlap(box, other) < 0.3 for _, other in placed):
            _fill(draw, rng, points, _shape_colour(rng, label, back))
            placed.append((label, box))
    for _ in range(rng.integers(0, 2)):
        _draw_stroke(draw, rng, back)
    small = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    noisy = small + rng.normal(0.0, rng.uniform(3.0, 9.0), small.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), tuple((label, *_percent(box)) for label, box in placed)


def _empty_ones(count: int, seed: int) -> set[int]:
    chosen = np.random.default_rng([seed, count, 1]).permutation(count)
    return {int(index) for index in chosen[: round(count * EMPTY_SHARE)]}


def _background(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A soft gradient between two near greys, (SIDE, SIDE, 3) bytes."""
    first = rng.uniform(40, 215) + rng.uniform(-20, 20, 3)
    second = first + rng.uniform(-30, 30) + rng.uniform(-10, 10, 3)
    angle = rng.uniform(0, 2 * math.pi)
    ys, xs = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    share = (xs * math.cos(angle) + ys * math.sin(angle) + 0.75)[..., None] / 1.5
    pixels: np.ndarray[Any, Any] = (first * (1 - share) + second * share).clip(0, 255).astype(np.uint8)
    return pixels


def _contrasting(
    rng: np.random.Generator, back: np.ndarray[Any, Any], least: float = _CONTRAST
) -> tuple[int, int, int]:
    """A random colour at least `least` (Euclidean, 0..441) away from the background."""
    while True:
        colour = rng.integers(0, 256, 3)
        if float(np.linalg.norm(colour - back)) >= least:
            return int(colour[0]), int(colour[1]), int(colour[2])


def _shape_colour(rng: np.random.Generator, label: str, back: np.ndarray[Any, Any]) -> tuple[int, int, int]:
    """A colour for a shape: nine times in ten of the third of the colour circle that is usual for its class."""
    if rng.random() >= _USUAL_COLOUR_SHARE:
        return _contrasting(rng, back)
    middle = LABELS.index(label) / len(LABELS)
    for _ in range(100):
        hue = (middle + rng.uniform(-0.5, 0.5) / len(LABELS)) % 1.0
        colour = 255 * np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.0)))
        if float(np.linalg.norm(colour - back)) >= _CONTRAST:
            break
    return int(colour[0]), int(colour[1]), int(colour[2])


def _polygon(centre: tuple[float, float], radii: list[float], turn: float) -> _Points:
    step = 2 * math.pi / len(radii)
    return [
        (centre[0] + r * math.cos(turn + i * step), centre[1] + r * math.sin(turn + i * step))
        for i, r in enumerate(radii)
    ]


#: How far a shape is turned from standing upright, at most, in radians.
_MOST_TURN = 0.35
_UPRIGHT = {"circle": 0.0, "square": math.pi / 4, "triangle": -math.pi / 2}
_OUTLINES: dict[str, Callable[[float], list[float]]] = {
    "circle": lambda r: [r] * 48,
    "square": lambda r: [r] * 4,
    "triangle": lambda r: [r] * 3,
}


def _shape(rng: np.random.Generator) -> tuple[str, _Points, tuple[float, float, float, float]]:
    """A shape wholly inside the image: label, corner points and box (x0, y0, x1, y1) in pixels of the final image."""
    label = LABELS[rng.integers(len(LABELS))]
    radius = float(np.exp(rng.uniform(math.log(14), math.log(34))))
    turn = _UPRIGHT[label] + rng.uniform(-_MOST_TURN, _MOST_TURN)
    points = _polygon((0.0, 0.0), _OUTLINES[label](radius), turn)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    dx, dy = rng.uniform(1 - min(xs), SIDE - 1 - max(xs)), rng.uniform(1 - min(ys), SIDE - 1 - max(ys))
    box = (min(xs) + dx, min(ys) + dy, max(xs) + dx, max(ys) + dy)
    return label, [(x + dx, y + dy) for x, y in points], box


def _fill(draw: ImageDraw.ImageDraw, rng: np.random.Generator, points: _Points, colour: tuple[int, int, int]) -> None:
    """Draw a shape, nine times in ten filled, otherwise as a thick outline inside its box."""
    large = [(x * _SCALE, y * _SCALE) for x, y in points]
    if rng.random() < 0.9:
        draw.polygon(large, fill=colour)
    else:
        draw.line([*large, large[0], large[1]], fill=colour, width=3 * _SCALE, joint="curve")


def _draw_clutter(draw: ImageDraw.ImageDraw, rng: np.random.Generator, back: np.ndarray[Any, Any]) -> None:
    """Something that is no class: a stroke, a long bar, a flat ellipse, a cross or dots."""
    kind = rng.integers(5)
    colour = _contrasting(rng, back, least=25.0)
    x, y = rng.uniform(10, SIDE - 10, 2) * _SCALE
    size = rng.uniform(5, 14) * _SCALE
    if kind == 0:
        _draw_stroke(draw, rng, back)
    elif kind == 1:
        draw.line([(x - size, y), (x + size * 1.4, y + size * 0.6)], fill=colour, width=5 * _SCALE)
    elif kind == 2:
        draw.ellipse([x - size * 1.4, y - size * 0.35, x + size * 1.4, y + size * 0.35], fill=colour)
    elif kind == 3:
        draw.line([(x - size, y - size), (x + size, y + size)], fill=colour, width=3 * _SCALE)
        draw.line([(x - size, y + size), (x + size, y - size)], fill=colour, width=3 * _SCALE)
    else:
        for px, py in rng.uniform(-size, size, (8, 2)):
            draw.ellipse([x + px, y + py, x + px + 2 * _SCALE, y + py + 2 * _SCALE], fill=colour)


def _draw_stroke(draw: ImageDraw.ImageDraw, rng: np.random.Generator, back: np.ndarray[Any, Any]) -> None:
    ends = rng.uniform(0, SIDE * _SCALE, (2, 2))
    draw.line(
        [(float(x), float(y)) for x, y in ends],
        fill=_contrasting(rng, back, least=25.0),
        width=int(rng.integers(1, 3)) * _SCALE,
    )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Area that two boxes share, as a share of the smaller one."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return max(wide, 0.0) * max(high, 0.0) / min(areas)


def _percent(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (100.0 * value / SIDE for value in box)
    return round(x0, 3), round(y0, 3), round(x1 - x0, 3), round(y1 - y0, 3)
