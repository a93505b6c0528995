"""One WebSocket, from the accepted handshake to its close."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Receive, Send

from ..graphql.limits import Limits
from ..graphql.request import encode
from ..turns import Steps
from .connection import Close, CloseError, Connection
from .identity import Identity
from .messages import ClientMessage, read
from .operations import Operations
from .outbox import Write
from .subprotocols import Action, Subprotocol

NOT_INITIALIZED: Final = Close(4408, "Connection initialisation timeout")
EXTENSION: Final = "websocket.direct"
"""An extension of ASGI, which `LimitedWebSocket` has: two functions of the server's connection.

"write" sends a text, given in parts of UTF-8, within the call. It returns how many bytes the frame
has; 0 if `send` has to wait first, or has an error to raise. "stop_pings" ends the server's pings.
"""
NO_PONG: Final = Close(1008, "No pong came in time")


class WebSocket:
    """Reads messages and does what they ask for.

    Nothing that runs for the client delays a ping.
    """

    def __init__(
        self,
        steps: Steps,
        limits: Limits,
        subprotocol: Subprotocol,
        connection: Connection,
        operations: Operations,
        identity: Identity,
    ) -> None:
        self.connection: Final = connection
        self._steps = steps
        self._limits = limits
        self._subprotocol = subprotocol
        self._operations = operations
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._pinged_at = self._loop.time()
        self._is_acknowledged = self._awaits_pong = False

    async def run(
        self,
        receive: Receive,
        send: Send,
        close: Callable[[Close], Awaitable[None]],
        write: Write | None = None,
    ) -> None:
        """Serve the client until either side ends it, and then its mutations until their end.

        `close` is called in between, unless it was the client that closed. `write` sends a text
        at once, where the server has `EXTENSION`.
        """

        async def send_text(text: bytes) -> None:
            await send({"type": "websocket.send", "text": text.decode()})

        try:
            try:
                end = await self.connection.run(self._read(receive), send_text, write)
            finally:
                self._operations.stop_all()
            if end is not None:
                await close(end)
        finally:
            # When this is cancelled, as at the end of the server's patience, they are, too.
            await self._operations.wait()

    def check(self, now: float) -> float:
        """Ping the client when it is time, and close if it fails to do its part.

        Return after how many seconds to look again.
        """
        if self.connection.close_if_due(now, self._limits.send_seconds):
            return 0.0
        waited = now - self._pinged_at
        if not self._is_acknowledged:
            if now - self._opened_at > self._limits.connection_init_seconds:
                self.connection.close(NOT_INITIALIZED)
        elif self._awaits_pong:
            # No other ping meanwhile, or with frequent ones the patience would never end.
            if waited > self._limits.pong_seconds:
                self.connection.close(NO_PONG)
        elif waited > self._limits.ping_seconds:
            self._pinged_at = now
            self._awaits_pong = self._subprotocol.expects_pong
            self.connection.outbox.put("keep-alive", self._subprotocol.keep_alive)
        else:
            quiet = self.connection.quiet_seconds(self._limits.send_seconds)
            return min(quiet, self._limits.ping_seconds - waited)
        return 0.0

    async def _read(self, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            # Who sends much, over however many sockets, must let others run; who reads nothing
            # must wait.
            async with self._steps.one():
                message = read(event, self._subprotocol, self._limits.max_message_bytes)
                self._handle(message)
            match message.action:
                case Action.INIT:
                    await self._identity.begin(message.payload or {})
                    self._acknowledge()
                case Action.PING:
                    if self._is_acknowledged and message.payload and message.may_be_kept:
                        await self._identity.renew(message.payload)
                    self._answer_ping(message.payload)
            await self.connection.outbox.drain()

    def _handle(self, message: ClientMessage) -> None:
        match message.action:
            case Action.INIT:
                if self._is_acknowledged:
                    raise CloseError(4429, "Too many initialisation requests")
            case Action.PONG:
                self._awaits_pong = False
            case Action.SUBSCRIBE:
                self._subscribe(message)
            case Action.COMPLETE:
                self._operations.stop(message.id)
            case Action.TERMINATE:
                raise CloseError(1000, "Terminated")

    def _acknowledge(self) -> None:
        self._is_acknowledged = True
        self._pinged_at = self._loop.time()
        self.connection.outbox.put("ack", b'{"type":"connection_ack"}')
        if not self._subprotocol.expects_pong:
            self.connection.outbox.put("keep-alive", self._subprotocol.keep_alive)

    def _answer_ping(self, payload: object) -> None:
        tail = "" if payload is None else f',"payload":{encode(payload)}'
        self.connection.outbox.put("pong", f'{{"type":"pong"{tail}}}'.encode())

    def _subscribe(self, message: ClientMessage) -> None:
        if not self._is_acknowledged:
            raise CloseError(4401, "Unauthorized")
        request = message.request()
        if message.id in self._operations:
            if not self._subprotocol.allows_restart:
                raise CloseError(4409, f"Subscriber for {message.id} already exists")
            self._operations.stop(message.id)
        self._operations.start(message.id, request)
