"""Run what the client of one WebSocket asks for."""

import asyncio
from collections.abc import Hashable
from typing import Final

from graphql import OperationType

from ..authentication.asking import Authentication
from ..graphql.engine import Engine
from ..graphql.errors import (
    ClientError,
    TooLargeError,
    TooManyOperationsError,
    UnauthenticatedError,
    UnavailableError,
    describe,
)
from ..graphql.limits import Limits
from ..graphql.preparation import Operation
from ..graphql.request import GraphQLRequest, encode
from ..graphql.response import error_response
from ..live import SharedOperation
from ..log_context import MAX_CHARACTERS, OPERATION
from ..tracing import Link, OperationSpan
from ..viewer import InvalidCredentialError, UnknownViewerError
from .connection import Connection
from .outbox import Newest, Outbox
from .subprotocols import Subprotocol

UNREAD: Final = TooLargeError(
    "The result is not sent, since earlier ones are not read yet. A mutation was carried out."
)


class Operations:
    """The operations of one WebSocket, by the ids that its client has given them.

    Each begins in a task of its own, in which queries and mutations run to their end. What comes
    of an operation is put into the connection's outbox in the words of the subprotocol.
    """

    __slots__ = (
        "_authentication",
        "_by_id",
        "_connection",
        "_engine",
        "_executions",
        "_limits",
        "_subprotocol",
    )

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        authentication: Authentication,
        subprotocol: Subprotocol,
        connection: Connection,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._authentication = authentication
        self._subprotocol = subprotocol
        self._connection = connection
        self._by_id: dict[str, Subscription | Execution] = {}
        self._executions: set[Execution] = set()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._by_id

    def start(self, id_: str, request: GraphQLRequest) -> None:
        """Run the request. What keeps it from starting is sent as its error."""
        try:
            self._check_count()
            account = self._connection.account
            weight = account.begin_operation(request.size)
        except ClientError as error:
            self.fail(id_, describe(error))
            return
        execution = self._by_id[id_] = Execution()
        execution.task = asyncio.get_running_loop().create_task(self._run(id_, execution, request))
        self._executions.add(execution)
        execution.task.add_done_callback(lambda _: self._executions.discard(execution))
        execution.task.add_done_callback(lambda _: account.end_operation(weight))

    def stop(self, id_: str) -> None:
        """End an operation that the client has given up, if it still runs."""
        if (operation := self._by_id.pop(id_, None)) is not None:
            operation.cancel()

    def stop_all(self) -> None:
        """End all operations, since the client has gone."""
        for operation in self._by_id.values():
            operation.cancel()

    async def wait(self) -> None:
        """Wait for the mutations that still run; when cancelled, cancel them."""
        tasks = [each.task for each in self._executions if each.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def finish(self, id_: str, type_: str = "complete", payload: str | None = None) -> None:
        """Send the last message of an operation, and let its id be used again."""
        self._by_id.pop(id_, None)
        tail = "" if payload is None else f',"payload":{payload}'
        message = f'{{"id":{encode(id_)},"type":"{type_}"{tail}}}'
        self._connection.outbox.append(message.encode())

    def fail(self, id_: str, errors: str) -> None:
        """Send the encoded list of errors that ended an operation, or kept it from starting."""
        self.finish(id_, "error", self._subprotocol.error_payload(errors))

    def head(self, id_: str) -> str:
        """The message that carries a result, up to the result."""
        return f'{{"id":{encode(id_)},"type":"{self._subprotocol.result}","payload":'

    def _check_count(self) -> None:
        limit = self._limits.max_operations
        # A mutation whose id the client has given up is still at work.
        if len({*self._by_id.values(), *self._executions}) >= limit:
            error = TooManyOperationsError(
                f"At most {limit} operations may run at once on one WebSocket. End one first."
            )
            raise self._connection.account.refusal(error)

    async def _run(self, id_: str, execution: "Execution", request: GraphQLRequest) -> None:
        OPERATION.set(id_[:MAX_CHARACTERS])
        result = errors = None
        try:
            with OperationSpan(request.trace, self._connection.credentials.headers) as span:
                operation = await self._engine.preparation.prepare(request)
                del request  # which may be long
                execution.type = operation.type
                span.describe(operation.type.value, operation.name, operation.traced_document)
                if execution.is_over and operation.type is not OperationType.MUTATION:
                    return
                # Rights may have changed since the handshake.
                viewer = await self._viewer()
                if operation.is_subscription:
                    self._subscribe(id_, execution, operation, viewer, span.link)
                    return
                result = await self._execute(operation, viewer)
        except Exception as error:
            errors = describe(error)
        if self._by_id.get(id_) is not execution:
            return  # The client has given it up.
        if errors is not None:
            self.fail(id_, errors)
        elif result is not None:
            self._connection.outbox.append(f"{self.head(id_)}{result}}}".encode())
            self.finish(id_)

    async def _viewer(self) -> Hashable:
        """Who asks at this moment. Raise UnauthenticatedError and UnavailableError."""
        try:
            return (await self._authentication.session(self._connection.credentials)).viewer
        except InvalidCredentialError as error:
            raise UnauthenticatedError(str(error)) from None
        except UnknownViewerError as error:
            raise UnavailableError(str(error)) from None

    def _subscribe(
        self,
        id_: str,
        execution: "Execution",
        operation: Operation,
        viewer: Hashable,
        link: Link | None,
    ) -> None:
        if self._by_id.get(id_) is not execution:
            return
        subscription = Subscription(self, self._connection.outbox, id_)
        self._by_id[id_] = subscription
        try:
            subscription.operation = self._engine.subscribe(
                operation, viewer, subscription, self._connection.account, link
            )
        except BaseException:
            self._by_id[id_] = execution
            raise

    async def _execute(self, operation: Operation, viewer: Hashable) -> str:
        outbox = self._connection.outbox
        text = (await self._engine.execute(operation, viewer, outbox)).text
        if outbox.appended_bytes + len(text) > self._limits.max_result_bytes:
            return error_response(self._connection.account.refusal(UNREAD))
        return text


class Subscription(Newest):
    """A subscription of one WebSocket: a subscriber of a shared operation."""

    __slots__ = ("_head", "_id", "_operations", "_outbox", "operation")

    def __init__(self, operations: Operations, outbox: Outbox, id_: str) -> None:
        super().__init__()
        self.operation: SharedOperation | None = None
        self._operations = operations
        self._outbox = outbox
        self._id = id_
        # All but the result is the same each time.
        self._head = operations.head(id_).encode()

    def next(self, result: bytes) -> None:
        """Send a result, instead of an older one that is still unsent."""
        self._outbox.put(self, self._head, result, b"}")

    def error(self, errors: str) -> None:
        """Send the errors; the subscription is over."""
        self._operations.fail(self._id, errors)

    def complete(self) -> None:
        """Tell the client that the subscription is over."""
        self._operations.finish(self._id)

    def cancel(self) -> None:
        """Leave the operation; what is unsent is dropped."""
        if self.operation is not None:
            self.operation.leave(self)
        self._outbox.drop(self)


class Execution:
    """A query or mutation of one WebSocket until it ends, or a subscription until it begins."""

    __slots__ = ("is_over", "task", "type")

    def __init__(self) -> None:
        self.type: OperationType | None = None
        """None until it is known."""
        self.is_over = False
        """Whether the client has given it up."""
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Stop it, but for a mutation, which runs to its end, as over HTTP. Nobody hears."""
        self.is_over = True
        if self.task is not None and self.type not in (OperationType.MUTATION, None):
            self.task.cancel()
