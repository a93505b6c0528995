"""Read a WebSocket client's messages; what is not to the letter closes the connection."""

from dataclasses import dataclass
from typing import Any

from starlette.types import Message

from ..graphql.request import GraphQLRequest, RequestError, decode, encode
from .connection import CloseError
from .subprotocols import Action, Subprotocol

NEEDS_ID = {Action.SUBSCRIBE, Action.COMPLETE}
# It is kept while the operation runs, and comes with each result.
MAX_ID_CHARACTERS = 256
# What tells who the client is, is kept while the connection lasts.
MAX_KEPT_CHARACTERS = 16 * 1024
HAS_OBJECT = {Action.INIT, Action.PING, Action.PONG}


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """What a client wants; `id` may be empty where the action needs none."""

    action: Action
    id: str
    payload: Any
    size: int

    @property
    def may_be_kept(self) -> bool:
        """Whether the payload is short enough to be kept as credentials."""
        return self.size <= MAX_KEPT_CHARACTERS

    def request(self) -> GraphQLRequest:
        """Return the request to run. Raise CloseError if the payload is none."""
        try:
            return GraphQLRequest.from_json(self.payload, self.size)
        except RequestError as error:
            raise CloseError(4400, f"Invalid message: {error}") from None


def read(event: Message, subprotocol: Subprotocol, max_bytes: int) -> ClientMessage:
    """Return the message in a `websocket.receive` event. Raise CloseError if it is malformed."""
    value = _decode(event, max_bytes)
    kind, id_, payload = value.get("type"), value.get("id"), value.get("payload")
    action = subprotocol.actions.get(kind) if isinstance(kind, str) else None
    if action is None:
        raise CloseError(4400, f"Invalid message: unknown type {encode(kind)}")
    if action in NEEDS_ID and not (isinstance(id_, str) and id_):
        raise CloseError(4400, 'Invalid message: "id" must be text')
    if isinstance(id_, str) and len(id_) > MAX_ID_CHARACTERS:
        limit = MAX_ID_CHARACTERS
        raise CloseError(4400, f'Invalid message: "id" may have {limit} characters at most')
    if action in HAS_OBJECT and not isinstance(payload, dict | None):
        raise CloseError(4400, 'Invalid message: "payload" must be an object')
    size = len(event["text"])
    if action is Action.INIT and size > MAX_KEPT_CHARACTERS:
        limit = MAX_KEPT_CHARACTERS
        raise CloseError(4400, f"Invalid message: connection_init may have {limit} characters")
    return ClientMessage(action, id_ if isinstance(id_, str) else "", payload, size)


def _decode(event: Message, max_bytes: int) -> dict[str, Any]:
    text = event.get("text")
    if text is None:
        raise CloseError(4400, "Invalid message: expected text, but binary data came")
    if (len(text) if text.isascii() else len(text.encode())) > max_bytes:
        raise CloseError(1009, f"Message too big: it may have {max_bytes} bytes")
    try:
        value = decode(text)
    except RequestError as error:
        raise CloseError(4400, f"Invalid message: {error}") from None
    if not isinstance(value, dict):
        raise CloseError(4400, "Invalid message: expected a JSON object")
    return value
