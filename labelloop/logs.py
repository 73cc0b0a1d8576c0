"""Log lines as JSON: an event name and chosen fields; tokens are masked, and errors come without their values."""

from __future__ import annotations

import logging
import logging.config
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from labelloop.errors import LabelloopError

_SECRET_WORDS = ("token", "secret", "authorization", "password", "cookie", "api_key")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def error_fields(error: BaseException) -> dict[str, Any]:
    """What may be logged of an error: its type and places; its message only when the message is ours.

    The message of a foreign error can quote the text of a task or a header.
    """
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, LabelloopError):
        fields["why"] = str(error)
    return fields


def _masked(key: str, value: Any) -> Any:
    if any(word in key.lower() for word in _SECRET_WORDS):
        return "***"
    if isinstance(value, dict):
        return {str(inner): _masked(str(inner), item) for inner, item in value.items()}
    return value


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, event, and the fields given by `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; values that are not JSON are written by `repr`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _STANDARD and not key.startswith("_"):
                line[key] = _masked(key, value)
        if record.exc_info and record.exc_info[1] is not None:
            line |= error_fields(record.exc_info[1])
        return orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def logging_config(level: str) -> dict[str, Any]:
    """A `logging.config.dictConfig` that writes everything as JSON lines to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "labelloop.logs.JsonLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        # httpx and httpcore write whole addresses, which may be signed
        "loggers": {
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "alembic": {"level": "WARNING"},
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }


def configure_logging(level: str) -> None:
    """Write this process's log as JSON lines to standard error."""
    logging.config.dictConfig(logging_config(level))
