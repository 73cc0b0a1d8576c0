"""Login, token and webhook secret of the local Label Studio: made once at random, in a file for its owner only."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labelloop.errors import DataError

CREDENTIALS_FILE = "credentials.json"


@dataclass(frozen=True)
class Credentials:
    """What opens the local Label Studio; `repr` hides the secrets."""

    username: str = "admin@labelloop.example"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    webhook_secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)


def keep_credentials(folder: Path) -> Credentials:
    """Those of the data folder, made at the first call. Raises DataError when the file cannot be used."""
    path = folder / CREDENTIALS_FILE
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _make(path)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be used ({error}); expected username, password, token and webhook_secret as JSON; mend it, "
            f"or remove it together with {folder / 'label-studio'} to begin anew"
        ) from error


def _make(path: Path) -> Credentials:
    made = Credentials()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(made), file, indent=1)
    new.replace(path)
    return made
