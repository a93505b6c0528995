"""Run what the client of one WebSocket asks for."""

import asyncio
from typing import Final

from graphql import OperationType

from ..graphql.engine import Engine, Operation
from ..graphql.errors import ClientError, InvalidDocumentError, TooManyOperationsError, describe
from ..graphql.request import GraphQLRequest, encode
from ..live import SharedOperation
from .connection import Connection
from .outbox import Outbox
from .sessions import viewer_of
from .subprotocols import Subprotocol


class Operations:
    """The operations of one WebSocket, by the ids that its client has given them.

    Queries and mutations run in tasks of their own. What comes of an operation is put into the
    connection's outbox in the words of the subprotocol.
    """

    __slots__ = (
        "_by_id",
        "_connection",
        "_engine",
        "_executions",
        "_max_operations",
        "_subprotocol",
    )

    def __init__(
        self, engine: Engine, subprotocol: Subprotocol, connection: Connection, max_operations: int
    ) -> None:
        self._subprotocol = subprotocol
        self._engine = engine
        self._connection = connection
        self._max_operations = max_operations
        self._by_id: dict[str, Subscription | Execution] = {}
        self._executions: set[Execution] = set()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._by_id

    def start(self, id_: str, request: GraphQLRequest) -> None:
        """Run the request. What keeps it from starting is sent as its error."""
        try:
            self._check_count()
            operation = self._engine.prepare(request)
            if operation.is_subscription:
                self._subscribe(id_, operation)
            else:
                self._execute(id_, operation)
        except (ClientError, InvalidDocumentError) as error:
            self.fail(id_, describe(error))

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
        self._connection.outbox.append(f'{{"id":{encode(id_)},"type":"{type_}"{tail}}}')

    def fail(self, id_: str, errors: str) -> None:
        """Send the encoded list of errors that ended an operation, or kept it from starting."""
        self.finish(id_, "error", self._subprotocol.error_payload(errors))

    def head(self, id_: str) -> str:
        """The message that carries a result, up to the result."""
        return f'{{"id":{encode(id_)},"type":"{self._subprotocol.result}","payload":'

    def _check_count(self) -> None:
        limit = self._max_operations
        # A mutation whose id the client has given up is still at work.
        if len({*self._by_id.values(), *self._executions}) >= limit:
            raise TooManyOperationsError(f"At most {limit} operations may run at once.")

    def _subscribe(self, id_: str, operation: Operation) -> None:
        subscription = self._by_id[id_] = Subscription(self, self._connection.outbox, id_)
        viewer = self._connection.session.viewer
        subscription.operation = self._engine.subscribe(operation, viewer, subscription)

    def _execute(self, id_: str, operation: Operation) -> None:
        execution = self._by_id[id_] = Execution(operation)
        execution.task = asyncio.get_running_loop().create_task(self._run(id_, execution))
        self._executions.add(execution)
        execution.task.add_done_callback(lambda _: self._executions.discard(execution))

    async def _run(self, id_: str, execution: "Execution") -> None:
        result = errors = None
        try:
            # Rights may have changed since the handshake.
            viewer = await viewer_of(self._connection.session.key)
            result = encode(await self._engine.execute(execution.operation, viewer))
        except Exception as error:
            errors = describe(error)
        if self._by_id.get(id_) is not execution:
            return  # The client has given it up.
        if errors is not None:
            self.fail(id_, errors)
        else:
            self._connection.outbox.append(f"{self.head(id_)}{result}}}")
            self.finish(id_)


class Subscription:
    """A subscription of one WebSocket: a subscriber of a shared operation."""

    __slots__ = ("_head", "_id", "_operations", "_outbox", "operation")

    def __init__(self, operations: Operations, outbox: Outbox, id_: str) -> None:
        self.operation: SharedOperation | None = None
        self._operations = operations
        self._outbox = outbox
        self._id = id_
        # All but the result is the same each time.
        self._head = operations.head(id_)

    def next(self, result: str) -> None:
        """Send a result, instead of an older one that is still unsent."""
        self._outbox.put(self, f"{self._head}{result}}}")

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
    """A query or mutation that runs for one WebSocket."""

    __slots__ = ("operation", "task")

    def __init__(self, operation: Operation) -> None:
        self.operation: Final = operation
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Stop a query; a mutation that was begun runs to its end, as over HTTP. Nobody hears."""
        if self.task is not None and self.operation.type is not OperationType.MUTATION:
            self.task.cancel()
