"""The backends by name; a backend's own package is imported only when it is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from labelloop.errors import UsageError


@dataclass(frozen=True)
class BackendEntry:
    """Where a backend lives and what it needs: a dotted module, an extra of labelloop, top-level libraries.

    `trains_on_gpu`: its trainer computes on `Budget.device`; the others train on the CPU whatever that is.
    """

    module: str
    extra: str
    libraries: tuple[str, ...]
    trains_on_gpu: bool = False


#: What a project has for its backend where none answers for its label config.
NO_BACKEND = "none"
BACKENDS: dict[str, BackendEntry] = {
    "yolo": BackendEntry("backends.yolo", "yolo", ("torch", "ultralytics"), trains_on_gpu=True),
    "spacy_nlp": BackendEntry("backends.spacy_nlp", "spacy", ("spacy", "selectolax"), trains_on_gpu=True),
    "sklearn_text": BackendEntry("backends.sklearn_text", "sklearn", ("sklearn", "skops")),
    "rules": BackendEntry("backends.rules", "rules", ("regex",)),
}


def backend_entry(name: str) -> BackendEntry:
    """Where a backend lives; UsageError names the known ones."""
    if name == NO_BACKEND:
        raise UsageError(
            "no backend learns this project's labels; where one can, `labelloop project create TITLE --backend NAME` names it"
        )
    entry = BACKENDS.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, BACKENDS, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"no backend {name!r}{hint} Known backends: {', '.join(sorted(BACKENDS))}")
    return entry


def backend_module(name: str) -> ModuleType:
    """The package of a backend, with `load` and `trainer`; UsageError for an unknown name or a missing library."""
    entry = backend_entry(name)
    missing = [library for library in entry.libraries if find_spec(library) is None]
    if missing:
        raise UsageError(
            f"the backend {name!r} needs {', '.join(missing)}; install it with: pip install 'labelloop[{entry.extra}]'"
        )
    return import_module(entry.module)
