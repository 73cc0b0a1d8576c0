"""The labelled texts of a task as the text formats write them: spans in code points, white space at their ends cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from sync.formats.examples import Example, labels_of
from sync.formats.format import Part, PartDone, Plan
from sync.formats.offsets import locate_spans, trimmed

Span = tuple[int, int, str, Region]
"""(start, end, class, the region it is of)."""
#: The choice of every control.
ALL = "all"


@dataclass(frozen=True)
class TextLayer:
    """One <Text> of a config with those of its controls that are written."""

    to_name: str
    data_key: str
    controls: Mapping[str, Control]


@dataclass(frozen=True)
class SpanClasses:
    """The texts that a format writes, and the id of each class of their controls."""

    layers: tuple[TextLayer, ...]
    classes: Mapping[str, int]

    @property
    def controls(self) -> dict[str, Control]:
        """All controls that are written, by name."""
        return {name: control for layer in self.layers for name, control in layer.controls.items()}


@dataclass(slots=True)
class Notes:
    """What was done to spans so that they could be written; `part.notes` carries it to `join`."""

    offsets: Counter[str] = field(default_factory=Counter)
    spans: Counter[str] = field(default_factory=Counter)

    def to_part(self, part: Part) -> None:
        """Hand the counts over."""
        part.notes["offsets"] = dict(self.offsets)
        part.notes["spans"] = dict(self.spans)


def notes_of(parts: Iterable[PartDone]) -> dict[str, Any]:
    """The counts of all parts, as the manifest says them."""
    summed = {"offsets": Counter[str](), "spans": Counter[str]()}
    for part in parts:
        for kind, counts in summed.items():
            counts.update(part.notes.get(kind, {}))
    return {
        "offset_notes": dict(sorted(summed["offsets"].items())),
        "span_notes": dict(sorted(summed["spans"].items())),
    }


def controls_on_texts(config: LabelConfig, tag: str) -> list[Control]:
    """The controls of a tag on texts that tasks carry as they are shown."""
    return [control for control in config.controls if control.tag == tag and _is_carried(control)]


def text_controls(plan: Plan, tag: str) -> list[Control]:
    """The same of a plan; DataError when there is none."""
    controls = controls_on_texts(plan.config, tag)
    if not controls:
        raise DataError(
            f"{plan.format} needs <{tag}> on a <Text> whose text is in the task's data (not HTML, a dialogue or an "
            "address); choose another format"
        )
    return controls


def _is_carried(control: Control) -> bool:
    said = control.object_attributes
    return (
        control.object_tag == "Text"
        and said.get("valueType", "text") == "text"
        and said.get("encoding", "none") == "none"
        and not control.per_region
    )


def span_classes(plan: Plan, controls: Sequence[Control], chosen: str) -> SpanClasses:
    """What there is to write of these <Labels>: all of them, or the one that is chosen by its name."""
    written = [control for control in controls if chosen in (ALL, control.name)]
    layers = tuple(
        TextLayer(to_name, on_it[0].data_key, {control.name: control for control in on_it})
        for to_name in dict.fromkeys(control.to_name for control in written)
        if (on_it := [control for control in written if control.to_name == to_name])
    )
    return SpanClasses(layers, {name: at for at, name in enumerate(plan.class_names(*written))})


def texts_of(
    example: Example, layers: Sequence[TextLayer], part: Part, form: str
) -> Iterator[tuple[TextLayer, str, list[Region]]]:
    """Each text of a task that is there, with the regions on it; what belongs to none is noted."""
    regions: dict[str, list[Region]] = {layer.to_name: [] for layer in layers}
    places = {name: found for layer, found in zip(layers, regions.values(), strict=True) for name in layer.controls}
    for region in example.result:
        place = places.get(region.get("from_name") or "")
        if place is None:
            what = f"{region.get('type')} of {region.get('from_name')!r}"
            part.skip(example.task_id, f"region {region.get('id')}: {form} has no place for {what}")
        else:
            place.append(region)
    for layer in layers:
        text = example.data.get(layer.data_key)
        if isinstance(text, str):
            yield layer, text, regions[layer.to_name]
            continue
        part.skip(example.task_id, f"text_missing: expected a text under {layer.data_key!r}, got {type(text).__name__}")
        for region in regions[layer.to_name]:
            part.skip(example.task_id, f"region {region.get('id')}: its text is missing")


def spans_of(
    text: str, regions: Sequence[Region], layer: TextLayer, classes: Mapping[str, int], example: Example, part: Part,
    notes: Notes,
) -> list[Span]:  # fmt: skip
    """The spans of one text in the order of the regions, one for each class of a region; what is none is noted."""
    values = [value if isinstance(value := region.get("value"), Mapping) else {} for region in regions]
    found: list[Span] = []
    for region, place in zip(regions, locate_spans(text, values, notes.offsets), strict=True):
        if isinstance(place, str):
            part.skip(example.task_id, f"region {region.get('id')}: {place}")
            continue
        start, end = trimmed(text, *place)
        if start == end:
            part.skip(example.task_id, f"region {region.get('id')}: white_space: nothing else is marked")
            continue
        if (start, end) != place:
            notes.spans["trimmed"] += 1
        labels = labels_of(region, layer.controls[region["from_name"]])
        if not labels:
            part.skip(example.task_id, f"region {region.get('id')}: no class was chosen")
        for label in labels:
            if label in classes:
                found.append((start, end, label, region))
            else:
                part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
    return found
