"""What the regions of one control on one image of a task have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelloop.values import Region


@dataclass(frozen=True)
class Frame:
    """One control and one image: `width` and `height` in pixels, `item` its place where a task has several images."""

    control: str
    to_name: str
    type: str
    width: int = 0
    height: int = 0
    item: int | None = None
    address: str = ""

    def region(self, key: object, value: Mapping[str, Any], score: float | None, **more: Any) -> Region:
        """A region of this control; `key` tells it from the others here, and its id from those of any other image."""
        region: Region = {
            "id": self.region_id(key), "from_name": self.control, "to_name": self.to_name, "type": self.type,
        }  # fmt: skip
        if self.width and self.height:
            region |= {"original_width": self.width, "original_height": self.height, "image_rotation": 0}
        if self.item is not None:
            region["item_index"] = self.item
        region["value"] = dict(value)
        if score is not None:
            region["score"] = min(max(float(score), 0.0), 1.0)
        return region | more

    def region_id(self, key: object) -> str:
        """The id that `region` gives for that key."""
        text = repr((self.address, self.item, self.control, key))
        return "y" + hashlib.blake2s(text.encode(), digest_size=8).hexdigest()

    def percent(self, x: float, y: float) -> tuple[float, float]:
        """Pixels as percent of the image's width and height."""
        return 100 * x / self.width, 100 * y / self.height
