"""The words of the two WebSocket subprotocols; what they mean is the same."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ..graphql.request import decode, encode


class Action(Enum):
    """What a client's message asks for."""

    INIT = auto()
    SUBSCRIBE = auto()
    COMPLETE = auto()
    PING = auto()
    PONG = auto()
    TERMINATE = auto()


def _object_of_errors(errors: str) -> str:
    # The protocol has one error here; its client also looks for a list under "errors".
    every = decode(errors)
    return encode({**every[0], "errors": every})


@dataclass(frozen=True, slots=True)
class Subprotocol:
    """How one subprotocol names its messages."""

    name: str
    actions: dict[str, Action]
    result: str
    """The type of the message that carries a result."""
    error_payload: Callable[[str], str]
    """From the encoded list of errors, the payload of the message that carries them."""
    keep_alive: bytes
    """The message sent at intervals to show, or find out, that the connection is alive."""
    expects_pong: bool
    """Whether the client must answer a keep-alive message."""
    allows_restart: bool
    """Whether an id in use may be subscribed again, which ends its first operation."""


# https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
GRAPHQL_TRANSPORT_WS = Subprotocol(
    name="graphql-transport-ws",
    actions={
        "connection_init": Action.INIT,
        "subscribe": Action.SUBSCRIBE,
        "complete": Action.COMPLETE,
        "ping": Action.PING,
        "pong": Action.PONG,
    },
    result="next",
    error_payload=str,
    keep_alive=b'{"type":"ping"}',
    expects_pong=True,
    allows_restart=False,
)

# https://github.com/apollographql/subscriptions-transport-ws/blob/master/PROTOCOL.md
GRAPHQL_WS = Subprotocol(
    name="graphql-ws",
    actions={
        "connection_init": Action.INIT,
        "start": Action.SUBSCRIBE,
        "stop": Action.COMPLETE,
        "connection_terminate": Action.TERMINATE,
    },
    result="data",
    error_payload=_object_of_errors,
    keep_alive=b'{"type":"ka"}',
    expects_pong=False,
    allows_restart=True,
)

SUBPROTOCOLS = {each.name: each for each in (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS)}
