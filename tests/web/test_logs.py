"""What stands in the log while the database is away: lines that say so, and no tracebacks."""

import logging
import sys

import pytest
from django.db import OperationalError

from app.exceptions import first_line
from app.web.logs import DatabaseAbsences


def record_of(error: Exception) -> logging.LogRecord:
    """What Django logs of a view that has raised `error`."""
    try:
        raise error
    except type(error):
        return logging.LogRecord(
            "django.request", logging.ERROR, "", 0, "%s: %s", ("Error", "/admin/"), sys.exc_info()
        )


def test_absence_of_the_database_is_one_line() -> None:
    record = record_of(OperationalError("the server is away\n\tIs it running?"))
    assert DatabaseAbsences().filter(record)
    line = logging.Formatter().format(record)
    assert line == "Error: /admin/: the database did not answer: the server is away"


def test_fault_of_the_code_keeps_its_traceback() -> None:
    record = record_of(KeyError("name"))
    assert DatabaseAbsences().filter(record)
    assert "Traceback" in logging.Formatter().format(record)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OperationalError("no room\nHINT: Check free disk space."), "no room"),
        (TimeoutError(), "no answer in time"),
        (OperationalError(), "OperationalError"),
    ],
)
def test_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
