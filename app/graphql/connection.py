"""One WebSocket, from the accepted handshake to its close."""

import asyncio
from typing import Any, Final

from starlette.types import Message, Receive, Send

from app.graphql.context import Context
from app.graphql.documents import InvalidDocumentError
from app.graphql.engine import Engine, Operation, describe, response
from app.graphql.errors import TooManyOperationsError
from app.graphql.link import CloseError, Link
from app.graphql.request import GraphQLRequest, RequestError, decode, encode
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

    def __init__(self, engine: Engine, context: Context, subprotocol: Subprotocol) -> None:
        self.subprotocol: Final = subprotocol
        self._engine = engine
        self._context = context
        self._link = Link()
        self.outbox: Final = self._link.outbox
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
            return await self._link.run(self._read(receive), send_text)
        finally:
            for operation in self._operations.values():
                operation.cancel()
            if self._executions:
                await asyncio.wait(self._executions)

    def check(self, now: float) -> None:
        """Ping the client when it is time, and close if it fails to do its part."""
        limits = self._engine.limits
        if self._link.is_stuck(now, limits.send_seconds):
            self._link.close(1008, "Too slow: what was sent is not being read")
        elif not self._is_acknowledged:
            if now - self._opened_at > limits.connection_init_seconds:
                self._link.close(4408, "Connection initialisation timeout")
        elif self._awaits_pong and now - self._pinged_at > limits.pong_seconds:
            self._link.close(1008, "No pong came in time")
        elif now - self._pinged_at > limits.ping_seconds:
            self._pinged_at = now
            self._awaits_pong = self.subprotocol.expects_pong
            self.outbox.put("keep-alive", self.subprotocol.keep_alive)

    def finish(self, id_: str, type_: str, payload: str | None = None) -> None:
        """Send the last message of an operation, and let its id be used again."""
        self._operations.pop(id_, None)
        tail = "" if payload is None else f',"payload":{payload}'
        self.outbox.put(object(), f'{{"id":{encode(id_)},"type":"{type_}"{tail}}}')

    def refuse(self, id_: str, errors: str) -> None:
        """Send the encoded list of errors that ended an operation, or kept it from starting."""
        self.finish(id_, "error", self.subprotocol.error_payload(errors))

    async def _read(self, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            self._handle(event)
            # Who sends much and reads nothing must wait.
            await self.outbox.room()

    def _handle(self, event: Message) -> None:
        message = self._decode(event)
        kind, payload = message.get("type"), message.get("payload")
        match self.subprotocol.actions.get(kind) if isinstance(kind, str) else None:
            case Action.INIT:
                self._initialize(payload)
            case Action.PING:
                self._answer_ping(payload)
            case Action.PONG:
                _check_payload(payload)
                self._awaits_pong = False
            case Action.SUBSCRIBE:
                self._subscribe(_id(message), payload)
            case Action.COMPLETE:
                self._complete(_id(message))
            case Action.TERMINATE:
                raise CloseError(1000, "Terminated")
            case None:
                raise CloseError(4400, f"Invalid message: unknown type {encode(kind)}")

    def _decode(self, event: Message) -> dict[str, Any]:
        text = event.get("text")
        if text is None:
            raise CloseError(4400, "Invalid message: expected text, but binary data came")
        if len(text) > self._engine.limits.max_message_bytes:
            raise CloseError(1009, "Message too big")
        try:
            message = decode(text)
        except RequestError as error:
            raise CloseError(4400, f"Invalid message: {error}") from None
        if not isinstance(message, dict):
            raise CloseError(4400, "Invalid message: expected a JSON object")
        return message

    def _initialize(self, payload: object) -> None:
        _check_payload(payload)
        if self._is_acknowledged:
            raise CloseError(4429, "Too many initialisation requests")
        self._is_acknowledged = True
        self._pinged_at = self._loop.time()
        self.outbox.put("ack", '{"type":"connection_ack"}')
        if not self.subprotocol.expects_pong:
            self.outbox.put("keep-alive", self.subprotocol.keep_alive)

    def _answer_ping(self, payload: object) -> None:
        _check_payload(payload)
        tail = "" if payload is None else f',"payload":{encode(payload)}'
        self.outbox.put("pong", f'{{"type":"pong"{tail}}}')

    def _subscribe(self, id_: str, payload: object) -> None:
        if not self._is_acknowledged:
            raise CloseError(4401, "Unauthorized")
        try:
            request = GraphQLRequest.from_json(payload)
        except RequestError as error:
            raise CloseError(4400, f"Invalid message: {error}") from None
        if (running := self._operations.get(id_)) is not None:
            if not self.subprotocol.allows_restart:
                raise CloseError(4409, f"Subscriber for {id_} already exists")
            running.cancel()
            del self._operations[id_]
        limit = self._engine.limits.max_operations
        if len(self._operations) >= limit:
            excess = TooManyOperationsError(f"At most {limit} operations may run at once.")
            self.refuse(id_, describe(excess))
            return
        try:
            operation = self._engine.prepare(request)
        except InvalidDocumentError as invalid:
            self.refuse(id_, describe(invalid))
        else:
            self._start(id_, operation)

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
            self.outbox.put(object(), f"{head}{result}}}")
            self.finish(id_, "complete")

    def _complete(self, id_: str) -> None:
        if (operation := self._operations.pop(id_, None)) is not None:
            operation.cancel()


def _id(message: dict[str, Any]) -> str:
    id_ = message.get("id")
    if not isinstance(id_, str) or not id_:
        raise CloseError(4400, 'Invalid message: "id" must be text')
    return id_


def _check_payload(payload: object) -> None:
    if not isinstance(payload, dict | None):
        raise CloseError(4400, 'Invalid message: "payload" must be an object')
