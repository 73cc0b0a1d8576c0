"""What became of a label's regions from one state to the next, one by one and in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from labelloop.values import Region

Kind = Literal["added", "removed", "moved", "reclassified", "changed"]

#: Singular and plural by the type of a region.
_NOUNS = {
    "rectanglelabels": ("box", "boxes"),
    "polygonlabels": ("polygon", "polygons"),
    "brushlabels": ("mask", "masks"),
    "keypointlabels": ("point", "points"),
    "ellipselabels": ("ellipse", "ellipses"),
    "labels": ("span", "spans"),
    "hypertextlabels": ("span", "spans"),
    "paragraphlabels": ("span", "spans"),
    "choices": ("choice", "choices"),
    "taxonomy": ("choice", "choices"),
    "textarea": ("text", "texts"),
}
#: Regions that say something without lying anywhere: a new one in place of an old one is the old one changed.
_SAYINGS = ("choices", "taxonomy", "textarea", "rating", "number", "datetime")


@dataclass(frozen=True)
class RegionChange:
    """One region's change; `before` and `after` are its classes, empty where there was or is no region."""

    kind: Kind
    region_id: str
    control: str
    type: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "change": self.kind, "region_id": self.region_id, "control": self.control, "type": self.type,
            "before": list(self.before), "after": list(self.after),
        }  # fmt: skip


def region_changes(before: Sequence[Region], after: Sequence[Region]) -> list[RegionChange]:
    """The regions that differ: those of `after` in their order, then those that are gone.

    "moved": it lies elsewhere; "reclassified": it has other classes (and may lie elsewhere); "changed": anything else that
    a person can change, as a text. Scores and where a region came from are no changes of it.
    """
    old, new = _keyed(before), _keyed(after)
    for key in [key for key in new if key not in old and new[key].get("type") in _SAYINGS]:
        same = next((each for each in old if each not in new and _same_saying(old[each], new[key])), None)
        if same is not None:
            old[key] = old.pop(same)
    found = []
    for key, region in new.items():
        kind = _kind(old.get(key), region)
        if kind is not None:
            found.append(_change(kind, old.get(key), region))
    found += [_change("removed", region, None) for key, region in old.items() if key not in new]
    return found


def in_words(changes: Sequence[RegionChange]) -> str:
    """The changes as one sentence part: "2 boxes added, 1 box moved, 'cat' became 'dog'"."""
    parts = []
    counted = Counter((change.kind, change.type) for change in changes if change.kind != "reclassified")
    for kind in ("added", "removed", "moved", "changed"):
        for (found, type_), count in counted.items():
            if found == kind:
                parts.append(f"{count} {noun(type_, count)} {kind}")
    became = Counter((change.before, change.after) for change in changes if change.kind == "reclassified")
    for (old, new), count in became.items():
        times = f" ({count} times)" if count > 1 else ""
        parts.append(f"{_named(old)} became {_named(new)}{times}")
    return ", ".join(parts) or "nothing changed in its regions"


def noun(type_: str, count: int) -> str:
    """What a region of a type is called."""
    return _NOUNS.get(type_, ("region", "regions"))[count != 1]


def classes_of(region: Region | None) -> tuple[str, ...]:
    """The classes of a region; a taxonomy's path is joined by " / "."""
    value = (region or {}).get("value")
    labels = value.get(str((region or {}).get("type"))) if isinstance(value, Mapping) else None
    listed = labels if isinstance(labels, list) else []
    return tuple(" / ".join(map(str, label)) if isinstance(label, list) else str(label) for label in listed)


def _keyed(result: Sequence[Region]) -> dict[tuple[str, str, int], Region]:
    """The regions by id and control; of several with the same the number tells them apart."""
    found: dict[tuple[str, str, int], Region] = {}
    for region in result:
        name = (str(region.get("id")), str(region.get("from_name")))
        number = 0
        while (*name, number) in found:
            number += 1
        found[(*name, number)] = region
    return found


def _same_saying(old: Region, new: Region) -> bool:
    return all(old.get(key) == new.get(key) for key in ("from_name", "to_name", "type", "item_index"))


def _kind(old: Region | None, new: Region) -> Kind | None:
    if old is None:
        return "added"
    if classes_of(old) != classes_of(new):
        return "reclassified"
    before, after = _shape(old), _shape(new)
    if before == after:
        return None
    return "changed" if new.get("type") in _SAYINGS else "moved"


def _shape(region: Region) -> Any:
    value = region.get("value")
    if not isinstance(value, Mapping):
        return value
    return {key: each for key, each in value.items() if key != region.get("type")}


def _change(kind: Kind, old: Region | None, new: Region | None) -> RegionChange:
    region = new if new is not None else old or {}
    return RegionChange(
        kind, str(region.get("id")), str(region.get("from_name")), str(region.get("type")), classes_of(old),
        classes_of(new),
    )  # fmt: skip


def _named(classes: Sequence[str]) -> str:
    return " and ".join(map(repr, classes)) or "no class"
