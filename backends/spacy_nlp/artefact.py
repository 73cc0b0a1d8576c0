"""A spacy_nlp model version on disk: model/ as spaCy writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelloop.errors import DataError


def read_model(folder: Path) -> Any:
    """The spaCy pipeline of an artefact folder; DataError when it does not load."""
    import spacy

    try:
        nlp = spacy.load(folder / "model")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder / 'model'} does not load as a spaCy pipeline: {error}") from error
    if "ner" not in nlp.pipe_names:
        raise DataError(f"{folder / 'model'} has no entity recogniser (component 'ner'); it has {nlp.pipe_names}")
    return nlp
