"""A sklearn_text model version on disk: model/pipeline.skops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelloop.errors import DataError


def write_model(folder: Path, pipeline: Any) -> None:
    """Write a fitted pipeline into an artefact folder."""
    import skops.io

    (folder / "model").mkdir(parents=True, exist_ok=True)
    skops.io.dump(pipeline, folder / "model" / "pipeline.skops")


def read_model(folder: Path) -> Any:
    """The fitted pipeline of an artefact folder; DataError when it does not load or holds an untrusted type."""
    import zipfile

    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = folder / "model" / "pipeline.skops"
    try:
        return skops.io.load(path, trusted=[])
    except UntrustedTypesFoundException as error:
        raise DataError(f"{path} holds types that are not trusted, so it was not loaded: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not load as a scikit-learn pipeline: {error}; train again") from error
