"""Masks of image regions: Label Studio's run-length code of brushes, COCO's run-length codes, and what polygons cover.

Label Studio's code (a packed bit stream, most significant bit first) is that of `rle-pack`, which its editor uses: the
number of values (32 bits), the bits per value less one (5), four lengths of run sizes in bits less one (4 each), and
then runs: a bit (1: one value repeated, 0: a list of values), which of the four sizes (2 bits), the number of values
less one, the value or values. The values of a mask are the red, green, blue and alpha of each pixel, row by row.

COCO counts pixels down each column, from the left column on; its compressed code writes each count as a text of base 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import DataError

Pixels = NDArray[np.bool_]
Whole = NDArray[np.int64]

#: Larger images are refused, as Pillow refuses to open them: a few bytes of code can claim any size.
MAX_PIXELS = 178_956_970

_VALUE_BITS = 8
_RUN_BITS = np.array([3, 4, 8, 16])
_CHANNELS = 4
_HEAD_BITS = 32 + 5 + 4 * 4
#: Bytes of code whose every bit is looked at in one step; bounds the memory.
_WINDOW = 1 << 16
#: Crossings of polygons' sides with columns of pixels that are held at once.
_CROSSINGS = 1 << 20


@dataclass(frozen=True)
class Mask:
    """A mask as COCO counts it: `counts` of pixels outside and inside in turn (outside first, maybe 0 of them)."""

    width: int
    height: int
    counts: Whole = field(repr=False)

    @property
    def area(self) -> int:
        """Pixels inside."""
        return int(self.counts[1::2].sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) of the smallest upright box around the pixels inside; zeros where there are none."""
        starts, ends = self.runs()
        if not len(starts):
            return 0, 0, 0, 0
        first, last = starts // self.height, (ends - 1) // self.height
        x0, x1 = int(first.min()), int(last.max()) + 1
        if (first != last).any():  # a run that goes on in the next column touches the bottom and the top
            return x0, 0, x1 - x0, self.height
        y0, y1 = int((starts % self.height).min()), int(((ends - 1) % self.height).max()) + 1
        return x0, y0, x1 - x0, y1 - y0

    def runs(self) -> tuple[Whole, Whole]:
        """(starts, ends) of the runs inside, as places down the columns."""
        bounds = np.cumsum(self.counts)
        starts, ends = bounds[0::2], bounds[1::2]
        starts = starts[: len(ends)]
        there = ends > starts
        return starts[there], ends[there]

    def pixels(self) -> Pixels:
        """The mask as an image, (height, width)."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.width, self.height).T

    def compressed(self) -> str:
        """COCO's compressed code, as pycocotools writes it."""
        differences = self.counts.copy()
        differences[3:] -= self.counts[1:-2]
        return _base32(differences)


# -- masks from ... ---------------------------------------------------------------------------------------------------


def mask_of_pixels(pixels: Pixels) -> Mask:
    """The mask of an image (height, width) whose pixels are true inside."""
    height, width = pixels.shape
    _check_size(width, height)
    flat = pixels.T.ravel()
    return _of_changes(np.flatnonzero(flat[1:] != flat[:-1]) + 1, width, height, bool(flat[0]))


def mask_of_counts(counts: Sequence[int] | Whole, width: int, height: int) -> Mask:
    """The mask of COCO's uncompressed counts; DataError when they are not those of an image of that size."""
    _check_size(width, height)
    try:
        found = np.asarray(counts, dtype=np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"expected whole numbers as counts of a mask: {error}") from error
    if (found < 0).any() or (found > width * height).any() or int(found.sum()) != width * height:
        raise DataError(f"expected counts of {width} x {height} pixels in a mask, got other counts or another sum")
    return Mask(width, height, found)


def mask_of_compressed(code: str | bytes, width: int, height: int) -> Mask:
    """The mask of COCO's compressed code; DataError when it is not one of an image of that size."""
    text = code.encode("ascii", "replace") if isinstance(code, str) else code
    counts = _from_base32(np.frombuffer(text, dtype=np.uint8))
    for first in (1, 2):  # from the fourth count on, each is told as its difference to the last but one
        counts[first::2] = np.cumsum(counts[first::2])
    return mask_of_counts(counts, width, height)


def mask_of_brush(code: Sequence[int], width: int, height: int) -> Mask:
    """The mask of Label Studio's code: where alpha is set. DataError when it is not one of an image of that size."""
    starts, ends = _brush_runs(code, width, height)
    if not len(starts):
        return Mask(width, height, np.array([width * height]))
    top, bottom = int(starts[0]) // width, -(-int(ends[-1]) // width)
    rows = _filled(starts - top * width, ends - top * width, (bottom - top) * width).reshape(-1, width)
    columns = np.flatnonzero(rows.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    # Down the columns of the part that is not empty, with a row of nothing below each, so that no run goes round a corner.
    part = np.zeros((right - left, bottom - top + 1), dtype=bool)
    part[:, :-1] = rows[:, left:right].T
    flat = part.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    column, row = np.divmod(changes, part.shape[1])
    return _of_toggles((column + left) * height + row + top, width, height)


def mask_of_polygons(rings: Iterable[Sequence[Sequence[float]]], width: int, height: int) -> Mask:
    """The pixels whose centres lie inside an odd number of rings of (x, y) in pixels: a ring in a ring is a hole."""
    _check_size(width, height)
    toggles: Whole = np.zeros(0, dtype=np.int64)
    for ring in rings:
        points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(points).all():
            raise DataError("expected finite numbers in a polygon")
        for found in _crossings(points, width, height):
            toggles = _odd(np.concatenate([toggles, found]))
    return _of_toggles(toggles, width, height)


def joined(masks: Sequence[Mask]) -> Mask:
    """The pixels that are in one mask or more; all of one size."""
    first = masks[0]
    if any((mask.width, mask.height) != (first.width, first.height) for mask in masks):
        raise DataError("expected masks of one size")
    runs = [mask.runs() for mask in masks]
    starts, ends = (np.concatenate([run[side] for run in runs]) for side in (0, 1))
    if not len(starts):
        return first
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    apart = np.concatenate([[True], starts[1:] > ends[:-1]])
    return _of_toggles(
        np.stack([starts[apart], ends[np.append(apart[1:], True)]], axis=1).ravel(), first.width, first.height
    )


def resized(mask: Mask, width: int, height: int) -> Mask:
    """The mask on an image of another size: each pixel is that of the old one at its centre."""
    if (mask.width, mask.height) == (width, height):
        return mask
    _check_size(width, height)
    rows = (2 * np.arange(height) + 1) * mask.height // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.width // (2 * width)
    return mask_of_pixels(mask.pixels()[np.ix_(rows, columns)])


def _of_toggles(toggles: Whole, width: int, height: int) -> Mask:
    """The mask that begins outside and changes at each of these places down the columns; two at one place are none."""
    places = _odd(toggles)
    return _of_changes(places[places < width * height], width, height, False)


def _of_changes(changes: Whole, width: int, height: int, inside: bool) -> Mask:
    """The mask that changes at these rising places, each between the first pixel and the end."""
    start = [0, 0] if inside else [0]
    if len(changes) and changes[0] == 0:  # it begins inside after all: none are outside
        start, changes = [0, 0], changes[1:]
    return Mask(width, height, np.diff(np.concatenate([start, changes, [width * height]]).astype(np.int64)))


def _odd(places: Whole) -> Whole:
    """The places that come an odd number of times, rising."""
    found, times = np.unique(places, return_counts=True)
    odd: Whole = found[times % 2 == 1]
    return odd


def _filled(starts: Whole, ends: Whole, size: int) -> Pixels:
    """A row of `size` pixels, true from each start to its end; the runs neither overlap nor touch."""
    steps = np.zeros(size + 1, dtype=np.int8)
    steps[starts], steps[ends] = 1, -1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DataError(f"expected a mask of 1 to {MAX_PIXELS} pixels, got {width} x {height}")


# -- polygons ---------------------------------------------------------------------------------------------------------


def _crossings(points: NDArray[np.float64], width: int, height: int) -> Iterable[Whole]:
    """Where the sides of a ring cross the middle of each column of pixels, as places down the columns, piece by piece."""
    following = np.roll(points, -1, axis=0)
    # From left to right whichever way they run: a bridge that is walked in both directions must cross at the same places.
    turned = points[:, :1] > following[:, :1]
    x0, y0 = np.where(turned, following, points).T
    x1, y1 = np.where(turned, points, following).T
    first = np.clip(np.ceil(x0 - 0.5), 0, width).astype(np.int64)
    counts = np.clip(np.ceil(x1 - 0.5), 0, width).astype(np.int64) - first
    crossing = counts > 0
    x0, y0, x1, y1, first, counts = (each[crossing] for each in (x0, y0, x1, y1, first, counts))
    slope = (y1 - y0) / (x1 - x0)
    total = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        before = int(total[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(total, before + _CROSSINGS)), begin + 1)
        sides = np.repeat(np.arange(begin, end), counts[begin:end])
        columns = np.arange(len(sides)) - (total[sides] - counts[sides] - before) + first[sides]
        rows = np.ceil(y0[sides] + slope[sides] * (columns + 0.5 - x0[sides]) - 0.5)
        yield columns * height + np.clip(rows, 0, height).astype(np.int64)
        begin = end


# -- COCO's compressed code -------------------------------------------------------------------------------------------


def _base32(numbers: Whole) -> str:
    """Signed numbers as text: 5 bits in each character, the lowest first, and a sixth where more of them follow."""
    shifts = np.arange(0, int(np.abs(numbers).max()).bit_length() + 1, 5)
    # A number is told once what is left is all sign, and the last character says which.
    rest = numbers[:, None] >> (shifts + 4)
    length = 1 + np.argmax((rest == 0) | (rest == -1), axis=1)
    digits = (numbers[:, None] >> shifts) & 0x1F
    place = np.arange(len(shifts))
    digits = np.where(place < length[:, None] - 1, digits | 0x20, digits) + 48
    return str(digits[place < length[:, None]].astype(np.uint8).tobytes(), "ascii")


def _from_base32(characters: NDArray[np.uint8]) -> Whole:
    """The numbers of such a text; DataError for any other."""
    digits = characters.astype(np.int64) - 48
    if not len(digits) or (digits < 0).any() or (digits > 63).any() or digits[-1] & 0x20:
        raise DataError("expected COCO's compressed counts of a mask, got another text")
    last = np.flatnonzero(digits & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > 7:
        raise DataError("expected COCO's compressed counts of a mask, got a number of more than 35 bits")
    place = np.arange(len(digits)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((digits & 0x1F) << (5 * place), first)
    negative = digits[last] & 0x10 != 0
    return np.where(negative, numbers - (np.int64(1) << (5 * lengths)), numbers)


# -- Label Studio's code ----------------------------------------------------------------------------------------------


def brush_of_pixels(pixels: Pixels) -> list[int]:
    """Label Studio's code of an image (height, width), as bytes: the same that its own converter writes."""
    flat = pixels.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(np.concatenate([[0], ends])) * _CHANNELS
    values = np.where(flat[ends - 1], 255, 0)
    most = 1 << int(_RUN_BITS[-1])
    pieces = -(-lengths // most)
    values = np.repeat(values, pieces)
    last = np.cumsum(pieces) - 1
    counts = np.full(int(pieces.sum()), most)
    counts[last] = lengths - (pieces - 1) * most
    which = np.searchsorted(1 << _RUN_BITS, counts)
    bits = _RUN_BITS[which]
    # A code of 3 + bits + 8 bits, moved to the left end of 64.
    codes = ((4 + which) << (bits + _VALUE_BITS)) | ((counts - 1) << _VALUE_BITS) | values
    width = 3 + bits + _VALUE_BITS
    left = (codes.astype(np.uint64) << (64 - width).astype(np.uint64)).astype(">u8").view(np.uint8).reshape(-1, 8)
    stream = np.unpackbits(left, axis=1)[np.arange(64) < width[:, None]]
    head = flat.size * _CHANNELS << 21 | (_VALUE_BITS - 1) << 16 | 0x237F
    head_bits = np.unpackbits(np.frombuffer(head.to_bytes(7, "big"), dtype=np.uint8))[-_HEAD_BITS:]
    packed = np.packbits(np.concatenate([head_bits, stream]))
    # Label Studio's converter fills the last byte up and adds a whole one where nothing is to be filled.
    whole = (_HEAD_BITS + len(stream)) % 8 == 0
    return [*packed.tolist(), *([0] if whole else [])]


def pixels_of_brush(code: Sequence[int], width: int, height: int) -> Pixels:
    """The image (height, width) of Label Studio's code; see `mask_of_brush`."""
    starts, ends = _brush_runs(code, width, height)
    return _filled(starts, ends, width * height).reshape(height, width)


def _brush_runs(code: Sequence[int], width: int, height: int) -> tuple[Whole, Whole]:
    """(starts, ends) of the runs of pixels inside, row by row; takes memory by the length of the code alone."""
    _check_size(width, height)
    try:
        inside, counts = _alpha_of(bytes([*code]), width * height * _CHANNELS)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"expected the run-length code of a mask of {width} x {height} pixels: {error}") from error
    ends = np.cumsum(counts)
    change = np.append(np.flatnonzero(inside[1:] != inside[:-1]), len(inside) - 1)  # the last of each run of runs
    ends, inside = ends[change], inside[change]
    starts = np.concatenate([[0], ends[:-1]])
    return starts[inside], ends[inside]


def _alpha_of(data: bytes, expected: int) -> tuple[Pixels, Whole]:
    """(whether alpha is set, number of pixels) of each run of a code with so many values."""
    if len(data) * 8 < _HEAD_BITS:
        raise ValueError("it ends too early")
    head = int.from_bytes(data[:7], "big") >> (56 - _HEAD_BITS)
    total, value_bits = head >> 21, (head >> 16 & 31) + 1
    sizes = np.array([(head >> shift & 15) + 1 for shift in (12, 8, 4, 0)])
    if value_bits != _VALUE_BITS:
        raise ValueError(f"{value_bits} bits per value, expected {_VALUE_BITS}")
    if total != expected:
        raise ValueError(f"{total} values, expected {expected}")
    bits = np.frombuffer(data + bytes(8), dtype=np.uint8)
    places, repeated, counts, values = _runs_of(bits, sizes, total)
    after = np.cumsum(counts)
    after[-1:] = np.minimum(after[-1:], total)
    if int(after[-1]) < total:
        raise ValueError("it ends too early")
    before = np.concatenate([[0], after[:-1]])
    # Of a repeated value, alpha is every fourth; of a list, every value counts for itself.
    pixels = after // _CHANNELS - before // _CHANNELS
    own = np.where(repeated, (pixels > 0).astype(np.int64), pixels)
    run = np.repeat(np.arange(len(counts)), own)
    nth = np.arange(len(run)) - np.repeat(np.cumsum(own) - own, own)
    listed = ~repeated[run]
    which = (before[run] // _CHANNELS + nth) * _CHANNELS + _CHANNELS - 1 - before[run]
    at = np.where(listed, places[run] + which * _VALUE_BITS, 0)
    if len(at) and int(at.max()) + _VALUE_BITS > len(data) * 8:
        raise ValueError("it ends too early")
    said = (bits[at >> 3].astype(np.int64) << 8 | bits[(at >> 3) + 1]) >> (8 - (at & 7)) & 255
    return np.where(listed, said, values[run]) > 0, np.where(listed, 1, pixels[run])


def _runs_of(bits: NDArray[np.uint8], sizes: Whole, total: int) -> tuple[Whole, Pixels, Whole, Whole]:
    """(place of its first value in bits, whether one value is repeated, number of values, that value) of each run.

    Where a run begins is known only once the one before is read: what a run would be is told for every bit at once, and
    then the runs are followed one after the other.
    """
    end = (len(bits) - 8) * 8
    position, done = _HEAD_BITS, 0
    found: list[tuple[Any, ...]] = []
    while done < total and position < end:
        base = position // 8
        window = bits[base : base + _WINDOW + 8].astype(np.uint64)
        words = np.zeros(len(window) - 7, dtype=np.uint64)
        for i in range(8):
            words |= window[i : len(window) - 7 + i] << np.uint64(56 - 8 * i)
        aligned = (words[:, None] << np.arange(8, dtype=np.uint64)).ravel()
        size = sizes[(aligned >> np.uint64(61) & np.uint64(3)).astype(np.int64)]
        count = (((aligned << np.uint64(3)) >> (64 - size).astype(np.uint64)) + np.uint64(1)).astype(np.int64)
        repeats = aligned >> np.uint64(63) == 1
        ahead = 3 + size + np.where(repeats, 1, count) * _VALUE_BITS
        starts, position = _followed(ahead, position - base * 8)
        starts = starts[: 1 + np.searchsorted(np.cumsum(count[starts]), total - done)]
        done, position = done + int(count[starts].sum()), position + base * 8
        value = (aligned[starts] << (3 + size[starts]).astype(np.uint64)) >> np.uint64(56)
        found.append((starts + base * 8 + 3 + size[starts], repeats[starts], count[starts], value.astype(np.int64)))
    if not found:
        raise ValueError("it ends too early")
    places, repeated, counts, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return places, repeated, counts, values


def _followed(ahead: Whole, position: int) -> tuple[Whole, int]:
    """(places of the runs that begin in this window, where the next one begins)."""
    steps, end = ahead.data, len(ahead)
    starts = []
    while position < end:
        starts.append(position)
        position += steps[position]
    return np.array(starts, dtype=np.int64), position
