"""Refuses a pipeline whose config would reach code outside spaCy and Thinc.

A config names functions of registries, and a registry also finds what any installed package puts into it. So before a
pipeline is loaded, every function and component factory that its config names is looked up without importing anything,
and must be one of spaCy's own. `[initialize]` and `[training]` are not read when a pipeline is loaded. Weights are
msgpack and arrays, which hold no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from labelloop.errors import DataError

#: Top-level packages whose registered functions may run.
TRUSTED = frozenset({"spacy", "thinc", "spacy_legacy", "confection"})
_NOT_LOADED = ("training", "initialize", "corpora", "pretraining", "paths", "system")


def check_config(folder: Path) -> Mapping[str, Any]:
    """The config of a pipeline folder; DataError when there is none, or when it names foreign code."""
    from thinc.api import Config

    try:
        config: Mapping[str, Any] = Config().from_disk(folder / "config.cfg", interpolate=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no spaCy pipeline: its config.cfg cannot be read ({error})") from error
    loaded = {name: section for name, section in config.items() if name not in _NOT_LOADED}
    lang = str(config.get("nlp", {}).get("lang", ""))
    if not re.fullmatch(r"[a-z]{2,3}", lang) or find_spec(f"spacy.lang.{lang}") is None:
        raise DataError(f"{folder}: spaCy has no language {lang!r}")
    try:
        _register_all(lang)
    except ImportError as error:
        raise DataError(f"{folder}: the language {lang!r} needs another package: {error}") from error
    for where, key, name in _names(loaded, ""):
        if key == "source":
            raise DataError(f"{folder}: {where} is taken from another pipeline ({name!r}); save it with its components")
        if key == "@callbacks":
            raise DataError(f"{folder}: {where} runs the function {name!r} while loading; remove it from config.cfg")
        owner = _owner("factories" if key == "factory" else key[1:], name, lang)
        if owner not in TRUSTED:
            raise DataError(
                f"{folder}: {where} names {name!r}, which {'belongs to ' + owner if owner else 'nobody has registered'}; "
                f"only functions of spaCy itself are loaded. Remove that component from the pipeline, or retrain without it"
            )
    return config


def _names(section: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, str]]:
    """(section, key, name) of everything in a config that is looked up in a registry."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{where}.{key}" if where else key)
        elif isinstance(value, str) and (
            key.startswith("@") or (_is_component(where) and key in ("factory", "source"))
        ):
            yield f"[{where}]", key, value


def _is_component(where: str) -> bool:
    return where.startswith("components.") and where.count(".") == 1


def _owner(registry: str, name: str, lang: str) -> str | None:
    """The top-level package that registers a function, by what is registered already or by a package's metadata."""
    registered = import_module("catalogue").REGISTRY
    if registry == "factories":
        names, spaces = (f"{lang}.{name}", name), [("spacy", "internal_factories"), ("spacy", "factories")]
    else:
        names, spaces = (name, name.replace("spacy.", "spacy-legacy.", 1)), [("spacy", registry), ("thinc", registry)]
    for known in names:
        for space in spaces:
            function = registered.get((*space, known))
            if function is not None:
                return _package(function)
        for group in (f"spacy_{registry}", f"thinc_{registry}"):
            for entry in entry_points(group=group):
                if entry.name == known:
                    return entry.value.partition(":")[0].partition(".")[0]
    return None


def _register_all(lang: str) -> None:
    """Make spaCy register what is its own, which it puts off until the first pipeline."""
    import spacy
    from spacy.util import get_lang_class, registry

    registry.ensure_populated()
    spacy.blank("en")
    get_lang_class(lang)


def _package(function: object) -> str:
    """Where a registered function comes from; one that spaCy has wrapped comes from where its inside does."""
    cells = getattr(function, "__closure__", None) or ()
    inner = [cell.cell_contents for cell in cells if callable(cell.cell_contents)]
    packages = [str(getattr(item, "__module__", "")).partition(".")[0] for item in (*inner, function)]
    return next((package for package in packages if package not in TRUSTED), packages[-1])
