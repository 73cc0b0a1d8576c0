"""Labelling functions: Python that an administrator allowed, run only when its bytes are those that were allowed.

The code runs inside the process with all of its rights. Nothing here is a sandbox.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from backends.rules.matchers import Function
from backends.rules.rule_file import PythonRule, RuleFile
from labelloop.errors import DataError


def source_digest(path: Path) -> str:
    """SHA-256 of a file; DataError when it cannot be read."""
    return hashlib.sha256(_source(path)).hexdigest()


def load_functions(file: RuleFile, folder: Path, allowed: str | None) -> dict[str, Function]:
    """The functions that the rules name, by name; empty where they name none.

    `allowed` is the SHA-256 of the code that may run. DataError when the code is not that, does not run, or has no such
    function.
    """
    wanted = [rule for rule in file.rules if isinstance(rule, PythonRule)]
    if not wanted or file.functions is None:
        return {}
    path = folder / file.functions
    source = _source(path)
    if allowed is None or hashlib.sha256(source).hexdigest() != allowed:
        raise DataError(
            f"{path.name} is not the code that was allowed for this version; import the rule file again with allow_python"
        )
    # Not the import system: it would read the file a second time, and leave compiled files in an immutable folder.
    names: dict[str, object] = {"__name__": f"labelling_functions_{allowed[:12]}", "__file__": str(path)}
    try:
        exec(compile(source, str(path), "exec"), names)  # noqa: S102 - allowed by its digest
    except (Exception, SystemExit) as error:
        raise DataError(f"{path.name} does not run: {type(error).__name__}: {error}") from error
    functions: dict[str, Function] = {}
    for rule in wanted:
        function = names.get(rule.function)
        if not callable(function):
            raise DataError(f"rule {rule.name!r}: {path.name} has no function {rule.function!r}")
        functions[rule.function] = function
    return functions


def _source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"the labelling functions {path} cannot be read: {error}") from error
