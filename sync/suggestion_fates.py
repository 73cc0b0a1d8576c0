"""What became of each suggested region: accepted, moved, relabelled or deleted; and what people added. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from qa.corrections.labels import ClassOf, Fate
from qa.issues.placed import alike, placed_in
from qa.kinds.kind import Kind, is_untouched, under
from qa.kinds.likeness import LIKENESS
from qa.kinds.registry import measurable
from qa.measures.matching import MATCHED, best_matching
from sync.region_changes import classes_of, region_changes

#: Of partners that fit equally well, one of the same class counts.
_SAME_CLASS = 1e-7
#: From this likeness on two regions are the same one; of spans any overlap is enough.
_LEAST = {"spans": 1e-9}
#: What a browser may lose of a percent.
_ROUNDED = 1e-6


def suggestion_fates(
    suggested: Sequence[Region], label: Sequence[Region], config: LabelConfig, data: Mapping[str, Any]
) -> Counter[tuple[ClassOf, Fate]]:
    """How often each class met each fate in one label; `data` is the data of its task.

    A region is known by its id, else by its place: those that are left are matched one to one with what overlaps them best.
    What was relabelled counts under the class that was suggested, what was added under the class that it got. Of a set of
    classes each counts for itself. Regions without classes don't count.
    """
    names = class_names(config)
    before = [{**region, "id": str(region.get("id") or f"suggested {n}")} for n, region in enumerate(suggested)]
    after = _with_kept_ids(before, [{**region, "id": str(region.get("id"))} for region in label], config, data)
    found: Counter[tuple[ClassOf, Fate]] = Counter()
    changed: Counter[ClassOf] = Counter()
    left = _left_alone(before, after)
    for change in region_changes(before, after):
        if change.kind in ("moved", "changed") and (change.region_id, change.control) in left:
            continue
        old, new = (_named(change.control, classes, names) for classes in (change.before, change.after))
        changed.update(old)
        found.update((each, _fate_of(each, old, new)) for each in old)
        if not old - new:  # otherwise the new ones stand for the old ones
            found.update((each, "added") for each in new - old)
    for each, count in (Counter(classes_in(before, names, often=True)) - changed).items():
        found[each, "accepted"] += count
    return found


def classes_in(result: Sequence[Region], names: Mapping[ClassOf, str], *, often: bool = False) -> list[ClassOf]:
    """The classes that regions carry, once each, or as `often` as they do; `names` are those of `class_names`."""
    found = [
        each
        for region in result
        for each in _named(str(region.get("from_name")), classes_of(region), names)
    ]  # fmt: skip
    return found if often else sorted(set(found))


def class_names(config: LabelConfig) -> dict[ClassOf, str]:
    """The config's own name of each class, by control and the alias that Label Studio stores."""
    return {(control.name, stored): name for control in config.controls for name, stored in control.stored_as.items()}


def _named(control: str, classes: Sequence[str], names: Mapping[ClassOf, str]) -> set[ClassOf]:
    steps = [[names.get((control, step), step) for step in name.split(" / ")] for name in classes]
    return {(control, " / ".join(each)) for each in steps}


def _fate_of(each: ClassOf, old: set[ClassOf], new: set[ClassOf]) -> Fate:
    if each in new:
        return "moved" if old == new else "accepted"
    return "relabelled" if new - old else "deleted"


def _left_alone(before: Sequence[Region], after: Sequence[Region]) -> set[tuple[str, str]]:
    """(id, control) of regions that lie where they were suggested, though the editor may write them in another way.

    It adds what a suggestion leaves out (the text of a span, a rotation of 0), and percents come back rounded.
    """
    old = {(region["id"], str(region.get("from_name"))): region for region in before}
    found = set()
    for region in after:
        key = (region["id"], str(region.get("from_name")))
        if key in old and (is_untouched(region) or _same_place(old[key].get("value"), region.get("value"))):
            found.add(key)
    return found


def _same_place(old: Any, new: Any) -> bool:
    """Whether what both have is the same, but for rounding."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(_same_place(value, new[key]) for key, value in old.items() if key in new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same_place, old, new))
    if isinstance(old, int | float) and isinstance(new, int | float):
        return math.isclose(old, new, rel_tol=_ROUNDED, abs_tol=_ROUNDED)
    return bool(old == new)


# -- regions whose ids were not kept --------------------------------------------------------------------------------------


def _with_kept_ids(
    before: Sequence[Region], after: Sequence[Region], config: LabelConfig, data: Mapping[str, Any]
) -> list[Region]:
    """The label's regions; those that lie where a suggested one lay that is gone by its id get the id of that one."""
    known: dict[str, str] = {}
    for control, kind in _placed_controls(config):
        known |= _partners(before, after, control, kind, data)
    return [{**region, "id": known.get(region["id"], region["id"])} for region in after]


@lru_cache(maxsize=8)
def _placed_controls(config: LabelConfig) -> list[tuple[Control, Kind]]:
    """The controls whose regions lie somewhere."""
    return [(control, kind) for control, kind in measurable(config) if kind.name in LIKENESS]


def _partners(
    before: Sequence[Region], after: Sequence[Region], control: Control, kind: Kind, data: Mapping[str, Any]
) -> dict[str, str]:
    """Id of a new region -> id of the suggested one that it stands for."""
    there = [{region["id"] for region in under(each, control)} for each in (before, after)]
    kept = there[0] & there[1]
    if kept in there:  # nothing is left on one side
        return {}
    first, second = (
        placed_in([region for region in each if region["id"] not in kept], control, kind, data)
        for each in (before, after)
    )
    if not len(first) or not len(second):
        return {}
    like = alike(first, second)
    rows, columns = np.nonzero(like >= _LEAST.get(kind.name, MATCHED))
    same = [first.labels[i] == second.labels[j] for i, j in zip(rows.tolist(), columns.tolist(), strict=True)]
    chosen = best_matching(rows, columns, like[rows, columns] + _SAME_CLASS * np.array(same, dtype=np.float64))
    pairs = zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True)
    return {second.regions[j]: first.regions[i] for i, j in pairs if second.regions[j] and first.regions[i]}
