"""Keep the log to what somebody can act on."""

import logging


class ClientFaults(logging.Filter):
    """Makes one line of a traceback that a client can cause in uvicorn at will."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass; broken UTF-8 in a WebSocket message is the client's fault."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UnicodeDecodeError) and "received from client" in record.msg:
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True
