"""What labels of places in an image or a text are, once read: one object per label, with one entry for each of its regions.

`labels` are the classes of each region; several classes of one are sorted and joined by " | ", "" stands for none. `regions`
are the ids that Label Studio gave, so that a finding can name them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelloop.masks import Mask

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Rectangles and ellipses, also turned ones: `corners` (n, 4, 2) in pixels, clockwise from the top left.

    Of ellipses (`is_ellipse`) they are those of the rectangles along their axes.

    Pixels of an image of `width` by `height`; percents, of 100 by 100, where its size is unknown. The same holds below.
    `items` are the places of the images in a task that shows several (0 for one): boxes of two items never match.
    """

    corners: Floats
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    items: tuple[int, ...]
    width: float
    height: float
    is_ellipse: bool = False


@dataclass(frozen=True, eq=False)
class Outlines:
    """Polygons: `rings` are (k, 2) in pixels each, not closed."""

    rings: tuple[Floats, ...]
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    items: tuple[int, ...]
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Brushed:
    """Brush masks, one per class and item: what several strokes of one class cover is one mask.

    `strokes` are, for each mask, the ids of the regions that it is made of.
    """

    masks: tuple[Mask, ...]
    labels: tuple[str, ...]
    items: tuple[int, ...]
    strokes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Points:
    """Key points: `places` (n, 2) in pixels."""

    places: Floats
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    items: tuple[int, ...]
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of a text (code points, the end outside), or of a sound or series (seconds or rows, as floats).

    Of a hypertext or a dialogue `starts` and `ends` count through the whole text, where the label tells that; `places` tells the
    nodes or paragraphs apart where it does not ("" otherwise), and spans of different places never match. A region with two
    classes is two spans. `text` is the text that is labelled, None where it is not known.
    """

    starts: tuple[float, ...]
    ends: tuple[float, ...]
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    places: tuple[str, ...]
    text: str | None
