"""A project's classes through its life: they are renamed, merged, split and retired, and old labels are read by it. Pure.

What Label Studio stored as a class stands for one class for ever: by its name, or by one of its aliases. Where the labels
of a class go now is told by `became`; a class id is never given to another class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from labelloop.errors import UsageError
from labelloop.label_config import LabelConfig
from labelloop.values import Region

#: (task id, annotation id or 0 for any, region id): whose class was said one by one after a split.
RegionKey = tuple[int, int, str]


@dataclass(frozen=True)
class ClassEntry:
    """One class of one control.

    `class_id` counts within the control, `place` within the project, both from 0 in order of first appearance. `aliases`
    are its former names and what Label Studio stores for it. `became` says where its labels go: None nowhere, they are
    its own; () it was retired; one id: it was merged into that class; several: it was split into them.
    """

    control: str
    class_id: int
    place: int
    name: str
    aliases: tuple[str, ...] = ()
    in_config: bool = True
    became: tuple[int, ...] | None = None
    vanished: bool = False
    """Whether the label config had it once and has it no longer."""

    @property
    def retired(self) -> bool:
        """Whether no new label can be of this class."""
        return self.became is not None or self.vanished

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as manifests and schema versions keep it."""
        return {
            "control": self.control,
            "class_id": self.class_id,
            "place": self.place,
            "name": self.name,
            "aliases": list(self.aliases),
            "retired": self.retired,
            "became": None if self.became is None else list(self.became),
        }


@dataclass(frozen=True)
class Read:
    """A label's result in today's classes; `problem` says why it cannot be the truth of its task, None where it can."""

    result: list[Region]
    problem: str | None = None
    is_open: bool = False
    """Whether it has a class that was split, and nobody said which part is meant."""
    dropped: tuple[tuple[str, str], ...] = ()
    """(control, class) of regions that are gone because their class was retired."""


@dataclass(frozen=True)
class ClassTable:
    """Every class that a project has had, in order of first appearance, and the classes of single regions."""

    entries: tuple[ClassEntry, ...] = ()
    assigned: Mapping[RegionKey, tuple[str, int]] = field(default_factory=dict)
    """Region -> (control, class id)."""

    @cached_property
    def _by_stored(self) -> dict[tuple[str, str], ClassEntry]:
        found: dict[tuple[str, str], ClassEntry] = {}
        for entry in self.entries:
            for name in (entry.name, *entry.aliases):
                found.setdefault((entry.control, name), entry)
        return found

    @cached_property
    def _by_id(self) -> dict[tuple[str, int], ClassEntry]:
        return {(entry.control, entry.class_id): entry for entry in self.entries}

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether every stored class is read as it stands."""
        return all(not entry.aliases and entry.became is None for entry in self.entries)

    def find(self, control: str, stored: str) -> ClassEntry | None:
        """The class that Label Studio's value stands for, before merges and splits."""
        return self._by_stored.get((control, stored))

    def entry(self, control: str, class_id: int) -> ClassEntry:
        """The class of that id."""
        return self._by_id[control, class_id]

    def now(self, entry: ClassEntry) -> ClassEntry:
        """The class that a class has become by merges: one of its own, one that was split, or one that was retired."""
        while entry.became is not None and len(entry.became) == 1:
            entry = self.entry(entry.control, entry.became[0])
        return entry

    def of_control(self, control: str) -> tuple[ClassEntry, ...]:
        """The classes of a control, by id."""
        return tuple(entry for entry in self.entries if entry.control == control)

    def controls(self) -> tuple[str, ...]:
        """The controls that have classes, in order of first appearance."""
        return tuple(dict.fromkeys(entry.control for entry in self.entries))

    def to_json(self) -> list[dict[str, Any]]:
        """The classes as manifests keep them."""
        return [entry.to_json() for entry in self.entries]

    # -- reading old labels -------------------------------------------------------------------------------------------

    def read(self, task_id: int, annotation_id: int, result: Sequence[Region]) -> Read:
        """A label's regions with today's class names; what Label Studio stored stays as it is."""
        if self.changes_nothing:
            return Read(list(result))
        kept: list[Region] = []
        dropped: list[tuple[str, str]] = []
        problem, is_open = None, False
        for region in result:
            key, labels = _labels_of(region)
            if not labels:
                kept.append(region)
                continue
            names: list[Any] = []
            for label in labels:
                found = self._name(task_id, annotation_id, region, label)
                if isinstance(found, _Unknown):
                    problem, is_open = found.reason, True
                    names.append(label)
                elif found is not None:
                    names.append(found)
                else:
                    dropped.append((str(region.get("from_name")), _shown(label)))
            if names:
                value = {**region["value"], key: _once(names)}
                kept.append(region if names == labels else {**region, "value": value})
            elif key in ("choices", "taxonomy"):
                problem = problem or f"class {_shown(labels[0])!r} was retired, and nothing else was chosen"
        return Read(kept, problem, is_open, tuple(dropped))

    def _name(self, task_id: int, annotation_id: int, region: Region, label: Any) -> Any:
        """Today's name of a label (a path of names in a taxonomy), None where its class was retired, or why it is open."""
        control = str(region.get("from_name"))
        if isinstance(label, list):
            steps = [self._name(task_id, annotation_id, region, step) for step in label]
            return next((step for step in steps if step is None or isinstance(step, _Unknown)), steps)
        entry = self.find(control, str(label))
        if entry is None:
            return label
        now = self.now(entry)
        if now.became is None:
            return now.name
        if not now.became:
            return None
        region_id = str(region.get("id"))
        for key in ((task_id, annotation_id, region_id), (task_id, 0, region_id)):
            said = self.assigned.get(key)
            if said is not None and said[0] == control:
                part = self.now(self.entry(*said))
                return part.name if part.became is None else None if not part.became else _split(part, self)
        return _split(now, self)

    # -- changes ------------------------------------------------------------------------------------------------------

    def with_config(self, config: LabelConfig) -> ClassTable:
        """The table when the label config is this one: its new classes at the end, those it no longer has retired."""
        entries = list(self.entries)
        present: set[tuple[str, int]] = set()
        for control in config.controls:
            for stored in control.classes:
                entry = self.find(control.name, stored)
                if entry is None:
                    entry = _appended(entries, control.name, stored)
                present.add((control.name, entry.class_id))
        merged = []
        for entry in entries:
            here = (entry.control, entry.class_id) in present
            merged.append(replace(entry, in_config=here, vanished=not here and (entry.in_config or entry.vanished)))
        return self._with(merged)

    def renamed(self, control: str, old: str, new: str) -> ClassTable:
        """With another name for a class; UsageError when another class has or had that name."""
        entry = self.current(control, old)
        taken = self.find(control, _checked(new))
        if taken is not None and taken.class_id != entry.class_id:
            raise UsageError(
                f"{new!r} is or was another class of control {control!r} (id {taken.class_id}), and a name stands for one "
                f"class for ever; merge them: labelloop classes PROJECT merge {old!r} into {new!r}"
            )
        aliases = tuple(dict.fromkeys(name for name in (*entry.aliases, entry.name) if name != new))
        return self._replacing(replace(entry, name=new, aliases=aliases))

    def merged(self, control: str, sources: Sequence[str], into: str) -> ClassTable:
        """With the labels of some classes going to another, which may be one of them or a new one."""
        found = {entry.class_id: entry for entry in (self.current(control, name) for name in sources)}
        entries = list(self.entries)
        target = self._part(entries, control, into)
        moved = [entry for class_id, entry in found.items() if class_id != target.class_id]
        if not moved:
            raise UsageError(f"nothing to merge: {into!r} is the only class that was named")
        return self._with(entries)._replacing(*(replace(entry, became=(target.class_id,)) for entry in moved))

    def split(self, control: str, old: str, parts: Sequence[str]) -> ClassTable:
        """With the labels of a class open until each is said to be of one of the parts, which may be new classes."""
        entry = self.current(control, old)
        wanted = list(dict.fromkeys(parts))
        if len(wanted) < 2:
            raise UsageError(f"expected two classes or more to split {old!r} into, got {wanted}; rename it instead")
        if any(self.find(control, name) == entry for name in wanted):
            raise UsageError(
                f"a part of {old!r} needs a name of its own: {old!r} goes on meaning all that was labelled so before; "
                f"call the rest something like {old + ' (other)'!r}"
            )
        entries = list(self.entries)
        ids = tuple(self._part(entries, control, name).class_id for name in wanted)
        return self._with(entries)._replacing(replace(entry, became=ids))

    def retiring(self, control: str, name: str) -> ClassTable:
        """Without a class: its regions leave the datasets."""
        return self._replacing(replace(self.current(control, name), became=()))

    def assigning(self, classes: Mapping[RegionKey, tuple[str, int]]) -> ClassTable:
        """With the class of more single regions."""
        return ClassTable(self.entries, {**self.assigned, **classes})

    def current(self, control: str, name: str) -> ClassEntry:
        """The class of that name, which must still have labels of its own; UsageError lists those that do."""
        entry = self.find(control, name)
        if entry is not None and entry.became is None:
            return entry
        names = [each.name for each in self.of_control(control) if not each.retired]
        if entry is None:
            raise UsageError(f"no class {name!r} in control {control!r}; it has {names}")
        went = [self.entry(control, class_id).name for class_id in entry.became or ()]
        what = f"became {' or '.join(map(repr, went))}" if went else "was retired"
        raise UsageError(f"class {name!r} of control {control!r} {what}; the control has {names}")

    def _part(self, entries: list[ClassEntry], control: str, name: str) -> ClassEntry:
        """A class that labels can go to: the one of that name, or a new one."""
        if self.find(control, _checked(name)) is not None:
            return self.current(control, name)
        return _appended(entries, control, name, in_config=False)

    def _replacing(self, *changed: ClassEntry) -> ClassTable:
        by_id = {(entry.control, entry.class_id): entry for entry in changed}
        return self._with(by_id.get((entry.control, entry.class_id), entry) for entry in self.entries)

    def _with(self, entries: Iterable[ClassEntry]) -> ClassTable:
        return ClassTable(tuple(entries), self.assigned)


def table_of(config: LabelConfig) -> ClassTable:
    """The classes of a config whose project has no past."""
    return ClassTable().with_config(config)


def assignments_json(table: ClassTable) -> Iterator[list[Any]]:
    """The classes of single regions as sorted plain values."""
    for key in sorted(table.assigned):
        yield [*key, *table.assigned[key]]


@dataclass(frozen=True)
class _Unknown:
    """A label whose class is open."""

    reason: str


def _split(entry: ClassEntry, table: ClassTable) -> _Unknown:
    names = [table.entry(entry.control, class_id).name for class_id in entry.became or ()]
    return _Unknown(f"class {entry.name!r} was split into {', '.join(map(repr, names))}; it is open which one is meant")


def _appended(entries: list[ClassEntry], control: str, name: str, *, in_config: bool = True) -> ClassEntry:
    class_id = sum(entry.control == control for entry in entries)
    entry = ClassEntry(control, class_id, len(entries), name, in_config=in_config)
    entries.append(entry)
    return entry


def _labels_of(region: Region) -> tuple[str, list[Any]]:
    """(key within the value, labels) of a region that carries classes."""
    key, value = str(region.get("type", "")), region.get("value")
    labels = value.get(key) if isinstance(value, Mapping) else None
    return key, labels if isinstance(labels, list) else []


def _once(names: Sequence[Any]) -> list[Any]:
    """Names without those that are there twice, as two merged classes of one region are."""
    kept: list[Any] = []
    for name in names:
        if name not in kept:
            kept.append(name)
    return kept


def _shown(label: Any) -> str:
    return " / ".join(map(str, label)) if isinstance(label, list) else str(label)


def _checked(name: str) -> str:
    if not name.strip() or name != name.strip():
        raise UsageError(f"expected a class name without blanks around it, got {name!r}")
    return name
