"""One label out of several people's labels of a task: regions that a quorum has, each where their mean or vote lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from qa.consensus.region_votes import Drawn, Fused, region_consensus
from qa.kinds.kind import Kind
from qa.kinds.registry import measurable

#: Kinds that are fused. Masks are not: the consensus has one mask for a class, and models learn things one by one.
FUSED_KINDS = ("boxes", "polygons", "spans")
_ROTATION_NOISE = 1e-6


@dataclass(frozen=True)
class FusedLabel:
    """Regions in the place of the chosen label's; `without_quorum` counts regions that too few people have."""

    result: list[Region]
    without_quorum: int


def fusible(config: LabelConfig) -> list[tuple[Control, Kind]]:
    """The controls whose regions can be fused: boxes, outlines and spans of plain texts.

    None where single regions are asked about: what was answered belongs to one person's region.
    """
    if any(control.per_region for control in (*config.controls, *config.answers)):
        return []
    return [
        (control, kind)
        for control, kind in measurable(config)
        if kind.name in FUSED_KINDS and (kind.name != "spans" or control.object_tag == "Text")
    ]


def fused_label(
    results: Sequence[Sequence[Region]], chosen: int, controls: Sequence[tuple[Control, Kind]], data: Mapping[str, Any]
) -> FusedLabel | None:
    """One label of several people's `results`; under other controls than these the chosen one's regions stay.

    None where the regions of somebody refer to others (by a parent or a relation), which no fused region can.
    """
    if any(region.get("parentID") or region.get("type") == "relation" for result in results for region in result):
        return None
    names = {control.name for control, _ in controls}
    found = [region for region in results[chosen] if region.get("from_name") not in names]
    without = 0
    for control, kind in controls:
        drawn = [Drawn(place, kind.read(result, control, data)) for place, result in enumerate(results)]
        kept, rejected = region_consensus(kind.name, drawn)
        without += len(rejected)
        own = [region for result in results for region in result if region.get("from_name") == control.name]
        found += [_region(control, each, number, own, data) for number, each in enumerate(kept)]
    return FusedLabel(found, without)


def _region(control: Control, fused: Fused, number: int, own: Sequence[Region], data: Mapping[str, Any]) -> Region:
    """A fused region as Label Studio writes one."""
    value = dict(fused.value)
    if "rotation" in value and min(value["rotation"], 360.0 - value["rotation"]) < _ROTATION_NOISE:
        value["rotation"] = 0.0
    text = data.get(control.data_key)
    if "start" in value and isinstance(text, str):
        value["text"] = text[value["start"] : value["end"]]
    region: Region = {
        "id": f"fused-{control.name}-{number}", "from_name": control.name, "to_name": control.to_name,
        "type": control.region_type, "value": {**value, control.value_key: [fused.label]},
    }  # fmt: skip
    alike = [each for each in own if int(each.get("item_index") or 0) == fused.item]
    for key in ("original_width", "original_height", "item_index"):
        there = next((each[key] for each in alike if each.get(key) is not None), None)
        if there is not None:
            region[key] = there
    return region
