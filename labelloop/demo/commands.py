"""The product's own command line, called as a person would: what the demo does to projects, it does by these."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import ServiceError
from labelloop.services.local import child_environment
from labelloop.settings import ServiceSettings


class CommandLine:
    """`labelloop ...` with the demo's services and its labelloop.yaml; every command's JSON is its answer."""

    def __init__(self, services: ServiceSettings, settings_file: Path) -> None:
        self.services, self.settings_file = services, settings_file

    def __call__(self, *arguments: str, timeout_s: float = 600.0) -> Any:
        """The parsed JSON of one command; ServiceError with its message when it fails."""
        return self.finish(self.begin(*arguments), arguments, timeout_s)

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command."""
        command = [sys.executable, "-m", "labelloop.cli", *arguments, "--settings", str(self.settings_file), "--json"]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(self.services),
        )

    def finish(self, process: subprocess.Popen[bytes], arguments: Sequence[str], timeout_s: float = 600.0) -> Any:
        """Wait for a command that was started, and read its answer."""
        out, err = process.communicate(timeout=timeout_s)
        if process.returncode != 0:
            words = err.decode(errors="replace").strip()
            raise ServiceError(f"`labelloop {' '.join(arguments)}` failed ({process.returncode}): {words[-1500:]}")
        return orjson.loads(out)
