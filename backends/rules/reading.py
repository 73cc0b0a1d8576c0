"""Reads a rule file and the tables beside it; every problem is told with its place, and the nearest name that is known."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backends.rules.rule_file import RULE_KINDS, SPAN_KINDS, Case, Condition, ExpectedSpan, RuleFile
from labelloop.errors import DataError
from labelloop.label_config import Control

_TARGETS = {"Choices": "choices", "Labels": "spans"}
_MOST_ROWS = 1_000_000
#: Every key that a rule file may have.
_MODELS: tuple[type[BaseModel], ...] = (RuleFile, Case, Condition, ExpectedSpan, *RULE_KINDS.values())
_KEYS = {key for model in _MODELS for key in model.model_fields}
#: A table file's rows: the cells of its columns, without `label`, and the label.
Rows = Sequence[tuple[tuple[str, ...], str]]


class _Once(yaml.SafeLoader):
    """YAML where a key that is given twice is an error: the first of two values would be lost without a word."""


def _mapping_once(loader: _Once, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Once.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_once)


def read_rule_file(path: Path) -> RuleFile:
    """The rule file at `path`; DataError lists every problem of its shape."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Once)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a rule file: {error}") from error
    except (yaml.YAMLError, TypeError) as error:  # an unhashable key is a TypeError
        raise DataError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise DataError(f"{path}: expected the keys of a rule file, got {type(raw).__name__}")
    try:
        return RuleFile.model_validate(raw)
    except ValidationError as error:
        raise DataError("\n".join(f"{path}: {line}" for line in _explained(error.errors(), raw))) from None


def _explained(errors: Sequence[ErrorDetails], raw: Mapping[str, Any]) -> list[str]:
    """One line per place. Where a value may be of several shapes, an unknown key tells more than all shapes it is not."""
    places: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        unknown = error["type"] == "extra_forbidden"
        places.setdefault(_place(error["loc"][:-1] if unknown else error["loc"], raw), []).append(error)
    lines = []
    for place, found in places.items():
        unknown_keys = [error for error in found if error["type"] == "extra_forbidden"]
        told = dict.fromkeys(_explain(error) for error in unknown_keys or found)
        lines.append(f"{place}: {'; or '.join(told)}")
    return lines


def _explain(error: ErrorDetails) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        return f"unknown key {key!r}{nearest(key, _keys_at(error['loc']))}"
    if error["type"] == "union_tag_invalid":
        kind = str(error.get("ctx", {}).get("tag"))
        return f"unknown kind {kind!r}{nearest(kind, RULE_KINDS)}"
    if error["type"] == "union_tag_not_found":
        return f"this rule has no kind; there are {', '.join(RULE_KINDS)}"
    if error["type"] == "missing":
        return "this key is missing"
    quoting = isinstance(error["input"], bool | int | float) and "string" in message
    hint = "; YAML read it as something else than a text: put it into quotes" if quoting else ""
    got = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
    return f"{message}{got}{hint}"


def _place(loc: Sequence[int | str], raw: Mapping[str, Any]) -> str:
    """Where in the file, in the reader's terms: the rule's name, the number of the test, the keys that lead there.

    Parts of `loc` that are not in the file name the shape that was tried, unless they are the last: then a missing key.
    """
    at: Any = raw
    path: list[int | str] = []
    if loc[:1] == ("rules",):
        loc = (*loc[:2], *loc[3:])  # the third part is the kind
    for number, part in enumerate(loc):
        inside = part in at if isinstance(at, Mapping) else isinstance(at, list) and part in range(len(at))
        if inside:
            at = at[part]
        if inside or (number == len(loc) - 1 and isinstance(at, Mapping) and part in _KEYS):
            path.append(part)
    named = ""
    if len(path) > 1 and path[0] in ("rules", "tests"):
        entry = raw[str(path[0])][path[1]]
        name = entry.get("name") if path[0] == "rules" and isinstance(entry, Mapping) else None
        named = f"{str(path[0])[:-1]} {repr(name) if name else int(path[1]) + 1} "
        path = path[2:]
    return (named + ".".join(map(str, path))).strip() or "the file"


def _keys_at(loc: Sequence[int | str]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    model: type[BaseModel] = RuleFile
    if any("Condition" in str(part) for part in loc):
        model = Condition
    elif len(loc) > 2 and loc[0] == "rules":
        model = RULE_KINDS[str(loc[2])]
    elif loc[0] == "tests":
        model = ExpectedSpan if len(loc) > 3 else Case
    return list(model.model_fields)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def read_tables(file: RuleFile, folder: Path) -> dict[str, Rows]:
    """The rows of each CSV that the rules name, by rule; DataError names the line that is wrong."""
    tables: dict[str, Rows] = {}
    for rule in file.rules:
        name = getattr(rule, "file", None)
        if name is not None:
            columns = ("term",) if rule.kind == "dictionary" else rule.fields or ()
            tables[rule.name] = _read_csv(folder / name, columns, f"rule {rule.name!r}")
    return tables


def _read_csv(path: Path, columns: Sequence[str], whose: str) -> Rows:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [column for column in (*columns, "label") if column not in (reader.fieldnames or ())]
            if missing or not columns:
                raise DataError(
                    f"{whose}: {path.name} must have the columns {[*columns, 'label']}, it has {reader.fieldnames}; "
                    "a look-up names its columns in fields"
                )
            rows = []
            for row in reader:
                cells = tuple((row[column] or "").strip() for column in columns)
                label = (row["label"] or "").strip()
                if not all(cells) or not label:
                    raise DataError(f"{whose}: {path.name}, line {reader.line_num}: a cell is empty")
                rows.append((cells, label))
                if len(rows) > _MOST_ROWS:
                    raise DataError(f"{whose}: {path.name} has more than {_MOST_ROWS} rows")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{whose}: {path} cannot be read as CSV: {error}") from error
    if not rows:
        raise DataError(f"{whose}: {path.name} has no row")
    return rows


def problems_with(file: RuleFile, tables: Mapping[str, Rows], control: Control) -> list[str]:
    """What of a rule file does not fit its control: the target, the kinds, labels that are no class."""
    target = _TARGETS.get(control.tag)
    if target is None:
        return [f"control {control.name!r} is a {control.tag}; rules label Choices and Labels"]
    if target == "spans" and control.object_tag != "Text":
        return [f"control {control.name!r} labels a {control.object_tag}; rules find spans in a Text only"]
    found = []
    if file.target != target:
        found.append(f"target is {file.target!r}, and control {control.name!r} takes {target}")
    for rule in file.rules:
        if target == "spans" and rule.kind not in SPAN_KINDS:
            found.append(f"rule {rule.name!r}: kind {rule.kind!r} finds no place in a text; {', '.join(SPAN_KINDS)} do")
        elif target == "spans" and rule.fields not in (None, (control.data_key,)):
            found.append(f"rule {rule.name!r}: spans lie in {control.data_key!r}; leave fields out")
        labels = dict.fromkeys((*rule.labels, *(label for _, label in tables.get(rule.name, ()))))
        found += [
            f"rule {rule.name!r}: {_no_class(label, control)}" for label in labels if label not in control.classes
        ]
    for number, case in enumerate(file.tests, start=1):
        found += [f"test {number}: {_no_class(one, control)}" for one in _expected(case) if one not in control.classes]
        if case.expect is not None and _spans(case) != (target == "spans") and case.expect != ():
            found.append(f"test {number}: expect names {'no ' * (target == 'spans')}spans, and the target is {target}")
    found += [f"priors: {_no_class(label, control)}" for label in file.priors or () if label not in control.classes]
    return found


def _no_class(label: str, control: Control) -> str:
    return f"label {label!r} is no class of control {control.name!r}{nearest(label, control.classes)}"


def _spans(case: Case) -> bool:
    return isinstance(case.expect, tuple) and any(isinstance(each, ExpectedSpan) for each in case.expect)


def _expected(case: Case) -> list[str]:
    """The labels that a test case expects."""
    if case.expect is None or isinstance(case.expect, str):
        return [case.expect] if case.expect else []
    return [each.label if isinstance(each, ExpectedSpan) else each for each in case.expect]
