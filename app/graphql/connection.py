"""One WebSocket, from the accepted handshake to its close."""

import asyncio
from typing import Final

from starlette.types import Message as Event
from starlette.types import Receive, Send

from app.graphql.context import Context
from app.graphql.documents import InvalidDocumentError
from app.graphql.engine import Engine, Operation, describe, response
from app.graphql.errors import TooManyOperationsError
from app.graphql.link import TOO_SLOW, CloseError, Link
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

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        """Stop it; its result is not sent."""
        self._task.cancel()


class Connection:
    """Reads messages, runs what they ask for, and sends what comes of it.

    Queries and mutations run in tasks of their own, so nothing that runs delays a ping.
    """

    def __init__(
        self, engine: Engine, context: Context, subprotocol: Subprotocol, link: Link
    ) -> None:
        self.subprotocol: Final = subprotocol
        self.link: Final = link
        self.outbox: Final = link.outbox
        self._engine = engine
        self._context = context
        self._operations: dict[str, Subscription | Execution] = {}
        self._executions: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._pinged_at = self._loop.time()
        self._is_acknowledged = self._awaits_pong = False

    async def run(self, receive: Receive, send: Send) -> CloseError | None:
        """Serve the connection until either side ends it.

        Answers with how the connection is to be closed, or None if the client has closed it.
        """

        async def send_text(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        try:
            return await self.link.run(self._read(receive), send_text)
        finally:
            for operation in self._operations.values():
                operation.cancel()
            if self._executions:
                await asyncio.wait(self._executions)

    def check(self, now: float) -> None:
        """Ping the client when it is time, and close if it fails to do its part."""
        limits = self._engine.limits
        if self.link.is_stuck(now, limits.send_seconds):
            self.link.close(TOO_SLOW)
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
            operation = self._engine.prepare(request)
        except (TooManyOperationsError, InvalidDocumentError) as error:
            self.refuse(id_, describe(error))
        else:
            self._start(id_, operation)

    def _check_count(self) -> None:
        limit = self._engine.limits.max_operations
        if len(self._operations) >= limit:
            raise TooManyOperationsError(f"At most {limit} operations may run at once.")

    def _start(self, id_: str, operation: Operation) -> None:
        if operation.is_subscription:
            subscription = self._operations[id_] = Subscription(self, id_)
            subscription.operation = self._engine.join(operation, self._context, subscription)
        else:
            task = self._loop.create_task(self._execute(id_, operation))
            self._executions.add(task)
            task.add_done_callback(self._executions.discard)
            self._operations[id_] = Execution(task)

    async def _execute(self, id_: str, operation: Operation) -> None:
        try:
            result = encode(response(await self._engine.execute(operation, self._context)))
        except Exception as error:
            self.refuse(id_, describe(error))
        else:
            head = f'{{"id":{encode(id_)},"type":"{self.subprotocol.result}","payload":'
            self.outbox.append(f"{head}{result}}}")
            self.finish(id_, "complete")

    def _complete(self, id_: str) -> None:
        if (operation := self._operations.pop(id_, None)) is not None:
            operation.cancel()
