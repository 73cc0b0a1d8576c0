"""Copies of media where Label Studio serves them from: whole under their final name, or not there."""

from __future__ import annotations

import errno
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from labelloop.errors import DataError
from sync.ingesting.examining import digest_of
from sync.ingesting.items import Refusal

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class LocalFiles:
    """The folder that Label Studio serves files from: as seen here, and (in a container) as the server sees it."""

    root: Path
    server_root: str | None = None

    def folder(self, project_id: int) -> str:
        """The folder of one project, below the root."""
        return f"labelloop/p{project_id}"

    def server_path(self, project_id: int) -> str:
        """The folder of one project as Label Studio sees it."""
        return f"{self.server_root or self.root.absolute()}/{self.folder(project_id)}"

    def stage(
        self, source: Path, project_id: int, content: str, *, name: str | None = None, suffix: str | None = None
    ) -> str:
        """Copy a file in under a name made of its own and its hash, verify the copy; its address for task data.

        `name` and `suffix` stand in for the source's own. Refusal when the source is gone or has changed, DataError when
        the folder takes no more; nothing then stays behind.
        """
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name or source.name).stem)[:80]
        own = f"{stem}-{content[:12]}{(suffix or source.suffix).lower()}"
        target = self.root / self.folder(project_id) / own
        if not (target.is_file() and digest_of(target) == content):
            self._copy(source, target, content)
        return f"/data/local-files/?d={quote(f'{self.folder(project_id)}/{own}')}"

    def _copy(self, source: Path, target: Path, content: str) -> None:
        partial = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial)
            if digest_of(partial) != content:
                raise Refusal("unreadable", f"{source} changed while it was copied; bring it in again")
            partial.replace(target)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if error.errno not in _FULL and error.filename == str(source):
                raise Refusal("not_found", f"{source} cannot be read: {error.strerror}") from error
            raise DataError(
                f"{self.root} takes no more files ({error.strerror}); make room or name another folder with "
                "--files-root, and run this again: it goes on where it stopped"
            ) from error
        except Refusal:
            partial.unlink(missing_ok=True)
            raise
