"""Fingerprints by which near duplicates are found: a perceptual hash of an image, a MinHash signature of a text.

phash256:<64 hex>          DCT of the picture reduced to 64 x 64 (imagehash), 256 bits; compared by Hamming distance
minhash128:<base64>        128 minima over the text's runs of 5 characters (datasketch), 16 bits of each kept
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_KIND, TEXT_KIND = "phash256", "minhash128"
IMAGE_BITS, TEXT_MINIMA = 256, 128
#: Side of what an image is reduced to for its hash; a JPEG need not be decoded larger than this.
IMAGE_SIDE = 64
IMAGE_DRAFT = (256, 256)
_RUN = 5
_SEED = 1
#: Characters whose minima are taken at once: more would only cost memory.
_SLICE = 4096


def image_fingerprint(image: Image.Image) -> str:
    """The fingerprint of an upright picture of any mode; transparent parts count as white, deep ones are scaled down."""
    import imagehash

    found = imagehash.phash(_grey(image), hash_size=16, highfreq_factor=IMAGE_SIDE // 16)
    return f"{IMAGE_KIND}:{found}"


def _grey(image: Image.Image) -> Image.Image:
    """Eight bits of grey, which is all that the hash sees."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = np.asarray(image, dtype=np.float64)
        low, high = float(pixels.min()), float(pixels.max())
        scaled = (pixels - low) * (255.0 / (high - low)) if high > low else np.zeros_like(pixels)
        return Image.fromarray(scaled.astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "L" else image.convert("RGB").convert("L")


def text_fingerprint(text: str) -> str:
    """The fingerprint of a text; case and the amount of white space make no difference."""
    minhash = _blank_minhash().copy()
    hashes = _run_hashes(" ".join(text.casefold().split()))
    for start in range(0, len(hashes), _SLICE):
        minhash.update_batch(hashes[start : start + _SLICE])
    minima = (minhash.hashvalues & np.uint64(0xFFFF)).astype("<u2")
    return f"{TEXT_KIND}:{base64.b64encode(minima.tobytes()).decode()}"


@cache
def _blank_minhash() -> Any:
    """One to copy: drawing its permutations takes longer than most texts."""
    from datasketch import MinHash

    return MinHash(num_perm=TEXT_MINIMA, seed=_SEED, hashfunc=_itself)


def _itself(value: Any) -> Any:
    return value


def _run_hashes(text: str) -> NDArray[np.uint64]:
    """A 32-bit hash of every run of _RUN characters, each once; of the whole text where it is shorter."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    length = min(_RUN, len(points))
    if length == 0:
        return np.zeros(1, dtype=np.uint64)
    runs = len(points) - length + 1
    mixed: NDArray[np.uint64] = np.zeros(runs, dtype=np.uint64)
    for place in range(length):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + points[place : place + runs] + np.uint64(1)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(np.unique(mixed >> np.uint64(32)), dtype=np.uint64)


def kind_of(fingerprint: str) -> str:
    """The kind of a fingerprint: what stands before the colon."""
    return fingerprint.partition(":")[0]


def image_rows(fingerprints: Iterable[str]) -> NDArray[np.uint64]:
    """Image fingerprints as rows of four 64-bit words."""
    content = b"".join(bytes.fromhex(each.partition(":")[2]) for each in fingerprints)
    return np.frombuffer(content, dtype=">u8").astype(np.uint64).reshape(-1, IMAGE_BITS // 64)


def text_rows(fingerprints: Sequence[str]) -> NDArray[np.uint16]:
    """Text fingerprints as rows of 128 minima."""
    content = b"".join(base64.b64decode(each.partition(":")[2]) for each in fingerprints)
    return np.frombuffer(content, dtype="<u2").astype(np.uint16).reshape(-1, TEXT_MINIMA)
