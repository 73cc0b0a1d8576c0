"""Makes a version of checkpoints that were trained elsewhere: one network for each kind that the label config needs."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from backends.version_labels import ControlLabels, write_labels
from backends.yolo.checkpoint import Checkpoint, read_checkpoint
from backends.yolo.control_uses import control_uses, kind_of, show_threshold, value_tags
from backends.yolo.engine import build_model, save_model
from backends.yolo.engine_export import build_engine
from backends.yolo.model_spec import KINDS, ControlUse, ModelSpec, Options
from labelloop.errors import UsageError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Artefact

_log = logging.getLogger(__name__)


def import_checkpoints(
    sources: Sequence[str], config: LabelConfig, out_dir: Path, options: Mapping[str, Any]
) -> Artefact:
    """A version folder from these checkpoints; nothing is written when one of them cannot be used.

    `options` are image_size and those of backends.yolo.model_spec.Options. UsageError when a source is none, two are
    of one kind, or no control of the config needs one; DataError when no class of a model has a place in the config;
    ServiceDown when a download fails.
    """
    _check_options(options)
    if (out_dir / "model").exists():
        raise UsageError(f"{out_dir} holds a version already; give an empty folder")
    found = _by_kind(sources, config)
    specs = {kind: _spec(found, kind, config, options) for kind in KINDS if kind in found}
    taken = {use.control for spec in specs.values() for use in spec.controls}
    for control in config.controls:
        if control.name not in taken:
            needs = kind_of(control)
            _log.warning(
                "control %r gets no suggestions: %s", control.name,
                f"no {needs} model was given" if needs else f"no model of this backend fits <{control.tag}>",
            )  # fmt: skip
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=out_dir) as scratch:
        made = Path(scratch)
        for kind, spec in specs.items():
            save_model(_rebuilt(spec, found[kind]), spec, made / "model" / kind)
            build_engine(made / "model" / kind, half=spec.options.half)
        write_labels(made, [_labels(control, config) for control in config.controls if control.name in taken])
        params: dict[str, Any] = {"start": ", ".join(source for source, _ in found.values())}
        params |= {"sources": {kind: source for kind, (source, _) in found.items()}}
        body: dict[str, Any] = {"metric": None, "validation": {}, "params": params, "curve": []}
        (made / "metrics.json").write_text(json.dumps(body, indent=2), encoding="utf-8")
        for each in made.iterdir():
            shutil.move(each, out_dir / each.name)
    return Artefact(out_dir, params)


def _check_options(options: Mapping[str, Any]) -> None:
    known = {"image_size", *(each.name for each in fields(Options))}
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(f"unknown option {unknown[0]!r}; the yolo backend has {', '.join(sorted(known))}")


def _by_kind(sources: Sequence[str], config: LabelConfig) -> dict[str, tuple[str, Checkpoint]]:
    if not sources:
        raise UsageError("expected a checkpoint (a .pt file, or a published name such as yolo11n.pt), got none")
    needed = {kind: control.name for control in reversed(config.controls) if (kind := kind_of(control))}
    found: dict[str, tuple[str, Checkpoint]] = {}
    for source in sources:
        checkpoint = read_checkpoint(source)
        if checkpoint.kind not in needed:
            raise UsageError(
                f"{source} is a {checkpoint.kind} model, and no control of the label config needs one; "
                f"needed: {', '.join(f'{kind} for {name!r}' for kind, name in needed.items()) or 'none of ours'}"
            )
        if checkpoint.kind in found:
            raise UsageError(f"{found[checkpoint.kind][0]} and {source} are both {checkpoint.kind} models; give one")
        found[checkpoint.kind] = source, checkpoint
    return found


def _spec(
    found: Mapping[str, tuple[str, Checkpoint]], kind: str, config: LabelConfig, options: Mapping[str, Any]
) -> ModelSpec:
    source, checkpoint = found[kind]
    side = _image_size(options.get("image_size") or checkpoint.image_size)
    return ModelSpec(
        architecture=checkpoint.architecture,
        classes=checkpoint.classes,
        image_size=side if kind == "classify" else -(-side // 32) * 32,
        kind=kind,
        options=Options.of(options),
        controls=tuple(_reported(control_uses(config, kind, checkpoint, tuple(found), source))),
        point_shape=checkpoint.point_shape,
    )


def _image_size(said: Any) -> int:
    try:
        side = int(said)
    except (TypeError, ValueError):
        side = 0
    if side < 32:
        raise UsageError(f"option image_size must be a number of pixels, 32 at least; got {said!r}")
    return side


def _reported(uses: Sequence[tuple[ControlUse, str | None]]) -> list[ControlUse]:
    for _, warning in uses:
        if warning:
            _log.warning("%s", warning)
    return [use for use, _ in uses]


def _rebuilt(spec: ModelSpec, found: tuple[str, Checkpoint]) -> Any:
    """The network built anew from its description, with the checkpoint's weights, as a version will be loaded."""
    source, checkpoint = found
    try:
        model = build_model(spec)
        model.load_state_dict(checkpoint.network.state_dict())
    except Exception as error:  # whatever ultralytics raises for a description that it does not accept
        line = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(f"{source} cannot be built again from its own description: {line}") from error
    return model


def _labels(control: Control, config: LabelConfig) -> ControlLabels:
    classes = tuple(dict.fromkeys(tag.name for tag in value_tags(config, control)))
    least = show_threshold(control)
    return ControlLabels(
        control.name, control.to_name, control.data_key, control.region_type, classes, dict.fromkeys(classes, least)
    )
