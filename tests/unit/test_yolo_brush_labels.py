"""The mask of a detected object becomes a region that Label Studio shows."""

from __future__ import annotations

import numpy as np

from backends.yolo.converters.brush_labels import mask_to_region
from backends.yolo.converters.frame import Frame
from labelloop.label_config import parse_label_config
from labelloop.masks import pixels_of_brush

FRAME = Frame("brush", "im", "brushlabels", 60, 40)


def test_a_region_holds_what_label_studio_needs_and_an_empty_mask_gives_none():
    mask = np.zeros((40, 60), dtype=bool)
    assert mask_to_region(mask, "leaf", 0.5, FRAME) is None
    mask[10:20, 10:30] = True
    region = mask_to_region(mask, "leaf", 0.5, FRAME)
    config = parse_label_config(
        '<View><Image name="im" value="$i"/><BrushLabels name="brush" toName="im"><Label value="leaf"/></BrushLabels></View>'
    )
    assert config.problem_with(region) is None
    assert (region["value"]["format"], region["original_width"], region["original_height"]) == ("rle", 60, 40)
    assert (pixels_of_brush(region["value"]["rle"], 60, 40) == mask).all()
