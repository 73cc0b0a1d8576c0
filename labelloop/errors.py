"""Every error that labelloop raises on purpose.

LabelloopError
├── UsageError            the caller asked for something that cannot be (wrong argument, unknown project): exit 2
│   └── SettingsError     a key or value in labelloop.yaml or the environment
├── DataError             input that cannot be used: a broken file, a config that does not parse
│   └── MediaError        one task's image or document; carries a reason code
├── ServiceError          Label Studio, Redis, MLflow, the database or a backend did not do what was asked
│   ├── ServiceDown       it could not be reached at all; trying again later may help
│   └── StoreFull         the database has no room left
├── LeaseLost             another worker took this work over; stop at once, write nothing more
├── Cancelled             somebody asked for the end of this work; stop, and note that it was cancelled
└── NotReady              asked too early (no labels yet, no model yet); the message says what is missing

Each message says what was expected, what came, and what to do next.
"""

from __future__ import annotations


class LabelloopError(Exception):
    """Root of every expected failure; the command line prints it without a traceback and exits with `exit_code`."""

    exit_code = 1


class UsageError(LabelloopError):
    """The request itself is wrong; repeating it unchanged cannot help."""

    exit_code = 2


class SettingsError(UsageError):
    """A key or a value of the configuration is wrong."""


class DataError(LabelloopError):
    """Input data cannot be used."""


class MediaError(DataError):
    """One task's media cannot be used; `reason` is a code from `labelloop.values.REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServiceError(LabelloopError):
    """A service answered, but not with what was asked for; `status` is its HTTP status where there is one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServiceDown(ServiceError):
    """A service could not be reached; the call may be repeated later."""


class StoreFull(ServiceError):
    """The database's disk is full; what the transaction had written is undone."""


class LeaseLost(LabelloopError):
    """The lease that guards this work has passed to another owner."""


class Cancelled(LabelloopError):
    """Somebody asked for the end of this work; the message says who and why."""


class NotReady(LabelloopError):
    """Something that must exist first does not exist yet."""
