"""Keep the log to what somebody can act on, one line an event, in one format."""

import json
import logging
from datetime import UTC, datetime
from logging.config import dictConfig
from typing import Any, Final

from django.db import InterfaceError, OperationalError

from .. import tracing
from ..exceptions import first_line
from ..log_context import CONNECTION, OPERATION, printable

# What uvicorn says of each handshake that was answered with a status and a reason, wrongly:
# https://github.com/Kludex/uvicorn/pull/3138
DENIED: Final = "ASGI callable returned without completing handshake."
# What it says of each connection besides that it was accepted, by the WebSocket library.
NEEDLESS: Final = frozenset({DENIED, "connection open", "connection closed"})
UVICORN: Final = ("uvicorn", "uvicorn.access")
"""Its loggers that have handlers."""


class ClientFaults(logging.Filter):
    """Makes at most one line of what a client can cause in uvicorn at will."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all but `NEEDLESS` pass; broken UTF-8 in a message is the client's fault."""
        if record.msg in NEEDLESS:
            return False
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UnicodeDecodeError) and "received from client" in record.msg:
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


class Refusals(logging.Filter):
    """Stops what Django says of each request that is refused as one too many."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all but status 429 pass: `sign_in` tells when that begins."""
        return getattr(record, "status_code", None) != 429


class DatabaseAbsences(logging.Filter):
    """Makes one line of what Django says of each request that the database's absence has failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all pass, without a traceback if the database was away or busy: the code is right."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OperationalError | InterfaceError):
            record.msg = f"{record.getMessage()}: the database did not answer: {first_line(error)}"
            record.args = None
            record.exc_info = None
        return True


class Where(logging.Filter):
    """Adds the connection, the operation and the trace, and takes query strings away.

    For a handler. What an address has after its `?` may be a token, or a viewer's variables.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all pass."""
        record.connection, record.operation = CONNECTION.get(), OPERATION.get()
        record.trace_id, record.span_id = tracing.ids() or ("", "")
        found = {name: getattr(record, name) for name in ("connection", "operation", "trace_id")}
        told = ", ".join(f"{name} {value}" for name, value in found.items() if value)
        record.where = f" [{told}]" if told else ""
        if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
            record.args = tuple(map(_without_query, record.args))
        return True


class JSONFormatter(logging.Formatter):
    """One JSON object a line, with what `Where` has added."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        for name in ("connection", "operation", "trace_id", "span_id"):
            if value := getattr(record, name, ""):
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class LineFormatter(logging.Formatter):
    """One line of text, whatever a client has sent; only a traceback takes more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name there
        """Return the line."""
        return printable(super().formatMessage(record))


def configure(config: dict[str, Any]) -> None:
    """Configure logging, uvicorn's own lines too: for Django's setting LOGGING_CONFIG.

    uvicorn has made its handlers, as its options say, before the settings are read: here they get
    the format and the filters of the first handler of the root logger.
    """
    dictConfig(config)
    handlers = logging.getLogger().handlers
    if not handlers:
        return
    for name in UVICORN:
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(handlers[0].formatter)
            handler.filters[:] = handlers[0].filters


def _without_query(argument: object) -> object:
    if isinstance(argument, str) and argument.startswith("/") and "?" in argument:
        return argument.partition("?")[0] + "?…"
    return argument
