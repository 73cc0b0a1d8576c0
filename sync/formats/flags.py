"""Marks of single regions that formats know and Label Studio has no field for: choices about a region that are so named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from sync.formats.reading import WantedControl

#: A key point that is there and cannot be seen; a mask around many objects; an object that no one need find.
HIDDEN, CROWD, DIFFICULT = "hidden", "crowd", "difficult"
#: What a choice may be called, by the mark that it sets; case does not count.
_NAMES = {
    HIDDEN: HIDDEN, "occluded": HIDDEN, "invisible": HIDDEN, "not visible": HIDDEN,
    CROWD: CROWD, "iscrowd": CROWD, DIFFICULT: DIFFICULT,
}  # fmt: skip

Marks = Mapping[str, frozenset[str]]


def flag_controls(config: LabelConfig, marks: Sequence[str]) -> frozenset[str]:
    """The names of the `<Choices perRegion="true">` whose choices set one of these marks."""
    return frozenset(
        control.name
        for control in config.controls
        if _per_region(control) and any(_NAMES.get(name.casefold()) in marks for name in control.classes)
    )


def marks_of(result: Iterable[Region], controls: frozenset[str]) -> Marks:
    """The marks of each region by its id, as choices of these controls set them."""
    if not controls:
        return {}
    found: dict[str, set[str]] = {}
    for region in result:
        value = region.get("value")
        choices = value.get("choices") if isinstance(value, Mapping) else None
        if str(region.get("from_name")) not in controls or not isinstance(choices, list):
            continue
        for choice in choices:
            mark = _NAMES.get(str(choice).casefold())
            if mark is not None:
                found.setdefault(str(region.get("id")), set()).add(mark)
    return {region_id: frozenset(marks) for region_id, marks in found.items()}


def wanted_flags(name: str, marks: Sequence[str]) -> WantedControl:
    """A control for these marks, for a config that is made of what was found."""
    return WantedControl("Choices", name, list(marks), {"perRegion": "true", "choice": "multiple"})


def flag_choice(config: LabelConfig, mark: str) -> tuple[Control, str] | None:
    """The control and the choice that set a mark; None where the config has none."""
    for control in config.controls:
        for name in control.classes if _per_region(control) else ():
            if _NAMES.get(name.casefold()) == mark:
                return control, name
    return None


def flag_region(region: Region, control: Control, choices: Sequence[str]) -> Region:
    """The choice about a region, as Label Studio keeps it: under the region's own id, with its place."""
    drawn: Mapping[str, Any] = region["value"]
    place = {key: drawn[key] for key in ("x", "y", "width", "height", "rotation", "points") if key in drawn}
    return {
        **{key: entry for key, entry in region.items() if key != "parentID"},
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.region_type,
        "value": {**place, control.value_key: list(choices)},
    }


def _per_region(control: Control) -> bool:
    return control.tag == "Choices" and control.per_region
