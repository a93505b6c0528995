"""What is compared: each arm with its server."""

import sys
from dataclasses import dataclass
from typing import Final

from benchmarks.database import Vendor
from benchmarks.machine import NODE, NODE_SERVERS
from benchmarks.subscribers import LEGACY_WS, TRANSPORT_WS, Subprotocol

UVICORN: Final = (
    "--ws-per-message-deflate=false",
    "--log-level=warning",
    "--timeout-graceful-shutdown=1",
    "--backlog=4096",
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to keep subscribers up to date."""

    name: str
    title: str
    server: str
    """An ASGI application as `module:name`, or the file of a Node server."""
    vendors: tuple[Vendor, ...] = ("postgresql", "sqlite")
    subprotocol: Subprotocol = TRANSPORT_WS
    is_polling: bool = False
    """Whether results come without a change, each second."""
    has_default_settings: bool = False
    """Whether Django's settings are those of a new project: a connection a call, no pool."""
    settle_seconds: float = 0.2
    """How long after it has started the server still reviews who is connected."""
    options: tuple[str, ...] = ()
    """Of uvicorn, besides those that all have."""
    announces: str = ""
    """What PostgreSQL does for each row of an order that is written, to tell the server."""

    @property
    def is_node(self) -> bool:
        """Whether the server runs on Node."""
        return self.server.endswith(".js")

    def command(self, port: int) -> list[str]:
        """What starts the server."""
        if self.is_node:
            return [NODE, str(NODE_SERVERS / self.server), str(port)]
        return [
            sys.executable,
            "-m",
            "uvicorn",
            self.server,
            "--port",
            str(port),
            *UVICORN,
            *self.options,
        ]


POSTGRESQL_ONLY: Final[tuple[Vendor, ...]] = ("postgresql",)

BARE: Final = Arm("bare", "bare ASGI broadcast", "benchmarks.apps.bare:application")
OURS: Final = Arm(
    "ours",
    "this project",
    "asgi:application",
    options=("--http=app.web.protocol:LimitedHTTP",),  # as in README.md
    settle_seconds=6.5,
)
PUBLISHED: Final = Arm(
    "published", "Ariadne's handler, order published", "benchmarks.apps.published:application"
)
EXECUTING: Final = Arm(
    "executing", "Ariadne's handler, order queried", "benchmarks.apps.executing:application"
)
POLLING: Final = Arm(
    "polling",
    "the article with alast()",
    "benchmarks.apps.polling:application",
    subprotocol=LEGACY_WS,
    is_polling=True,
    has_default_settings=True,
)
SEED: Final = Arm(
    "seed",
    "the article as it stands",
    "benchmarks.apps.seed:application",
    subprotocol=LEGACY_WS,
    is_polling=True,
    has_default_settings=True,
)
STRAWBERRY: Final = Arm(
    "strawberry", "Strawberry on ASGI", "benchmarks.apps.strawberry_server:application"
)
# What is not told by this project's feed is told by a trigger of its own.
_TELL: Final = "pg_notify('order_changed', '')"
GRAPHQL_WS: Final = Arm(
    "graphql-ws", "graphql-ws on Node", "graphql-ws.js", POSTGRESQL_ONLY, announces=_TELL
)
MERCURIUS: Final = Arm(
    "mercurius", "Mercurius on Node", "mercurius.js", POSTGRESQL_ONLY, announces=_TELL
)
POSTGRAPHILE: Final = Arm(
    "postgraphile", "PostGraphile on Node", "postgraphile.js", POSTGRESQL_ONLY, announces=_TELL
)

ARMS: Final = (
    BARE,
    OURS,
    GRAPHQL_WS,
    MERCURIUS,
    STRAWBERRY,
    PUBLISHED,
    POSTGRAPHILE,
    EXECUTING,
    POLLING,
    SEED,
)

# For viewers who see only their own: somebody has written which topic a change is published to.
_TELL_USER: Final = "pg_notify('order_of_user', NEW.user_id::text)"
GRAPHQL_WS_TOPICS: Final = Arm(
    "graphql-ws-topics",
    "graphql-ws on Node, a topic for each user",
    "graphql-ws-topics.js",
    POSTGRESQL_ONLY,
    announces=_TELL_USER,
)
STRAWBERRY_TOPICS: Final = Arm(
    "strawberry-topics",
    "Strawberry on ASGI, a topic for each user",
    "benchmarks.apps.strawberry_topics:application",
    POSTGRESQL_ONLY,
    announces=_TELL_USER,
)
CHANNELS_GROUPS: Final = Arm(
    "channels-groups",
    "Strawberry on Channels, a group for each user",
    "benchmarks.apps.channels_groups:application",
    POSTGRESQL_ONLY,
    announces=_TELL_USER,
)
POSTGRAPHILE_TOPICS: Final = Arm(
    "postgraphile-topics",
    "PostGraphile on Node, a topic for each user",
    "postgraphile-topics.js",
    POSTGRESQL_ONLY,
    announces="pg_notify('graphql:user:' || NEW.user_id, '')",
)

VIEWER_ARMS: Final = (
    OURS,
    GRAPHQL_WS_TOPICS,
    STRAWBERRY_TOPICS,
    CHANNELS_GROUPS,
    POSTGRAPHILE_TOPICS,
)
