"""A project's class schema: what there is, and changes of it (rename, merge, split, retire), with what Label Studio needs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.class_schema import ClassEntry, ClassTable, RegionKey
from labelloop.config_editing import label_studio_config
from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from labelloop.store import ProjectRow, Store
from labelloop.store.classes import change_classes, class_table, schema_version
from labelloop.values import ROLES
from sync.formats.format import ClassName
from sync.formats.sources import named_classes
from sync.region_changes import classes_of
from sync.stored_labels import labelled_tasks

if TYPE_CHECKING:
    from labelloop.label_studio import LabelStudio

COMMAND_LINE = "command line"
USAGE = "rename OLD NEW, merge A B into C, split OLD into A B, or retire X"
#: Tasks that a report names.
TOLD = 100
#: Length of the column.
_REGION_ID = 64


@dataclass(frozen=True)
class Change:
    """A wanted change: `kind` "rename", "merge", "split" or "retire", the classes it is about and those it leads to."""

    kind: str
    classes: tuple[str, ...]
    into: tuple[str, ...] = ()

    def on(self, table: ClassTable, control: str) -> ClassTable:
        """The table with the change; UsageError says why it cannot be."""
        if self.kind == "rename":
            return table.renamed(control, self.classes[0], self.into[0])
        if self.kind == "merge":
            return table.merged(control, self.classes, self.into[0])
        if self.kind == "retire":
            return table.retiring(control, self.classes[0])
        return table.split(control, self.classes[0], self.into)


def read_change(words: Sequence[str]) -> Change:
    """The change that the words of a command mean; UsageError says what was expected."""
    kind, rest = words[0], list(words[1:])
    if kind == "rename" and len(rest) == 2:
        return Change(kind, (rest[0],), (rest[1],))
    if kind == "retire" and len(rest) == 1:
        return Change(kind, (rest[0],))
    if kind in ("merge", "split") and "into" in rest:
        at = rest.index("into") if kind == "split" else len(rest) - 1 - rest[::-1].index("into")
        before, after = tuple(rest[:at]), tuple(rest[at + 1 :])
        if kind == "merge" and before and len(after) == 1:
            return Change(kind, before, after)
        if kind == "split" and len(before) == 1 and len(after) >= 2:
            return Change(kind, before, after)
    raise UsageError(f"expected {USAGE}, got {' '.join(words)!r}")


def project_classes(store: Store, project: ProjectRow) -> tuple[ClassName, ...]:
    """Every class that the project has had, in order of first appearance, retired ones included."""
    return named_classes(class_table(store, project).to_json())


def change_schema(
    store: Store,
    project: ProjectRow,
    change: Change,
    *,
    control: str | None = None,
    by_file: Path | None = None,
    client: LabelStudio | None = None,
) -> dict[str, Any]:
    """Apply a change as a new schema version; what came of it, and what is left to do.

    With a `client` Label Studio's config is brought along first, where that is safe: a renamed class is shown by its new
    name and stored by the old one, new classes are added. `by_file` says for regions of a class that is split, or was
    split before, which part each is.
    """
    if by_file is not None and change.kind != "split":
        raise UsageError(f"--by says which part of a split class a region is; it does not go with {change.kind}")
    table = class_table(store, project)
    where = _control_of(project, table, change, control)
    if client is not None:
        project = replace(project, label_config=client.label_config(project.project_id))
    told: dict[str, Any] = {
        "kind": change.kind, "control": where, "classes": list(change.classes), "into": list(change.into),
    }  # fmt: skip
    said: dict[RegionKey, tuple[str, int]] = {}

    def classes(found: ClassTable) -> ClassTable:
        return _changed(found, change, where).assigning(said)

    wanted = classes(table)
    if by_file is not None:
        said = read_assignments(by_file, wanted, where, change.into)
        told["assigned"] = len(said)
    xml = label_studio_config(project.label_config, wanted)
    in_label_studio = client is not None and xml != project.label_config
    if client is not None and in_label_studio:
        client.update_project(project.project_id, label_config=xml)
    after = change_classes(
        store, project, COMMAND_LINE, classes, told, label_config=xml if in_label_studio else None
    )  # fmt: skip
    report = schema_report(store, project, after)
    return {
        **report,
        "change": told,
        "label_studio_changed": in_label_studio,
        "to_do": _to_do(change, report, xml != project.label_config and not in_label_studio),
        "unmatched": _unmatched(store, project, after, where, said),
    }


def schema_report(store: Store, project: ProjectRow, table: ClassTable | None = None) -> dict[str, Any]:
    """The classes, the number of their schema version, and the labels whose class is open after a split."""
    table = table if table is not None else class_table(store, project)
    version = schema_version(store, project.project_id)
    labels, tasks = 0, []
    for task_id, open_labels in open_tasks(store, project, table):
        labels += open_labels
        tasks.append(task_id)
    return {
        "project": project.project_id,
        "title": project.title,
        "schema_version": version.number if version else 0,
        "classes": [_told(table, entry) for entry in table.entries],
        "open": {"tasks": len(tasks), "labels": labels, "task_ids": tasks[:TOLD]},
        "change": None,
        "label_studio_changed": False,
        "to_do": [],
        "unmatched": 0,
    }


def schema_text(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{report['title']}: schema version {report['schema_version']}"]
    for row in report["classes"]:
        went = f"  -> {' or '.join(row['into'])}" if row["into"] else "  (retired)" if row["retired"] else ""
        aliases = f"  (stored or called before: {', '.join(row['aliases'])})" if row["aliases"] else ""
        lines.append(f"  {row['control']:16} {row['class_id']:3}  {row['name']}{aliases}{went}")
    found = report["open"]
    if found["labels"]:
        ids = ", ".join(map(str, found["task_ids"][:10])) + (" ..." if found["tasks"] > 10 else "")
        lines.append(
            f"{found['labels']} labels of {found['tasks']} tasks have a class that was split; they are no truth until "
            f"somebody looks again, or --by FILE says which part is meant: tasks {ids}"
        )
    if report["unmatched"]:
        lines.append(f"{report['unmatched']} rows of the file name no region whose class is open")
    return "\n".join([*lines, *report["to_do"]])


def open_tasks(store: Store, project: ProjectRow, table: ClassTable) -> Iterator[tuple[int, int]]:
    """(task id, labels) of the tasks whose labels have a class that was split and not said one by one, by id."""
    if not any(len(entry.became or ()) > 1 for entry in table.entries):
        return
    for part in labelled_tasks(store, project.project_id, ROLES):
        for each in part:
            read = (table.read(label.task_id, label.annotation_id, label.result) for label in each.labels)
            found = sum(1 for result in read if result.is_open)
            if found:
                yield each.task.task_id, found


def read_assignments(
    path: Path, table: ClassTable, control: str, parts: Sequence[str]
) -> dict[RegionKey, tuple[str, int]]:
    """The classes of single regions in a CSV or JSON Lines file with task_id, region_id, class and maybe annotation_id.

    DataError names the first row that is not so.
    """
    known = {name: (control, table.current(control, name).class_id) for name in parts}
    found: dict[RegionKey, tuple[str, int]] = {}
    for number, row in _file_rows(path):
        name, region = str(row.get("class") or ""), str(row.get("region_id") or "")
        try:
            key = (int(row.get("task_id") or ""), int(row.get("annotation_id") or 0), region)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}:{number}: expected numbers as task_id and annotation_id, got {row}") from error
        if name not in known or not 0 < len(region) <= _REGION_ID:
            raise DataError(f"{path}:{number}: expected a region_id and one of {list(known)} as class, got {row}")
        found[key] = known[name]
    return found


def _file_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            for number, line in enumerate(path.read_bytes().splitlines(), start=1):
                if line.strip():
                    row = orjson.loads(line)
                    yield number, row if isinstance(row, dict) else {}
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from enumerate(csv.DictReader(file), start=2)
    except (OSError, UnicodeDecodeError, orjson.JSONDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no readable CSV or JSON Lines file: {error}") from error


def _control_of(project: ProjectRow, table: ClassTable, change: Change, wanted: str | None) -> str:
    """The control that the change is about; UsageError when it is not clear, or when its classes have parents."""
    having = [name for name in table.controls() if table.find(name, change.classes[0]) is not None]
    if wanted is not None and wanted not in table.controls():
        raise UsageError(f"no control {wanted!r}; the project has {list(table.controls())}")
    if wanted is None and len(having) != 1:
        where = f"is in several controls {having}; say which one: --control" if having else "is no class of any control"
        raise UsageError(f"{change.classes[0]!r} {where}; `labelloop classes {project.project_id}` lists them")
    found = wanted or having[0]
    tags = {control.name: control.tag for control in parse_label_config(project.label_config).controls}
    if tags.get(found) == "Taxonomy" and change.kind != "rename":
        raise UsageError(
            f"{found!r} is a Taxonomy, whose classes have parents: only rename is possible here; change its tree in "
            "Label Studio"
        )
    return found


def _changed(table: ClassTable, change: Change, control: str) -> ClassTable:
    """The change; a split into the same parts that was made before is taken as it is."""
    if change.kind == "split":
        entry = table.find(control, change.classes[0])
        parts = [table.entry(control, class_id).name for class_id in entry.became or ()] if entry else []
        if sorted(parts) == sorted(set(change.into)):
            return table
    return change.on(table, control)


def _told(table: ClassTable, entry: ClassEntry) -> dict[str, Any]:
    into = [table.entry(entry.control, class_id).name for class_id in entry.became or ()]
    return {
        "control": entry.control, "class_id": entry.class_id, "name": entry.name, "aliases": list(entry.aliases),
        "retired": entry.retired, "into": into, "in_config": entry.in_config,
    }  # fmt: skip


def _to_do(change: Change, report: Mapping[str, Any], config_differs: bool) -> list[str]:
    old = ", ".join(map(repr, change.classes))
    told = []
    if change.kind == "rename" and config_differs:
        told.append(
            f"Label Studio still shows {old}, and suggestions of {change.into[0]!r} are left out until its label config says "
            f'value="{change.into[0]}" alias="{change.classes[0]}" (the alias is what goes on being stored); --apply does it'
        )
    elif config_differs:
        told.append(f"add {', '.join(map(repr, change.into))} to the label config in Label Studio, or use --apply")
    if change.kind in ("merge", "split", "retire"):
        told.append(
            f"{old} can stay in the label config: Label Studio does not let go of a class that its labels carry; ask people "
            "not to use it any more"
        )
    if report["open"]["tasks"]:
        told.append(f"look again at {report['open']['tasks']} tasks, or say by file which part each region is")
    return told


def _unmatched(
    store: Store, project: ProjectRow, table: ClassTable, control: str, said: Mapping[RegionKey, tuple[str, int]]
) -> int:
    """How many rows of a file name no region that carries a class of the control that was split."""
    if not said:
        return 0
    left = set(said)
    for part in labelled_tasks(store, project.project_id, ROLES):
        for label in (label for each in part for label in each.labels):
            for region in label.result:
                entries = [table.find(control, name) for name in classes_of(region)]
                if region.get("from_name") == control and any(
                    e and len(table.now(e).became or ()) > 1 for e in entries
                ):
                    region_id = str(region.get("id"))
                    left -= {(label.task_id, label.annotation_id, region_id), (label.task_id, 0, region_id)}
    return len(left)
