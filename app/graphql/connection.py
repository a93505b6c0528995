"""One WebSocket, from the accepted handshake to its close."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from graphql import OperationType
from starlette.types import Message as Event
from starlette.types import Receive, Send

from app.graphql.documents import InvalidDocumentError
from app.graphql.engine import Engine, Operation, describe
from app.graphql.errors import ClientError, TooManyOperationsError
from app.graphql.link import EXPIRED, TOO_SLOW, CloseError, Link
from app.graphql.messages import Message, read
from app.graphql.request import encode
from app.graphql.subprotocols import Action, Subprotocol
from app.live import SharedOperation


class Subscription:
    """A subscription of one connection: a member of a shared operation."""

    __slots__ = ("_connection", "_head", "_id", "operation")

    def __init__(self, connection: "Connection", id_: str) -> None:
        self.operation: SharedOperation | None = None
        self._connection = connection
        self._id = id_
        # All but the result is the same each time.
        self._head = f'{{"id":{encode(id_)},"type":"{connection.subprotocol.result}","payload":'

    def next(self, result: str) -> None:
        """Send a result, instead of an older one that is still unsent."""
        self._connection.outbox.put(self, f"{self._head}{result}}}")

    def error(self, errors: str) -> None:
        """Send the errors; the subscription is over."""
        self._connection.refuse(self._id, errors)

    def complete(self) -> None:
        """Tell the client that the subscription is over."""
        self._connection.finish(self._id, "complete")

    def cancel(self) -> None:
        """Leave the operation; what is unsent is dropped."""
        if self.operation is not None:
            self.operation.leave(self)
        self._connection.outbox.drop(self)


class Execution:
    """A query or mutation running for one connection."""

    def __init__(self, operation: Operation) -> None:
        self.operation: Final = operation
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Stop a query; a mutation that was begun runs to its end, as over HTTP. Nobody hears."""
        if self.task is not None and self.operation.type is not OperationType.MUTATION:
            self.task.cancel()


class Connection:
    """Reads messages, runs what they ask for, and sends what comes of it.

    Queries and mutations run in tasks of their own, so nothing that runs delays a ping.
    """

    def __init__(self, engine: Engine, subprotocol: Subprotocol, link: Link) -> None:
        self.subprotocol: Final = subprotocol
        self.link: Final = link
        self.outbox: Final = link.outbox
        self._engine = engine
        self._operations: dict[str, Subscription | Execution] = {}
        self._executions: set[Execution] = set()
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._pinged_at = self._loop.time()
        self._is_acknowledged = self._awaits_pong = False

    async def run(
        self, receive: Receive, send: Send, close: Callable[[CloseError], Awaitable[None]]
    ) -> None:
        """Serve the connection until either side ends it, and then its mutations until their end.

        `close` is called in between, unless it was the client that closed.
        """

        async def send_text(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        try:
            try:
                end = await self.link.run(self._read(receive), send_text)
            finally:
                for operation in self._operations.values():
                    operation.cancel()
            if end is not None:
                await close(end)
        finally:
            tasks = [each.task for each in self._executions if each.task is not None]
            # When this is cancelled, as at the end of the server's patience, they are, too.
            await asyncio.gather(*tasks, return_exceptions=True)

    def check(self, now: float) -> None:
        """Ping the client when it is time, and close if it fails to do its part."""
        limits = self._engine.limits
        if self.link.is_stuck(now, limits.send_seconds):
            self.link.close(TOO_SLOW)
        elif self.link.has_expired:
            self.link.close(EXPIRED)
        elif not self._is_acknowledged:
            if now - self._opened_at > limits.connection_init_seconds:
                self.link.close(CloseError(4408, "Connection initialisation timeout"))
        elif self._awaits_pong and now - self._pinged_at > limits.pong_seconds:
            self.link.close(CloseError(1008, "No pong came in time"))
        elif now - self._pinged_at > limits.ping_seconds:
            self._pinged_at = now
            self._awaits_pong = self.subprotocol.expects_pong
            self.outbox.put("keep-alive", self.subprotocol.keep_alive)

    def finish(self, id_: str, type_: str, payload: str | None = None) -> None:
        """Send the last message of an operation, and let its id be used again."""
        self._operations.pop(id_, None)
        tail = "" if payload is None else f',"payload":{payload}'
        self.outbox.append(f'{{"id":{encode(id_)},"type":"{type_}"{tail}}}')

    def refuse(self, id_: str, errors: str) -> None:
        """Send the encoded list of errors that ended an operation, or kept it from starting."""
        self.finish(id_, "error", self.subprotocol.error_payload(errors))

    async def _read(self, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            self._handle(event)
            # Who sends much must let others have their turn; who reads nothing must wait.
            await asyncio.sleep(0)
            await self.outbox.room()

    def _handle(self, event: Event) -> None:
        message = read(event, self.subprotocol, self._engine.limits.max_message_bytes)
        match message.action:
            case Action.INIT:
                self._initialize()
            case Action.PING:
                self._answer_ping(message.payload)
            case Action.PONG:
                self._awaits_pong = False
            case Action.SUBSCRIBE:
                self._subscribe(message)
            case Action.COMPLETE:
                self._complete(message.id)
            case Action.TERMINATE:
                raise CloseError(1000, "Terminated")

    def _initialize(self) -> None:
        if self._is_acknowledged:
            raise CloseError(4429, "Too many initialisation requests")
        self._is_acknowledged = True
        self._pinged_at = self._loop.time()
        self.outbox.put("ack", '{"type":"connection_ack"}')
        if not self.subprotocol.expects_pong:
            self.outbox.put("keep-alive", self.subprotocol.keep_alive)

    def _answer_ping(self, payload: object) -> None:
        tail = "" if payload is None else f',"payload":{encode(payload)}'
        self.outbox.put("pong", f'{{"type":"pong"{tail}}}')

    def _subscribe(self, message: Message) -> None:
        if not self._is_acknowledged:
            raise CloseError(4401, "Unauthorized")
        request, id_ = message.request(), message.id
        if (running := self._operations.get(id_)) is not None:
            if not self.subprotocol.allows_restart:
                raise CloseError(4409, f"Subscriber for {id_} already exists")
            del self._operations[id_]
            running.cancel()
        try:
            self._check_count()
            self._start(id_, self._engine.prepare(request))
        except (ClientError, InvalidDocumentError) as error:
            self.refuse(id_, describe(error))

    def _check_count(self) -> None:
        limit = self._engine.limits.max_operations
        # A mutation whose id the client has given up is still at work.
        if len({*self._operations.values(), *self._executions}) >= limit:
            raise TooManyOperationsError(f"At most {limit} operations may run at once.")

    def _start(self, id_: str, operation: Operation) -> None:
        if operation.is_subscription:
            subscription = self._operations[id_] = Subscription(self, id_)
            viewer = self.link.session.viewer
            subscription.operation = self._engine.join(operation, viewer, subscription)
        else:
            execution = self._operations[id_] = Execution(operation)
            execution.task = self._loop.create_task(self._execute(id_, execution))
            self._executions.add(execution)
            execution.task.add_done_callback(lambda _: self._executions.discard(execution))

    async def _execute(self, id_: str, execution: Execution) -> None:
        result = errors = None
        try:
            # Rights may have changed since the handshake.
            viewer = await self._engine.viewer_for(self.link.session.key)
            result = encode(await self._engine.execute(execution.operation, viewer))
        except Exception as error:
            errors = describe(error)
        if self._operations.get(id_) is not execution:
            return  # The client has given it up.
        if errors is not None:
            self.refuse(id_, errors)
        else:
            head = f'{{"id":{encode(id_)},"type":"{self.subprotocol.result}","payload":'
            self.outbox.append(f"{head}{result}}}")
            self.finish(id_, "complete")

    def _complete(self, id_: str) -> None:
        if (operation := self._operations.pop(id_, None)) is not None:
            operation.cancel()
