"""Makes a version of rule files: checked against the label config, and by the files' own test cases."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import orjson

from backends.choice_regions import REGION_TYPE
from backends.rules.artefact import (
    RuleSet,
    part_folder,
    rule_set,
    write_manifest,
    write_model,
    write_part,
)
from backends.rules.cases import failing_cases
from backends.rules.functions import source_digest
from backends.rules.reading import nearest, read_rule_file
from backends.thresholds import show_thresholds
from backends.version_labels import ControlLabels, write_labels
from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Artefact


def import_rules(sources: Sequence[Path], config: LabelConfig, out_dir: Path, *, allow_python: bool) -> Artefact:
    """A version folder of these rule files; nothing of it stays when one of them is refused."""
    if not sources:
        raise UsageError("expected the path of a rule file, got none; see docs/rules.md for how to write one")
    for source in sources:
        if not source.is_file():
            raise UsageError(f"{source} is no file; expected a rule file in YAML")
    if (out_dir / "model").exists():
        raise UsageError(f"{out_dir} holds a version already; give an empty folder")
    try:
        return _import(sources, config, out_dir, allow_python)
    except BaseException:
        shutil.rmtree(out_dir / "model", ignore_errors=True)
        raise


def _import(sources: Sequence[Path], config: LabelConfig, out_dir: Path, allow_python: bool) -> Artefact:
    parts: list[RuleSet] = []
    for number, source in enumerate(sources):
        file = read_rule_file(source)
        control = _control(file.control, config, source)
        if any(part.control.name == control.name for part in parts):
            raise UsageError(
                f"{source}: another rule file labels {control.name!r} already; put its rules into one file"
            )
        code = None
        if file.functions is not None:
            if not allow_python:
                raise UsageError(
                    f"{source} runs Python functions ({file.functions}); they have all rights of the process that serves "
                    "them. Read them, and import with allow_python if they may run"
                )
            code = source_digest(source.parent / file.functions)
        folder = part_folder(out_dir, number)
        write_part(source, file, folder)
        part = rule_set(file, folder, control, code)
        failing = failing_cases(part)
        if failing:
            raise DataError(f"{source}: {len(failing)} of its {len(file.tests)} tests fail\n" + "\n".join(failing))
        write_model(part.model, folder)
        parts.append(part)
    write_manifest(out_dir, parts)
    write_labels(out_dir, [declared_labels(part.control) for part in parts])
    params = {
        "rules": [rule.title for part in parts for rule in part.file.rules],
        "rule_files": [f"{source.name}@{part.file.version}" for source, part in zip(sources, parts, strict=True)],
        "tests": sum(len(part.file.tests) for part in parts),
        "accuracies": "declared", "functions": [part.code for part in parts if part.code],
    }  # fmt: skip
    (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
    return Artefact(out_dir, params)


def _control(name: str, config: LabelConfig, source: Path) -> Control:
    names = [control.name for control in config.controls]
    if name not in names:
        raise DataError(f"{source}: the label config has no control {name!r}{nearest(name, names)}")
    return config.control(name)


def declared_labels(control: Control) -> ControlLabels:
    """A control's entry of labels.json before anything was measured."""
    kind = REGION_TYPE if control.tag == "Choices" else "labels"
    thresholds = show_thresholds({}, control.classes)
    return ControlLabels(control.name, control.to_name, control.data_key, kind, control.classes, thresholds)
