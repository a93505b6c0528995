"""Execute operations: queries and mutations each on its own, subscriptions shared."""

from collections.abc import AsyncGenerator, Hashable
from inspect import isawaitable
from typing import Any, Final

from graphql import (
    ExecutionResult,
    Executor,
    GraphQLSchema,
    create_source_event_stream,
    execute,
    execute_subscription_event,
)

from ..changes.feed import SUBSCRIPTION, Feed
from ..changes.routing import READING, begin_reading
from ..database.fairness import CONSUMER, Consumer
from ..live import Failures, Live, SharedOperation, Subscriber
from ..turns import IS_EXPENSIVE
from .budgets import Account, Budgets
from .context import Context
from .errors import (
    SourceError,
    TooLargeError,
    TooManySourcesError,
    cause_of,
    describe,
    is_of_replica,
    is_transient,
)
from .executor import MAX_ERRORS, BoundedExecutor, TooManyErrorsError
from .limits import Limits
from .preparation import Operation, Preparation
from .request import encode
from .response import Response, error_response, respond
from .unread import Unread


def turns_to_primary(error: Exception) -> bool:
    """Whether a replica has failed its source, which then reads from the primary."""
    reading = READING.get()
    if reading is None or not is_of_replica(error):
        return False
    reading.avoids_replicas = True
    return True


FAILURES: Final = Failures(is_transient, describe, turns_to_primary)
"""What shared operations make of an exception."""

TOO_MUCH_HELD: Final = TooLargeError(
    "The results of all your subscriptions together are too long: end one, or ask for less."
)


class Engine:
    """One schema, executed for whoever asks."""

    def __init__(self, schema: GraphQLSchema, feed: Feed, live: Live, limits: Limits) -> None:
        self.budgets: Final = Budgets(limits)
        self.preparation: Final = Preparation(schema, limits, feed.turns, self.budgets.refused)
        self.executions = 0
        """How many times a query, a mutation, or a subscription's result was executed."""
        self._schema = schema
        self._feed = feed
        self._live = live
        self._limits = limits

    async def execute(self, operation: Operation, viewer: Hashable, unread: Unread) -> Response:
        """Run a query or mutation.

        One that is expensive waits for its consumer's turn, and until little is `unread`: else its
        result would take up memory besides.
        """
        if not operation.is_expensive:
            return await self._execute(operation, viewer)
        while True:
            await unread.drain()
            turn = await self._feed.turns.begin("operations", is_expensive=True)
            try:
                if unread.has_drained():
                    return await self._execute(operation, viewer)
            finally:
                turn.end()

    async def _execute(self, operation: Operation, viewer: Hashable) -> Response:
        self.executions += 1
        try:
            result = execute(
                self._schema,
                operation.document,
                context_value=Context(viewer, self._feed),
                variable_values=operation.request.variables,
                operation_name=operation.request.operation_name,
                executor_class=BoundedExecutor,
                hide_suggestions=not self._limits.introspection,
            )
            return self._respond(await result if isawaitable(result) else result)
        except TooManyErrorsError:
            return self._give_up()

    def subscribe(
        self, operation: Operation, viewer: Hashable, subscriber: Subscriber, account: Account
    ) -> SharedOperation:
        """Let `subscriber` join all equal viewers who ask exactly the same.

        Raise TooManySourcesError if nobody asks the same yet, and too many sources run;
        TooManySubscriptionsError and TooCostlyError if the account is at its limits.
        """
        variables = encode(sorted(operation.request.variables.items()))
        key = (operation.key, variables, viewer)
        running = self._live.operations
        if key not in running and len(running) >= self._limits.max_sources:
            error = TooManySourcesError("The server runs too many sources. Try again later.")
            raise account.refusal(error)
        charge = account.charge(key, operation.cost)
        # What strangers share is not the first one's own.
        whose = self.budgets.account(Consumer("sources", key)) if account.is_of_address else account
        return self._live.join(
            key, lambda: self._results(operation, viewer, whose), subscriber, charge
        )

    async def _result(self, executor: Executor[Any]) -> str:
        """Execute one event of a subscription."""
        self.executions += 1
        try:
            result = execute_subscription_event(executor)
            if isawaitable(result):
                result = await result
        except TooManyErrorsError:
            return self._give_up().text
        _raise_transient(result)
        return self._respond(result).text

    def _give_up(self) -> Response:
        error = TooLargeError(
            f"More than {MAX_ERRORS} fields have failed. Ask for fewer of those that may fail; "
            "a mutation was carried out in part."
        )
        self.budgets.refused[error.code] += 1
        return Response(error_response(error))

    def _respond(self, result: ExecutionResult) -> Response:
        try:
            return respond(result, self._limits.max_result_bytes)
        except TooLargeError as error:
            self.budgets.refused[error.code] += 1
            return Response(error_response(error))

    async def _results(
        self, operation: Operation, viewer: Hashable, account: Account
    ) -> AsyncGenerator[str, None]:
        SUBSCRIPTION.set(f"Subscription {operation.field}")
        reading = begin_reading()
        CONSUMER.set(account.consumer)
        IS_EXPENSIVE.set(operation.is_expensive)
        # graphql-core's `subscribe` would keep the latest event and its result until the next.
        executor = BoundedExecutor.build(
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
        held = 0
        try:
            async for event in events:
                text = await self._result(executor.build_per_event_executor(event))
                del event
                if not account.may_hold(len(text) - held):
                    text = error_response(account.refusal(TOO_MUCH_HELD))
                account.held_bytes += len(text) - held
                held = len(text)
                yield text
                reading.avoids_replicas = False
        finally:
            account.held_bytes -= held
            if isinstance(events, AsyncGenerator):
                await events.aclose()


def _raise_transient(result: ExecutionResult) -> None:
    # Subscribers keep their last good result while the database is away, or a replica unfit.
    for error in result.errors or ():
        if is_transient(error) or is_of_replica(error):
            raise cause_of(error)
