"""Makes a version from spaCy pipelines that were trained elsewhere, mapped to the controls of a label config."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from backends.class_mapping import ClassMap, map_classes
from backends.spacy_nlp.artefact import Answer, read_pipeline, write_model
from backends.spacy_nlp.components import ANSWERING, CLASSES, answering, labels_of, unused
from backends.spacy_nlp.documents import SPAN_TAGS, TEXT_TAGS, reading_attributes
from backends.spacy_nlp.trusted import check_config
from backends.thresholds import DEFAULT
from backends.version_labels import ControlLabels, write_labels
from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Artefact

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Candidate:
    """A component that can answer, with the labels that it gives."""

    pipeline: int
    name: str
    factory: str
    labels: tuple[str, ...]

    def fits(self, control: Control) -> bool:
        return (self.factory in CLASSES) == (control.tag == "Choices")


def import_pipelines(sources: Sequence[str], config: LabelConfig, out_dir: Path) -> Artefact:
    """A version folder from pipeline folders or installed pipeline packages.

    Each control is answered by the one component that knows most of its classes: a recogniser or span categorizer for
    span labels, a text classifier for Choices. UsageError for a source that is not there, DataError when it does not load
    or when no class of the label config is known to any.
    """
    if not sources:
        raise UsageError("no spaCy pipeline was named; give a pipeline folder or the name of an installed package")
    folders = [_folder(source) for source in sources]
    pipelines = [read_pipeline(folder, _unread(folder)) for folder in folders]
    candidates = [
        _Candidate(number, name, factory, labels_of(nlp, name))
        for number, nlp in enumerate(pipelines, start=1)
        for name, factory in answering(nlp).items()
    ]
    chosen = [
        (control, *best)
        for control in config.controls
        if control.object_tag in TEXT_TAGS and (best := _best(candidates, control)) is not None
    ]
    if not chosen:
        raise DataError(_nothing_fits(sources, candidates, config))
    for control, _, classes in chosen:
        if warning := classes.warning(control.name):
            log.warning(warning)
    _drop_unused(pipelines, {(candidate.pipeline, candidate.name) for _, candidate, _ in chosen})
    out_dir.mkdir(parents=True, exist_ok=True)
    write_model(out_dir, pipelines, [_answer(*one) for one in chosen])
    write_labels(out_dir, [_labels(control) for control, _, _ in chosen])
    params = {
        "imported": True,
        "pipelines": [f"{nlp.meta['lang']}_{nlp.meta['name']}-{nlp.meta['version']}" for nlp in pipelines],
        "components": {control.name: candidate.name for control, candidate, _ in chosen},
        "unmapped": {control.name: dict(classes.unmapped) for control, _, classes in chosen},
    }
    (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
    return Artefact(out_dir, params)


def _folder(source: str) -> Path:
    """Where a pipeline lies: a folder with a config.cfg, or the data of an installed package, found without importing it."""
    folder = Path(source)
    if (folder / "config.cfg").is_file():
        return folder
    if folder.is_dir():
        raise UsageError(f"{source} holds no spaCy pipeline (no config.cfg); name the folder that nlp.to_disk wrote")
    try:
        version = distribution(source).version
        spec = find_spec(source.replace("-", "_")) if "." not in source else None  # a dotted name would be imported
    except (PackageNotFoundError, ValueError, ModuleNotFoundError):
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(
            f"{source!r} is no folder and no installed spaCy package; install it with: python -m spacy download {source}"
        )
    package = Path(spec.origin).parent
    data = package / f"{package.name}-{version}"
    found = data if (data / "config.cfg").is_file() else next((c.parent for c in package.glob("*/config.cfg")), None)
    if found is None:
        raise UsageError(f"the installed package {source!r} holds no spaCy pipeline (no config.cfg)")
    return found


def _unread(folder: Path) -> list[str]:
    components: Mapping[str, Any] = check_config(folder).get("components", {})
    return unused(components)


def _best(candidates: Sequence[_Candidate], control: Control) -> tuple[_Candidate, ClassMap] | None:
    """The component that knows most classes of a control; None when none knows any.

    Among equals the classifier that chooses as many classes as the control does, else the first.
    """
    if control.tag not in (*SPAN_TAGS, "Choices"):
        return None
    fitting = [
        (candidate, map_classes(candidate.labels, control, control.predicted_values))
        for candidate in candidates
        if candidate.fits(control)
    ]
    several = control.attributes.get("choice", "single").startswith("multiple")
    alike = "textcat_multilabel" if several else "textcat"
    best = max(fitting, key=lambda pair: (len(set(pair[1].mapping.values())), pair[0].factory == alike), default=None)
    return best if best is not None and best[1].mapping else None


def _nothing_fits(sources: Sequence[str], candidates: Sequence[_Candidate], config: LabelConfig) -> str:
    said = "; ".join(f"{c.name} ({c.factory}): {', '.join(c.labels)}" for c in candidates)
    wanted = "; ".join(
        f"{c.tag} {c.name!r}: {', '.join(c.classes)}" for c in config.controls if c.object_tag in TEXT_TAGS
    )
    return (
        f"no class of {', '.join(sources)} is in the label config. The model's components that can answer "
        f"({', '.join(sorted(ANSWERING))}) give: {said or 'none is there'}. The label config's text controls have: "
        f"{wanted or 'none is there'}. Say which label means which class with predicted_values in the label config"
    )


def _drop_unused(pipelines: Sequence[Any], used: set[tuple[int, str]]) -> None:
    for number, nlp in enumerate(pipelines, start=1):
        names = frozenset(name for at, name in used if at == number)
        for name in unused(nlp.config["components"], names):
            nlp.remove_pipe(name)


def _answer(control: Control, candidate: _Candidate, classes: ClassMap) -> Answer:
    several = control.attributes.get("choice", "single").startswith("multiple")
    return Answer(
        control.name,
        candidate.name,
        classes.mapping,
        candidate.pipeline,
        control.object_tag,
        reading_attributes(control),
        several,
    )


def _labels(control: Control) -> ControlLabels:
    return ControlLabels(
        control.name,
        control.to_name,
        control.data_key,
        control.region_type,
        control.classes,
        dict.fromkeys(control.classes, DEFAULT),
        calibrated=False,
    )
