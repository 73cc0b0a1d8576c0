"""Log lines: one JSON object each, no secrets, no values of foreign errors."""

from __future__ import annotations

import json
import logging
import sys

from labelloop.errors import DataError
from labelloop.logs import JsonLines


def test_log_fields_that_name_a_secret_are_masked() -> None:
    record = logging.makeLogRecord(
        {"msg": "x", "access_token": "abc", "headers": {"Authorization": "abc", "host": "h"}}
    )
    line = json.loads(JsonLines().format(record))
    assert line["access_token"] == "***"
    assert line["headers"] == {"Authorization": "***", "host": "h"}


def test_a_foreign_error_is_logged_by_kind_and_place_and_ours_by_its_message() -> None:
    for error, told in ((ValueError("text of a task"), False), (DataError("what to do"), True)):
        try:
            raise error
        except (ValueError, DataError):
            record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
        line = json.loads(JsonLines().format(record))
        assert line["error"] == type(error).__name__
        assert (
            line["at"][0].rpartition(" ")[2]
            == "test_a_foreign_error_is_logged_by_kind_and_place_and_ours_by_its_message"
        )
        assert (str(error) in json.dumps(line)) is told
