"""For which connection and operation something is done, as the log names them."""

import os
from contextvars import ContextVar
from itertools import count
from typing import Final

MAX_CHARACTERS: Final = 64
"""Of an id that a client has chosen."""

CONNECTION: ContextVar[str] = ContextVar("CONNECTION", default="")
"""The WebSocket, event stream or request that this task serves: unique on its host."""
OPERATION: ContextVar[str] = ContextVar("OPERATION", default="")
"""The operation that this task runs: by the client's id, or the number of the shared source."""

_numbers = count(1)


def printable(text: str) -> str:
    """The text without what a terminal would obey, or take for another line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def enter_connection() -> None:
    """What this task does from now on is done for a new connection."""
    CONNECTION.set(f"{os.getpid()}-{next(_numbers)}")
