"""Three simulated people as processes of their own, and the control file that paces them."""

from __future__ import annotations

import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from labelloop.demo import people
from labelloop.errors import ServiceError
from labelloop.services.processes import MARK, kill
from labelloop.settings import inherited_environment


@dataclass
class Crowd:
    """The people of one demo; their accounts are kept in `folder`, so that a second run finds them again."""

    url: str
    truth: Path
    folder: Path
    names: tuple[str, ...] = ("ada", "ben", "cleo")
    pace: float = 0.05
    #: The mark of the supervisor's run: whatever carries it ends with it, whatever happens to this process.
    run: str = ""
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Start everybody who does not run yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(self.names):
            if name in self._running and self._running[name].poll() is None:
                continue
            log = (self.folder / f"{name}.err").open("ab")
            command = [
                sys.executable, str(Path(people.__file__)), "--url", self.url, "--email", f"{name}@example.com",
                f"--password={self._password(name)}", "--truth", str(self.truth), "--log", str(self.log_of(name)),
                "--control", str(self._control_of(name)), "--seed", str(number + 1), "--pace", str(self.pace), "--stay",
            ]  # fmt: skip
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**inherited_environment(), MARK: self.run},
            )
            log.close()

    def _password(self, name: str) -> str:
        path = self.folder / f"{name}.password"
        if not path.is_file():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(12), encoding="utf-8")
        return path.read_text(encoding="utf-8")

    def log_of(self, name: str) -> Path:
        """Where a person notes every task that was served."""
        return self.folder / f"{name}.jsonl"

    def _control_of(self, name: str) -> Path:
        return self.folder / f"{name}.control.json"

    def tell(self, name: str, **control: Any) -> None:
        """What a person is to do from the next turn on: pause, stop, quota, pace."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._control_of(name).with_suffix(".part")
        partial.write_bytes(orjson.dumps(control))
        partial.replace(self._control_of(name))

    def tell_all(self, **control: Any) -> None:
        """The same word to everybody."""
        for name in self.names:
            self.tell(name, **control)

    def check(self) -> None:
        """ServiceError when somebody gave up, with their own last words."""
        for name, process in self._running.items():
            if process.poll() not in (None, 0):
                words = (self.folder / f"{name}.err").read_text(encoding="utf-8", errors="replace").strip()
                raise ServiceError(f"{name}, one of the simulated people, gave up: {words[-500:]}")

    def servings(self, name: str) -> list[dict[str, Any]]:
        """Every task that a person was served, in order."""
        path = self.log_of(name)
        lines = path.read_bytes().splitlines() if path.is_file() else []
        return [orjson.loads(line) for line in lines if line.endswith(b"}")]

    def stop(self) -> None:
        """Let everybody finish the task in hand, then end whoever still runs."""
        self.tell_all(stop=True)
        import psutil

        for process in self._running.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                kill([psutil.Process(process.pid)])
                process.wait(timeout=10)
        self._running.clear()
