"""Accept or refuse a WebSocket, and close it as its subprotocol wants."""

import logging

from ariadne.asgi.handlers import GraphQLWebsocketHandlerBase
from django.db import Error as DatabaseError
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.graphql.connection import Connection
from app.graphql.engine import Engine
from app.graphql.link import CloseError, Link
from app.graphql.origin import is_origin_allowed
from app.graphql.subprotocols import SUBPROTOCOLS
from app.graphql.viewer import session_key

logger = logging.getLogger(__name__)


class WebSocketHandler(GraphQLWebsocketHandlerBase):
    """Serves `graphql-transport-ws` and the legacy `graphql-ws` at one address."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    async def handle_websocket(self, websocket: object) -> None:
        """Not offered: `handle` takes the ASGI call itself."""
        raise NotImplementedError

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its handshake to its end."""
        client = "{}:{}".format(*(scope.get("client") or ("?", "?")))
        headers = Headers(scope=scope)
        await receive()  # websocket.connect
        if not is_origin_allowed(headers):
            origin, host = headers.get("origin"), headers.get("host")
            logger.warning("WebSocket of %s refused: origin %r at host %r", client, origin, host)
            await refuse(scope, send, 403, "This origin is not allowed here.")
        else:
            await self._serve(scope, receive, send, headers.get("cookie", ""), client)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, cookies: str, client: str
    ) -> None:
        try:
            session = await self._engine.session_for(session_key(cookies))
        except DatabaseError as error:
            logger.error("WebSocket of %s refused: no viewer: %s", client, error)  # noqa: TRY400
            await refuse(scope, send, 503, "The database does not answer. Try again later.")
            return
        link = Link(receive, session)
        offered = scope["subprotocols"]
        subprotocol = next((SUBPROTOCOLS[name] for name in offered if name in SUBPROTOCOLS), None)
        if subprotocol is None:
            await send({"type": "websocket.accept"})
            await _close(link, send, CloseError(4406, "Subprotocol not acceptable"), client)
            return
        if (refusal := self._engine.connections.refusal) is not None:
            logger.warning("WebSocket of %s refused: %s", client, refusal)
            await refuse(scope, send, 503, refusal)
            return

        async def close(end: CloseError) -> None:
            await _close(link, send, end, client)

        connection = Connection(self._engine, subprotocol, link)
        self._engine.connections.add(connection)
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol.name})
            await connection.run(receive, send, close)
        finally:
            self._engine.connections.discard(connection)


async def _close(link: Link, send: Send, end: CloseError, client: str) -> None:
    # A reason has at most 123 bytes (RFC 6455, section 5.5), and may quote what the client sent.
    reason = end.reason.encode("ascii", "backslashreplace")[:123].decode()
    logger.info("WebSocket of %s closed with %s: %r", client, end.code, reason)
    await link.finish(send, {"type": "websocket.close", "code": end.code, "reason": reason})


async def refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    """Answer a handshake with an HTTP status other than 101, and say why."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": reason.encode()})
