"""A rules version on disk: the rule files as they were written, the code that was allowed, and the label model.

model/manifest.json              format, parts: folder, control, whether it takes several labels, digest of the code
      <part>/rules.yaml          and the tables and functions that it names
             label_model.json    priors, voters, temperature
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backends.rules.functions import load_functions
from backends.rules.items import NO_ENTITY
from backends.rules.label_model import LabelModel, Voter, declared_model
from backends.rules.reading import Rows, problems_with, read_rule_file, read_tables
from backends.rules.rule_file import PythonRule, RuleFile
from backends.rules.voting import Voters
from backends.version_labels import ControlLabels, read_labels
from labelloop.errors import DataError
from labelloop.label_config import Control

FORMAT = 1
RULES_FILE, MODEL_FILE, MANIFEST = "rules.yaml", "label_model.json", "manifest.json"


@dataclass(frozen=True)
class RuleSet:
    """The rules of one control, ready to vote, and what weighs their votes; `labels` is None before the first write."""

    voters: Voters
    model: LabelModel
    tables: Mapping[str, Rows]
    code: str | None = None
    labels: ControlLabels | None = None

    @property
    def file(self) -> RuleFile:
        return self.voters.file

    @property
    def control(self) -> Control:
        return self.voters.control


def rule_set(file: RuleFile, folder: Path, control: Control, code: str | None) -> RuleSet:
    """A rule file with what lies beside it, checked against its control; DataError lists all that does not fit.

    `code` is the SHA-256 of the functions that may run.
    """
    tables = read_tables(file, folder)
    problems = problems_with(file, tables, control)
    if problems:
        raise DataError("\n".join(f"{folder / RULES_FILE}: {line}" for line in problems))
    voters = Voters(file, tables, load_functions(file, folder, code), control)
    return RuleSet(voters, declared_model_of(file, tables, voters), tables, code)


def declared_model_of(file: RuleFile, tables: Mapping[str, Rows], voters: Voters) -> LabelModel:
    """The label model as the rule file declares it."""
    said: list[Voter] = []
    for rule in file.rules:
        found = (*rule.labels, *(label for _, label in tables.get(rule.name, ())))
        labels = voters.control.classes if isinstance(rule, PythonRule) else tuple(dict.fromkeys(found))
        said += [Voter(rule.name, label, rule.accuracy, rule.accuracy, rule.weight) for label in labels]
    classes, priors = voters.control.classes, dict(file.priors or {})
    if voters.spans:
        classes, priors = (*classes, NO_ENTITY), {NO_ENTITY: 0.5, **priors}
    return declared_model(classes, said, not voters.several, priors)


def write_part(source: Path, file: RuleFile, folder: Path) -> None:
    """Copy a rule file and what it names into a part's folder."""
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / RULES_FILE)
    named = [getattr(rule, "file", None) for rule in file.rules] + [file.functions]
    for name in {name for name in named if name is not None}:
        if name in (RULES_FILE, MODEL_FILE):
            raise DataError(f"{source}: {name!r} is taken in a version's folder; rename that file")
        try:
            shutil.copyfile(source.parent / name, folder / name)
        except OSError as error:
            raise DataError(f"{source} names {name!r}, which cannot be read: {error}") from error


def write_model(model: LabelModel, folder: Path) -> None:
    """Write label_model.json into a part's folder."""
    body = {
        "classes": model.classes, "exclusive": model.exclusive, "priors": model.priors.tolist(),
        "voters": [asdict(voter) for voter in model.voters], "source": model.source, "temperature": model.temperature,
    }  # fmt: skip
    (folder / MODEL_FILE).write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))


def write_manifest(version_dir: Path, parts: Sequence[RuleSet]) -> None:
    """Write the manifest of a version; its parts lie in the folders 0, 1, and so on."""
    body = {
        "format": FORMAT,
        "parts": [
            {"control": part.control.name, "several": part.voters.several, "functions_sha256": part.code}
            for part in parts
        ],
    }
    (version_dir / "model" / MANIFEST).write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))


def part_folder(version_dir: Path, number: int) -> Path:
    """Where a version keeps its part of that number."""
    return version_dir / "model" / str(number)


def read_rule_sets(version_dir: Path, controls: Mapping[str, Control] | None = None) -> tuple[RuleSet, ...]:
    """The rules of a version with their label models; DataError when it is no rules version, or was damaged.

    `controls` are those of today's label config, by name, where the rules are to follow a change of it.
    """
    labels = {each.control: each for each in read_labels(version_dir, "choices", "labels")}
    try:
        manifest = orjson.loads((version_dir / "model" / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, expected {FORMAT}")
        parts = [(labels[part["control"]], part) for part in manifest["parts"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{version_dir} holds no readable rules version: {error}; import the rule files again"
        ) from error
    sets = []
    for number, (own, part) in enumerate(parts):
        folder = part_folder(version_dir, number)
        control = _control(own, part) if controls is None else _todays(own, controls)
        loaded = rule_set(read_rule_file(folder / RULES_FILE), folder, control, part["functions_sha256"])
        sets.append(replace(loaded, model=_learned(folder, loaded.model), labels=own))
    return tuple(sets)


def _control(labels: ControlLabels, part: Mapping[str, Any]) -> Control:
    tag = "Labels" if labels.type == "labels" else "Choices"
    attributes = {"choice": "multiple"} if part["several"] else {}
    return Control(tag, labels.control, labels.to_name, labels.data_key, "Text", labels.classes, attributes)


def _todays(labels: ControlLabels, controls: Mapping[str, Control]) -> Control:
    if labels.control not in controls:
        raise DataError(
            f"the label config has no control {labels.control!r} any more, and rules label it; it has {sorted(controls)}"
        )
    return controls[labels.control]


def _learned(folder: Path, declared: LabelModel) -> LabelModel:
    """The label model that a version keeps, on the classes and voters of its rules."""
    try:
        raw = orjson.loads((folder / MODEL_FILE).read_bytes())
        known = {(each["rule"], each["label"]): Voter(**each) for each in raw["voters"]}
        priors = dict(zip(raw["classes"], raw["priors"], strict=True))
        kept = np.array(
            [priors.get(n, p) for n, p in zip(declared.classes, declared.priors, strict=True)], dtype=np.float64
        )
        return replace(
            declared,
            priors=kept / kept.sum() if declared.exclusive else kept,
            voters=tuple(known.get((voter.rule, voter.label), voter) for voter in declared.voters),
            source=str(raw["source"]),
            temperature=float(raw["temperature"]),
        )
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder} holds no readable {MODEL_FILE}: {error}; import the rule files again") from error
