"""Execute operations: queries and mutations each on its own, subscriptions shared."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any, Final

from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    create_source_event_stream,
    execute,
    execute_subscription_event,
    get_operation_ast,
)

from ..changes.feed import SUBSCRIPTION, Feed
from ..live import Failures, Live, SharedOperation, Subscriber
from ..viewer import Viewer
from .context import Context
from .cost import result_fields
from .documents import Documents
from .errors import (
    BadUserInputError,
    InvalidDocumentError,
    SourceError,
    TooLargeError,
    TooManySourcesError,
    cause_of,
    describe,
    format_error,
    is_transient,
)
from .limits import Limits
from .request import GraphQLRequest, encode

FAILURES: Final = Failures(is_transient, describe)
"""What shared operations make of an exception."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A valid document, and which of its operations to run with what."""

    request: GraphQLRequest
    document: DocumentNode
    type: OperationType
    field: str
    """The name of its first field, for the log."""

    @property
    def is_subscription(self) -> bool:
        """Whether results keep coming."""
        return self.type is OperationType.SUBSCRIPTION


class Engine:
    """One schema, executed for whoever asks."""

    def __init__(self, schema: GraphQLSchema, feed: Feed, live: Live, limits: Limits) -> None:
        self.documents: Final = Documents(schema, limits)
        self.executions = 0
        """How many times a query, a mutation, or a subscription's result was executed."""
        self._schema = schema
        self._feed = feed
        self._live = live
        self._limits = limits

    def prepare(self, request: GraphQLRequest) -> Operation:
        """Parse, validate and choose the operation. Raises InvalidDocumentError."""
        document = self.documents.get(request.query)
        operation = get_operation_ast(document, request.operation_name)
        if operation is None:
            raise InvalidDocumentError([_unknown_operation(document, request.operation_name)])
        # Others would only be kept in memory, and keep equal subscriptions apart.
        declared = {each.variable.name.value for each in operation.variable_definitions or ()}
        variables = {key: request.variables[key] for key in declared & request.variables.keys()}
        fields = result_fields(self._schema, document, operation, variables)
        if fields > (limit := self._limits.max_result_fields):
            message = (
                f"The result may have {fields} fields, but at most {limit} are allowed: "
                "ask for fewer fields, or shorter lists by `first`."
            )
            raise InvalidDocumentError([TooLargeError(message)])
        first = getattr(operation.selection_set.selections[0], "name", None)
        return Operation(
            replace(request, variables=variables),
            document,
            operation.operation,
            first.value if first else "",
        )

    async def execute(self, operation: Operation, viewer: Viewer) -> dict[str, Any]:
        """Run a query or mutation: the response."""
        self.executions += 1
        result = execute(
            self._schema,
            operation.document,
            context_value=Context(viewer, self._feed),
            variable_values=operation.request.variables,
            operation_name=operation.request.operation_name,
        )
        return response(await result if isawaitable(result) else result)

    def subscribe(
        self, operation: Operation, viewer: Viewer, subscriber: Subscriber
    ) -> SharedOperation:
        """Let `subscriber` join all equal viewers who ask exactly the same.

        Raise TooManySourcesError if nobody asks the same yet, and too many sources run.
        """
        request = operation.request
        variables = encode(sorted(request.variables.items()))
        key = (request.query, request.operation_name, variables, viewer)
        running = self._live.operations
        if key not in running and len(running) >= self._limits.max_sources:
            raise TooManySourcesError("The server runs too many sources. Try again later.")
        return self._live.join(key, lambda: self._results(operation, viewer), subscriber)

    async def _results(self, operation: Operation, viewer: Viewer) -> AsyncGenerator[str, None]:
        SUBSCRIPTION.set(f"Subscription {operation.field}")
        # graphql-core's `subscribe` would keep the latest event and its result until the next.
        executor = Executor.build(
            self._schema,
            operation.document,
            context_value=Context(viewer, self._feed),
            raw_variable_values=operation.request.variables,
            operation_name=operation.request.operation_name,
        )
        if isinstance(executor, list):
            raise SourceError(executor)
        stream = create_source_event_stream(executor)
        if isawaitable(stream):
            stream = await stream
        if isinstance(stream, ExecutionResult):
            _raise_transient(stream)
            raise SourceError(stream.errors or [])
        events = aiter(stream)
        try:
            async for event in events:
                result = execute_subscription_event(executor.build_per_event_executor(event))
                if isawaitable(result):
                    result = await result
                self.executions += 1
                _raise_transient(result)
                text = encode(response(result))
                del event, result
                yield text
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()


def _raise_transient(result: ExecutionResult) -> None:
    # Subscribers keep their last good result while the database is away.
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
