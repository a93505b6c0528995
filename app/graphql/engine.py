"""Execute operations: queries and mutations each on its own, subscriptions shared."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    subscribe,
)

from app.changes.feed import Feed
from app.database.calls import run
from app.graphql.connections import Connections
from app.graphql.context import Context
from app.graphql.cost import cost
from app.graphql.documents import Documents, InvalidDocumentError
from app.graphql.errors import (
    BadUserInputError,
    TooLargeError,
    TooManySubscriptionsError,
    cause_of,
    format_error,
    is_transient,
)
from app.graphql.limits import Limits
from app.graphql.request import GraphQLRequest, encode
from app.graphql.revocation import Revocation
from app.graphql.viewer import Session, Viewer, load_session, load_viewer
from app.live import Failures, Live, Member, SharedOperation


@dataclass(frozen=True, slots=True)
class Operation:
    """A valid document, and which of its operations to run with what."""

    request: GraphQLRequest
    document: DocumentNode
    type: OperationType

    @property
    def is_subscription(self) -> bool:
        """Whether results keep coming."""
        return self.type is OperationType.SUBSCRIPTION


class SourceError(Exception):
    """A subscription could not start; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class Engine:
    """One schema, served by one process: documents, the change feed, and shared operations.

    An asynchronous context manager: within it, the feed listens and subscriptions run.
    """

    def __init__(self, schema: GraphQLSchema, feed: Feed, limits: Limits) -> None:
        self.schema = schema
        self.feed = feed
        self.limits = limits
        self.documents = Documents(schema, limits)
        self.live = Live(Failures(is_transient, describe))
        self.connections = Connections(limits.max_connections)
        self.executions = 0
        """How many times a query, a mutation, or a subscription's result was executed."""
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._running.enter_async_context(self.feed)
        await self._running.enter_async_context(self.connections)
        await self._running.enter_async_context(Revocation(self.feed, self.connections))
        await self._running.enter_async_context(self.live)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._running.__aexit__(kind, error, traceback)

    async def viewer_for(self, session_key: str) -> Viewer:
        """Whom a session identifies now. Asks the database if it must."""
        return await run(load_viewer, session_key) if session_key else self._anonymous

    async def session_for(self, session_key: str) -> Session:
        """What a connection has to know of its session. Asks the database if it must."""
        if not session_key:
            return Session("", self._anonymous)
        return await run(load_session, session_key)

    @cached_property
    def _anonymous(self) -> Viewer:
        return load_viewer("")

    def prepare(self, request: GraphQLRequest) -> Operation:
        """Parse, validate and choose the operation. Raises InvalidDocumentError."""
        document = self.documents.get(request.query)
        operation = get_operation_ast(document, request.operation_name)
        if operation is None:
            raise InvalidDocumentError([_unknown_operation(document, request.operation_name)])
        # Others would only be kept in memory, and keep equal subscriptions apart.
        declared = {each.variable.name.value for each in operation.variable_definitions or ()}
        variables = {key: request.variables[key] for key in declared & request.variables.keys()}
        fields = cost(self.schema, document, operation, variables)
        if fields > (limit := self.limits.max_result_fields):
            message = (
                f"The result may have {fields} fields, but at most {limit} are allowed: "
                "ask for fewer fields, or shorter lists by `first`."
            )
            raise InvalidDocumentError([TooLargeError(message)])
        return Operation(replace(request, variables=variables), document, operation.operation)

    async def execute(self, operation: Operation, viewer: Viewer) -> dict[str, Any]:
        """Run a query or mutation: the response."""
        self.executions += 1
        result = execute(
            self.schema,
            operation.document,
            context_value=Context(viewer, self.feed),
            variable_values=operation.request.variables,
            operation_name=operation.request.operation_name,
        )
        return response(await result if isawaitable(result) else result)

    def join(self, operation: Operation, viewer: Viewer, member: Member) -> SharedOperation:
        """Subscribe `member`, together with all equal viewers who ask exactly the same.

        Raises TooManySubscriptionsError, unless somebody is asking the same already.
        """
        request = operation.request
        variables = encode(sorted(request.variables.items()))
        key = (request.query, request.operation_name, variables, viewer)
        running = self.live.operations
        if key not in running and len(running) >= self.limits.max_sources:
            raise TooManySubscriptionsError("Too many different subscriptions. Try again later.")
        return self.live.join(key, lambda: self._results(operation, viewer), member)

    async def _results(self, operation: Operation, viewer: Viewer) -> AsyncGenerator[str, None]:
        stream = subscribe(
            self.schema,
            operation.document,
            context_value=Context(viewer, self.feed),
            variable_values=operation.request.variables,
            operation_name=operation.request.operation_name,
        )
        if isawaitable(stream):
            stream = await stream
        if isinstance(stream, ExecutionResult):
            _raise_transient(stream)
            raise SourceError(stream.errors or [])
        # What iterates is a generator; graphql-core's annotation only says less.
        async with aclosing(cast("AsyncGenerator[ExecutionResult, None]", stream)) as results:
            async for result in results:
                self.executions += 1
                _raise_transient(result)
                yield encode(response(result))


def _raise_transient(result: ExecutionResult) -> None:
    # Members keep their last good result while the database is away.
    for error in result.errors or ():
        if is_transient(error):
            raise cause_of(error)


def response(result: ExecutionResult) -> dict[str, Any]:
    """The result as GraphQL's response format has it; no `data` if nothing was executed."""
    errors = [format_error(error) for error in result.errors or ()]
    is_request_error = result.data is None and all(
        error.path is None for error in result.errors or ()
    )
    body: dict[str, Any] = {"errors": errors} if errors else {}
    return body if errors and is_request_error else body | {"data": result.data}


def describe(error: Exception) -> str:
    """The encoded list of errors to tell about an exception that ended a subscription."""
    match error:
        case SourceError() | InvalidDocumentError():
            errors = error.errors
        case GraphQLError():
            errors = [error]
        case _:
            errors = [GraphQLError(str(error), original_error=error)]
    return encode([format_error(each) for each in errors])


def _unknown_operation(document: DocumentNode, name: str | None) -> GraphQLError:
    names = [
        node.name.value if node.name else "an anonymous one"
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
    ]
    if not names:
        return BadUserInputError("The document has no operation to run.")
    if name is None:
        return BadUserInputError(f"operationName must choose one of: {', '.join(names)}.")
    return BadUserInputError(f"There is no operation {name!r}; there is: {', '.join(names)}.")
