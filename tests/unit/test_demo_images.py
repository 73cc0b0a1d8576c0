"""The demo's images are the same every time, as hard as they should be, and true to their boxes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from labelloop.demo.images import LABELS, SIDE, draw_image, generate_images


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return folder, generate_images(folder, 120, 3)


def test_the_same_seed_gives_the_same_pixels_and_truth(made, tmp_path):
    folder, truths = made
    again = generate_images(tmp_path, 120, 3)
    assert again == truths
    for truth in truths[::17]:
        assert (folder / truth.file).read_bytes() == (tmp_path / truth.file).read_bytes()


def test_another_seed_gives_other_images(made, tmp_path):
    assert [t.boxes for t in generate_images(tmp_path, 120, 4)] != [t.boxes for t in made[1]]


def test_one_image_in_ten_is_empty_and_the_others_hold_about_three_objects(made):
    counts = [len(truth.boxes) for truth in made[1]]
    assert counts.count(0) == 12
    assert 2.5 <= sum(counts) / (120 - 12) <= 3.5


def test_any_66_images_in_a_row_hold_150_objects(made):
    counts = [len(truth.boxes) for truth in made[1]]
    assert min(sum(counts[start : start + 66]) for start in range(120 - 66)) >= 150


def test_every_class_occurs_often(made):
    found = Counter(box[0] for truth in made[1] for box in truth.boxes)
    assert set(found) == set(LABELS) and len(LABELS) >= 3
    assert min(found.values()) >= 40


def test_files_are_square_rgb_images_of_the_stated_size(made):
    folder, truths = made
    for truth in truths[:10]:
        with Image.open(folder / truth.file) as image:
            assert image.size == (truth.width, truth.height) == (SIDE, SIDE)
            assert image.mode == "RGB"


def test_boxes_lie_inside_the_image_and_vary_in_size(made):
    boxes = [box for truth in made[1] for box in truth.boxes]
    for _, x, y, width, height in boxes:
        assert x >= 0 and y >= 0 and x + width <= 100 and y + height <= 100
    areas = [width * height for *_, width, height in boxes]
    assert max(areas) > 3 * min(areas)


def test_some_objects_overlap(made):
    def touch(a, b):
        return all(max(a[k], b[k]) < min(a[k] + a[k + 2], b[k] + b[k + 2]) for k in (1, 2))

    pairs = [touch(a, b) for truth in made[1] for i, a in enumerate(truth.boxes) for b in truth.boxes[i + 1 :]]
    assert sum(pairs) >= 5


def test_a_box_holds_what_differs_from_the_empty_scene():
    rng = np.random.default_rng(5)
    pixels, boxes = draw_image(rng, empty=False)
    assert boxes
    for _, x, y, width, height in boxes:
        left, top, right, bottom = (round(v * SIDE / 100) for v in (x, y, x + width, y + height))
        inside = pixels[top:bottom, left:right].astype(float)
        assert inside.std() > 15
