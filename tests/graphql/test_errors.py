"""What clients learn of errors, and what the log does."""

import logging

import pytest
from django.db import DataError, OperationalError
from graphql import GraphQLError
from pytest_django import Settings

from app.graphql.errors import ForbiddenError, format_error, is_transient


def raised(cause: Exception) -> GraphQLError:
    """As graphql-core wraps what a resolver raises, here twice."""
    return GraphQLError(str(cause), original_error=GraphQLError("", original_error=cause))


def test_internal_error_is_logged_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    error = format_error(raised(ValueError("the password is 1234")))
    assert error["message"] == "Internal server error."
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR"}
    (record,) = caplog.records
    assert "1234" in record.getMessage()
    assert record.exc_info


def test_internal_error_is_shown_under_debug(settings: Settings) -> None:
    settings.DEBUG = True
    assert format_error(raised(ValueError("wrong")))["message"] == "ValueError: wrong"


def test_absent_database_is_one_line_and_can_be_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = raised(OperationalError("connection to 10.0.0.1 refused"))
    formatted = format_error(error)
    assert formatted["extensions"] == {"code": "SERVICE_UNAVAILABLE"}
    assert "10.0.0.1" not in formatted["message"]
    assert is_transient(error)
    (record,) = caplog.records
    assert not record.exc_info


def test_value_that_no_database_takes_is_the_clients_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for cause in (DataError("too long"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate")):
        assert format_error(raised(cause))["extensions"] == {"code": "BAD_USER_INPUT"}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_own_errors_keep_message_and_code() -> None:
    formatted = format_error(raised(ForbiddenError("Not yours.")))
    assert formatted["extensions"] == {"code": "FORBIDDEN"}
