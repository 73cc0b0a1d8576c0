"""Networks of an earlier version that a training leaves as they are: copied into the new version."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from backends.version_labels import ControlLabels, read_labels
from backends.yolo.model_spec import KINDS, MODEL_FILE, read_spec, write_spec
from backends.yolo.runners import engine_folder
from labelloop.label_config import LabelConfig


def carry_over(
    start: Path, out_dir: Path, config: LabelConfig, kinds: Collection[str], controls: Collection[str]
) -> list[ControlLabels]:
    """Copy an earlier version's networks but those of `kinds`; returns the labels of the controls that they serve.

    Controls that the config no longer has, or that are among `controls`, are left out, and a network without any.
    """
    labels = {each.control: each for each in read_labels(start)}
    there = {control.name for control in config.controls} & set(labels) - set(controls)
    carried: dict[str, ControlLabels] = {}
    for kind in KINDS:
        folder = start / "model" / kind
        if kind in kinds or not (folder / MODEL_FILE).is_file():
            continue
        spec = read_spec(folder)
        uses = [use if use.boxes in there else replace(use, boxes=None) for use in spec.controls]
        uses = [use for use in uses if use.control in there]
        if not any(use.mapping or use.points for use in uses):
            continue
        for source, target in ((folder, out_dir / "model" / kind), (engine_folder(folder), None)):
            if source.is_dir():
                shutil.copytree(source, target or engine_folder(out_dir / "model" / kind))
        write_spec(replace(spec, controls=tuple(uses)), out_dir / "model" / kind)
        carried |= {use.control: labels[use.control] for use in uses}
    return list(carried.values())
