"""BrushLabels: masks to Label Studio's run-length code and back.

The code (a packed bit stream, most significant bit first) is that of `rle-pack`, which Label Studio's editor uses: the
number of values (32 bits), the bits per value less one (5), four lengths of run sizes in bits less one (4 each), and
then runs: a bit (1: one value repeated, 0: a list of values), which of the four sizes (2 bits), the number of values
less one, the value or values. The values of a mask are the red, green, blue and alpha of each pixel, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backends.yolo.converters.frame import Frame
from labelloop.errors import DataError
from labelloop.values import Region

REGION_TYPE = "brushlabels"
_VALUE_BITS = 8
_RUN_BITS = np.array([3, 4, 8, 16])
_CHANNELS = 4
_HEAD_BITS = 32 + 5 + 4 * 4


def mask_to_region(
    mask: NDArray[np.bool_], label: str, score: float | None, frame: Frame, number: int = 0
) -> Region | None:
    """The region of a mask (height, width) at the image's size; None when nothing is set in it."""
    if not mask.any():
        return None
    value = {"format": "rle", "rle": encode_mask(mask), REGION_TYPE: [label]}
    return frame.region(number, value, score)


def encode_mask(mask: NDArray[np.bool_]) -> list[int]:
    """The run-length code of a mask (height, width), as bytes: the same that Label Studio's own converter writes."""
    flat = mask.ravel()
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


def decode_mask(rle: Sequence[int], width: int, height: int) -> NDArray[np.bool_]:
    """The mask (height, width) of a run-length code: where alpha is set. DataError when the code does not fit."""
    try:
        values = _decoded(bytes(rle))
        return np.asarray(values.reshape(height, width, _CHANNELS)[:, :, _CHANNELS - 1] > 0)
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(f"expected the run-length code of a mask of {width} x {height} pixels: {error}") from error


def _decoded(data: bytes) -> NDArray[np.uint8]:
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    position = 0

    def read(count: int) -> int:
        nonlocal position
        first, position = position, position + count
        if position > len(bits):
            raise ValueError("it ends too early")
        window = int.from_bytes(data[first // 8 : (position + 7) // 8], "big")
        return window >> (-position % 8) & ((1 << count) - 1)

    total, value_bits = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    if value_bits != _VALUE_BITS:
        raise ValueError(f"{value_bits} bits per value, expected {_VALUE_BITS}")
    if total > len(data) * (1 << 16):  # a run of 2^16 values takes more than a byte
        raise ValueError(f"{total} values in {len(data)} bytes")
    out = np.zeros(total, dtype=np.uint8)
    done = 0
    while done < total:
        repeated = read(1)
        count = min(read(sizes[read(2)]) + 1, total - done)
        if repeated:
            out[done : done + count] = read(_VALUE_BITS)
        else:
            literal = bits[position : position + count * _VALUE_BITS]
            position += count * _VALUE_BITS
            out[done : done + count] = np.packbits(literal.reshape(count, _VALUE_BITS), axis=1)[:, 0]
        done += count
    return out
