"""Agreement on 1,200,000 boxes: two people, three boxes each on 200,000 images, compared as the agreement report does."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks._comparison import at_most
from qa.kinds.kind import Readings
from qa.kinds.shapes import Boxes, Floats

TASKS, PEOPLE, BOXES_EACH, SECONDS = 200_000, 2, 3, 3.0
SIZE = 640.0
_CLASSES = ("car", "dog", "person")


def readings_of(tasks: int, seed: int = 6) -> tuple[Readings, float]:
    """(what two people drew, the mean IoU of their boxes): boxes stand in columns, so that who meets whom is known."""
    source = np.random.default_rng(seed)
    column = SIZE / BOXES_EACH
    wanted = np.empty((tasks, BOXES_EACH, 4))
    wanted[..., 0] = np.arange(BOXES_EACH) * column + source.uniform(20, 60, (tasks, BOXES_EACH))
    wanted[..., 1] = source.uniform(20, 300, (tasks, BOXES_EACH))
    wanted[..., 2:] = wanted[..., :2] + source.uniform(60, 120, (tasks, BOXES_EACH, 2))
    drawn = wanted[:, None] + source.uniform(-5, 5, (tasks, PEOPLE, BOXES_EACH, 4))
    # Each person draws them in an order of their own.
    orders = source.permuted(np.tile(np.arange(BOXES_EACH), (tasks, PEOPLE, 1)), axis=2)
    shuffled = np.take_along_axis(drawn, orders[..., None], axis=2)
    corners = shuffled[..., [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, BOXES_EACH, 4, 2)
    values = [
        Boxes(corners[place], tuple(_CLASSES[at] for at in order), ("a", "b", "c"), (0, 0, 0), SIZE, SIZE)
        for place, order in enumerate(orders.reshape(-1, BOXES_EACH).tolist())
    ]
    people = np.arange(len(values))
    return Readings(people // PEOPLE, people % PEOPLE, values), float(_ious(drawn[:, 0], drawn[:, 1]).mean())


def _ious(a: Floats, b: Floats) -> Floats:
    """Of upright boxes (..., 4: left, top, right, bottom), one by one."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.maximum(sides, 0).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (a, b)]
    found: Floats = common / (areas[0] + areas[1] - common)
    return found


def box_rows(repeats: int, tasks: int = TASKS) -> list[dict[str, Any]]:
    """The median of some comparisons, after one that does not count."""
    from qa.kinds.boxes import BOXES

    readings, expected = readings_of(tasks)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        pairs = BOXES.compare(readings).pairs
        seconds.append(time.perf_counter() - began)
    ratio = BOXES.ratios["mean_iou"]
    found = ratio.factor * float(pairs[ratio.over].sum()) / float(pairs[ratio.under].sum())
    what = f"box agreement, {tasks * PEOPLE * BOXES_EACH} boxes, {tasks} tasks"
    equal = len(pairs) == tasks and abs(found - expected) <= 1e-9
    return [at_most(what, float(np.median(seconds[1:])), SECONDS, equal=equal, repeats=repeats, mean_iou=found)]
