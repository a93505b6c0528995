"""What a client learns of an error: a message, a stable `extensions.code`, and no more."""

import logging
from typing import Any, ClassVar

from django.conf import settings
from django.db import DatabaseError, DataError, Error, InterfaceError, OperationalError
from graphql import GraphQLError

from ..changes.routing import replica_read
from ..exceptions import LiveError
from .request import encode

logger = logging.getLogger(__name__)


class ClientError(GraphQLError, LiveError):
    """An error whose message is meant for the client."""

    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": self.code})


class BadUserInputError(ClientError):
    """An argument's value makes no sense."""

    code = "BAD_USER_INPUT"


class NotFoundError(ClientError):
    """What was asked for does not exist, or not for this viewer."""

    code = "NOT_FOUND"


class UnauthenticatedError(ClientError):
    """The viewer has to sign in first."""

    code = "UNAUTHENTICATED"


class ForbiddenError(ClientError):
    """The viewer is known and may not do this."""

    code = "FORBIDDEN"


class UnavailableError(ClientError):
    """Something that the server needs does not answer at the moment."""

    code = "SERVICE_UNAVAILABLE"


class PersistedQueryNotFoundError(ClientError):
    """A hash names no document that is remembered; clients send the text then."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        # Some clients look for these words instead of the code.
        super().__init__("PersistedQueryNotFound")


class PersistedQueryNotSupportedError(ClientError):
    """An id names a document, but there are no trusted documents."""

    code = "PERSISTED_QUERY_NOT_SUPPORTED"


class NotInSafelistError(ClientError):
    """The document is none of the trusted documents."""

    code = "QUERY_NOT_IN_SAFELIST"


class LimitError(ClientError):
    """A limit has refused something; the message says which, and how to go on."""


class TooManyOperationsError(LimitError):
    """The viewer, or the connection, runs as many operations as it may."""

    code = "TOO_MANY_OPERATIONS"


class TooManyConnectionsError(LimitError):
    """The viewer has as many connections as they may."""

    code = "TOO_MANY_CONNECTIONS"


class TooManySourcesError(LimitError):
    """The process runs as many sources as it may."""

    code = "TOO_MANY_SOURCES"


class TooManySubscriptionsError(LimitError):
    """The viewer follows as many different sources as they may."""

    code = "TOO_MANY_SUBSCRIPTIONS"


class TooCostlyError(LimitError):
    """The viewer's sources would cost more together than they may."""

    code = "SUBSCRIPTIONS_TOO_COSTLY"


class TooLargeError(LimitError):
    """The result is, or would be, larger than it may be."""

    code = "RESULT_TOO_LARGE"


PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
MAX_MESSAGE_CHARACTERS = 500


class OperationError(LiveError):
    """An operation cannot run, or go on; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class InvalidDocumentError(OperationError):
    """The document cannot be parsed or validated, or is larger than it may be."""


class SourceError(OperationError):
    """A subscription's source could not start."""


def cause_of(error: Exception) -> Exception:
    """The exception that a resolver or source raised, under what graphql-core wrapped it in."""
    while isinstance(error, GraphQLError) and error.original_error is not None:
        error = error.original_error
    return error


def is_transient(error: Exception) -> bool:
    """Whether the database was away or busy, so that trying again makes sense."""
    return isinstance(cause_of(error), (OperationalError, InterfaceError))


def is_of_replica(error: Exception) -> bool:
    """Whether a replica has refused what its primary may do.

    As when replay cancels a query, or when it lacks a column that `migrate` has just added.
    """
    return replica_read() is not None and isinstance(cause_of(error), Error)


def format_error(error: GraphQLError) -> dict[str, Any]:
    """The error as GraphQL's response format has it (https://spec.graphql.org/draft/#sec-Errors).

    An error that no client could have caused is logged, and described only under DEBUG.
    """
    formatted: dict[str, Any] = dict(error.formatted)
    cause = cause_of(error)
    if not isinstance(cause, GraphQLError):
        message, code = _explain(cause)
        formatted["message"] = message
        formatted["extensions"] = {"code": code}
    elif "code" not in (cause.extensions or {}):
        formatted["extensions"] = {"code": BadUserInputError.code, **(cause.extensions or {})}
    # What a client sent may be quoted, and must not come back many times as large.
    formatted["message"] = formatted["message"][:MAX_MESSAGE_CHARACTERS]
    return formatted


def _explain(cause: Exception) -> tuple[str, str]:
    if isinstance(cause, (DataError, UnicodeEncodeError)):
        logger.warning("A value did not fit into the database: %s", cause)
        return "A value does not fit into the database.", BadUserInputError.code
    if isinstance(cause, DatabaseError | InterfaceError) and is_transient(cause):
        logger.error("The database did not answer: %s", str(cause).strip())
        message = "The database does not answer at the moment. Try again later."
        return (f"{message} {cause}" if settings.DEBUG else message), UnavailableError.code
    logger.error("A resolver failed: %r", cause, exc_info=cause)
    message = f"{type(cause).__name__}: {cause}" if settings.DEBUG else "Internal server error."
    return message, "INTERNAL_SERVER_ERROR"


def describe(error: Exception) -> str:
    """The encoded list of errors to tell clients about an exception."""
    match error:
        case OperationError():
            errors = error.errors
        case GraphQLError():
            errors = [error]
        case _:
            errors = [GraphQLError(str(error), original_error=error)]
    return encode([format_error(each) for each in errors])
