"""Count the open connections of a process, WebSockets too, and refuse more than it bears."""

import asyncio
import logging
import resource
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ..addresses import network_of
from ..graphql.limits import read_settings

logger = logging.getLogger(__name__)

# For the database's connections, which take up to three each, for files, and for listening.
RESERVED_DESCRIPTORS: Final = 256
SECONDS_BETWEEN_WARNINGS: Final = 60.0


@dataclass(frozen=True, slots=True)
class HTTPLimits:
    """Each field is the setting `HTTP_` + its name in capitals."""

    head_seconds: float
    """How long the request line and the headers may take."""
    body_seconds: float
    """How long `MIN_BODY_BYTES` of a body, or what is left of it, may take."""
    send_seconds: float
    """How long a client may leave some 64 KB of its answer unread."""
    max_head_bytes: int
    """Of the request line and the headers together."""
    max_connections_per_address: int

    @classmethod
    def from_settings(cls) -> Self:
        """The limits that Django's settings give."""
        return read_settings(cls, "HTTP")


class OpenConnections:
    """Counts the open connections of a process, WebSockets too, and refuses more than it bears."""

    def __init__(self, config: Config) -> None:
        self.limits: Final = HTTPLimits.from_settings()
        self._most = most_connections()
        self._trusted = ProxyHeadersMiddleware(
            config.loaded_app, config.forwarded_allow_ips
        ).trusted_hosts
        self.is_stopping = False
        """Whether no more are accepted."""
        self._open: Counter[str] = Counter()
        self._refused = 0
        self._warns_at = 0.0

    def enter(self, address: str | None) -> str | None:
        """Count a connection, and answer with the host of which it is one more.

        That is None for those that may have as many as there can be, since many clients use them:
        proxies, of which uvicorn believes whom they stand for (`FORWARDED_ALLOW_IPS`, by default
        this host's 127.0.0.1 and ::1), and who comes by a socket of this host's files.
        """
        if address is None or address in self._trusted:
            return None
        host = network_of(address)
        if host is not None:
            self._open[host] += 1
        return host

    def leave(self, host: str | None) -> None:
        """Count a connection no more."""
        if host is not None:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]

    def refusal(self, host: str | None, total: int) -> str | None:
        """Why one of `host` that was counted is one too many, of `total`; None if it is not."""
        most = self.limits.max_connections_per_address
        if host is not None and self._open[host] > most:
            return f"it has {most}, as HTTP_MAX_CONNECTIONS_PER_ADDRESS allows"
        if total > self._most:
            return f"{self._most} are open, as the limit of open files allows (ulimit -n)"
        return None

    def warn(self, address: str | None, reason: str) -> None:
        """Log refused connections, all that came since the last line in one."""
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._warns_at:
            message = "Connections refused: %d. The newest, of %s: %s."
            logger.warning(message, self._refused, address, reason)
            self._refused = 0
            self._warns_at = now + SECONDS_BETWEEN_WARNINGS


@cache
def open_connections(config: Config) -> OpenConnections:
    """Those of the server that was started so; Django has its settings by then."""
    return OpenConnections(config)


def most_connections() -> int:
    """How many leave the process enough file descriptors for everything else."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(most - RESERVED_DESCRIPTORS, most // 2)
