"""A spacy_nlp model version on disk: model/pipeline_<n>/ as spaCy writes it, and model/answers.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backends.spacy_nlp.converters.choices import CHOSEN
from backends.spacy_nlp.trusted import check_config
from labelloop.errors import DataError

ANSWERS_FILE = "answers.json"


@dataclass(frozen=True)
class Answer:
    """Which component answers for a control, on what text, and what its labels are called in the label config.

    `several` says that a Choices control takes more than one class, and `chosen_from` from which probability up.
    """

    control: str
    component: str
    classes: Mapping[str, str]
    pipeline: int = 1
    object_tag: str = "Text"
    attributes: Mapping[str, str] = field(default_factory=dict)
    several: bool = False
    chosen_from: float = CHOSEN


def write_model(folder: Path, pipelines: Sequence[Any], answers: Sequence[Answer]) -> None:
    """Write the pipelines (numbered from 1) and what they answer for into the folder of a version."""
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for number, nlp in enumerate(pipelines, start=1):
        nlp.to_disk(_pipeline_folder(folder, number))
    body = [asdict(answer) for answer in answers]
    (folder / "model" / ANSWERS_FILE).write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))


def read_answers(folder: Path) -> tuple[Answer, ...]:
    """What a version answers for; DataError when the file is absent or broken."""
    file = folder / "model" / ANSWERS_FILE
    try:
        return tuple(Answer(**raw) for raw in orjson.loads(file.read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError) as error:
        raise DataError(f"{file} cannot be read: {error}; train or import this version again") from error


def read_model(folder: Path, number: int = 1) -> Any:
    """A pipeline of an artefact folder; DataError when it does not load."""
    return read_pipeline(_pipeline_folder(folder, number))


def read_pipeline(folder: Path, exclude: Sequence[str] = ()) -> Any:
    """The spaCy pipeline of a folder, without running code of others; DataError when it does not load."""
    import spacy

    check_config(folder)
    try:
        return spacy.load(folder, exclude=list(exclude))
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        raise DataError(f"{folder} does not load as a spaCy pipeline: {error}") from error


def _pipeline_folder(folder: Path, number: int) -> Path:
    return folder / "model" / f"pipeline_{number}"
