"""Accept a WebSocket or deny it, and close it in the end."""

import asyncio
import logging
from typing import Final

from ariadne.asgi.handlers import GraphQLWebsocketHandlerBase
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket

from ..database.fairness import CONSUMER
from ..graphql.budgets import consumer_of
from ..graphql.engine import Engine
from ..graphql.errors import TooManyConnectionsError
from ..graphql.limits import Limits
from ..log_context import enter_connection
from ..origin import is_origin_allowed
from ..viewer import Credentials, InvalidCredentialError, UnknownViewerError
from .clients import RESTART, Clients
from .connection import Close, Connection
from .denial import deny
from .identity import STRANGER, Identity
from .operations import Operations
from .subprotocols import SUBPROTOCOLS
from .websocket import EXTENSION, WebSocket

logger = logging.getLogger(__name__)

NO_SUBPROTOCOL: Final = Close(4406, "Subprotocol not acceptable")


class WebSocketHandler(GraphQLWebsocketHandlerBase):
    """Serves `graphql-transport-ws` and the legacy `graphql-ws` at one address."""

    def __init__(self, engine: Engine, clients: Clients, limits: Limits) -> None:
        super().__init__()
        self._engine = engine
        self._clients = clients
        self._limits = limits

    async def handle_websocket(self, websocket: object) -> None:
        """Raise NotImplementedError: `handle` takes the ASGI call itself."""
        raise NotImplementedError

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its handshake to its end."""
        address, port = scope.get("client") or ("?", "?")
        peer = f"{address}:{port}"
        enter_connection()
        headers = Headers(scope=scope)
        await receive()  # websocket.connect
        if not is_origin_allowed(headers):
            origin, host = headers.get("origin"), headers.get("host")
            logger.warning("WebSocket of %s refused: origin %r at host %r", peer, origin, host)
            await deny(scope, receive, send, 403, "This origin is not allowed here.")
            return
        credentials = Credentials(headers, address)
        session, refusal = STRANGER, None
        try:
            session = await self._clients.authentication.session(credentials)
        except InvalidCredentialError as error:
            refusal = error  # unless a better one comes with `connection_init`
        except UnknownViewerError as error:
            await deny(scope, receive, send, 503, str(error))
            return
        account = self._engine.budgets.account(consumer_of(session, address))
        try:
            account.check_connections()
        except TooManyConnectionsError as error:
            await deny(scope, receive, send, 429, str(error))
            return
        connection = Connection(receive, send, credentials, session, account)
        account.connections += 1
        try:
            await self._accept(scope, receive, send, connection, refusal, peer)
        finally:
            connection.account.connections -= 1

    async def _accept(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        connection: Connection,
        refusal: InvalidCredentialError | None,
        peer: str,
    ) -> None:
        CONSUMER.set(connection.account.consumer)

        async def close(close: Close) -> None:
            self._clients.closed[close.code] += 1
            await _close(connection, send, close, peer)

        offered = scope["subprotocols"]
        subprotocol = next((SUBPROTOCOLS[name] for name in offered if name in SUBPROTOCOLS), None)
        if subprotocol is None:
            await send({"type": "websocket.accept"})
            await close(NO_SUBPROTOCOL)
            return
        if (reason := self._clients.refusal) is not None:
            logger.warning("WebSocket of %s refused: %s", peer, reason)
            await deny(scope, receive, send, 503, reason)
            return
        engine, limits = self._engine, self._limits
        operations = Operations(
            engine, limits, self._clients.authentication, subprotocol, connection
        )
        steps = engine.preparation.steps
        identity = Identity(connection, self._clients, engine.budgets, refusal)
        websocket = WebSocket(steps, limits, subprotocol, connection, operations, identity)
        self._clients.add(websocket)
        try:
            accept = {"type": "websocket.accept", "subprotocol": subprotocol.name}
            headers = refusal.headers if refusal is not None else {}
            await send({**accept, "headers": Headers(headers).raw})
            extension = scope.get("extensions", {}).get(EXTENSION, {})
            if extension and subprotocol.expects_pong:
                extension["stop_pings"]()  # `WebSocket.check` does it, and two are twice the work.
            # What wraps `send` wants to see each message.
            write = extension.get("write") if connection.is_direct else None
            await websocket.run(receive, send, close, write)
        except asyncio.CancelledError:
            if not self._clients.is_stopping:
                raise
            # The server's patience is over; uvicorn would log a traceback.
            logger.warning("WebSocket of %s: mutations were cut off, since the server stops", peer)
        finally:
            self._clients.discard(websocket)


async def refuse_unknown_path(websocket: StarletteWebSocket) -> None:
    """Refuse a WebSocket at a path that has none; Django would raise."""
    await websocket.close()


async def _close(connection: Connection, send: Send, close: Close, peer: str) -> None:
    # A reason has at most 123 bytes (RFC 6455, section 5.5), and may quote what the client sent.
    reason = close.reason.encode("ascii", "backslashreplace")[:123].decode()
    if close is not RESTART:  # of which `Clients` has told
        logger.info("WebSocket of %s closed with %s: %r", peer, close.code, reason)
    await connection.finish(send, {"type": "websocket.close", "code": close.code, "reason": reason})
