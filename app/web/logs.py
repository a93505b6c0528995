"""Keep the log to what somebody can act on."""

import logging

from django.db import InterfaceError, OperationalError

from ..exceptions import first_line

# What uvicorn says of each handshake that was answered with a status and a reason, wrongly:
# https://github.com/Kludex/uvicorn/pull/3138
DENIED = "ASGI callable returned without completing handshake."


class ClientFaults(logging.Filter):
    """Makes at most one line of what a client can cause in uvicorn at will."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all but `DENIED` pass; broken UTF-8 in a WebSocket message is the client's fault."""
        if record.msg == DENIED:
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
