"""Execute operations: queries and mutations each on its own, subscriptions shared."""

from collections import Counter
from collections.abc import AsyncGenerator, Hashable
from inspect import isawaitable
from time import monotonic
from typing import Any, Final

from graphql import (
    ExecutionResult,
    Executor,
    GraphQLSchema,
    OperationType,
    create_source_event_stream,
    execute,
    execute_subscription_event,
)

from ..activity import ACTIVITY, EVERYTHING, Activity
from ..changes.feed import SUBSCRIPTION, Feed
from ..changes.routing import READING, begin_reading
from ..database.fairness import CONSUMER, Consumer
from ..histogram import Histogram
from ..live import Failures, Live, SharedOperation, Subscriber
from ..log_context import OPERATION
from ..tracing import Link
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

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Engine:
    """One schema, executed for whoever asks."""

    def __init__(self, schema: GraphQLSchema, feed: Feed, live: Live, limits: Limits) -> None:
        self.budgets: Final = Budgets(limits)
        self.preparation: Final = Preparation(schema, limits, feed.turns, self.budgets.refused)
        self.executions = 0
        """How many times a query, a mutation, or a subscription's result was executed."""
        self.operations: Final = Counter[str]()
        """How many operations have begun, by their type."""
        self.seconds: Final = {each.value: Histogram(*BOUNDS) for each in OperationType}
        """How long executions took, encoding included, by the operation's type."""
        self.seconds_since_change: Final = Histogram(*BOUNDS)
        """How long it took from the change that woke a source to its result."""
        self._schema = schema
        self._feed = feed
        self._live = live
        self.limits: Final = limits

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
        self.operations[operation.type.value] += 1
        began = monotonic()
        try:
            result = execute(
                self._schema,
                operation.document,
                context_value=Context(viewer, self._feed),
                variable_values=operation.request.variables,
                operation_name=operation.request.operation_name,
                executor_class=BoundedExecutor,
                hide_suggestions=not self.limits.introspection,
            )
            return self._respond(await result if isawaitable(result) else result)
        except TooManyErrorsError:
            return self._give_up()
        finally:
            self.seconds[operation.type.value].observe(monotonic() - began)

    def subscribe(
        self,
        operation: Operation,
        viewer: Hashable,
        subscriber: Subscriber,
        account: Account,
        link: Link | None = None,
    ) -> SharedOperation:
        """Let `subscriber` join all equal viewers who ask exactly the same.

        The spans of executions link to `link`, that of the client's operation.
        Raise TooManySourcesError if nobody asks the same yet, and too many sources run;
        TooManySubscriptionsError and TooCostlyError if the account is at its limits.
        """
        variables = encode(sorted(operation.request.variables.items()))
        key = (operation.key, variables, viewer)
        running = self._live.operations
        if key not in running and len(running) >= self.limits.max_sources:
            error = TooManySourcesError("The server runs too many sources. Try again later.")
            raise account.refusal(error)
        charge = account.charge(key, operation.cost)
        # What strangers share is not the first one's own.
        whose = self.budgets.account(Consumer("sources", key)) if account.is_of_address else account
        activity = Activity(operation.name, operation.field, viewer)
        self.operations[operation.type.value] += 1
        shared = self._live.join(
            key,
            lambda: self._results(operation, viewer, whose, activity),
            subscriber,
            charge,
            activity,
        )
        if shared.activity is not None:
            shared.activity.link(link)
        return shared

    async def _run(self, executor: Executor[Any], activity: Activity) -> str:
        """Execute one event of a subscription, and note what that took."""
        began = monotonic()
        if activity.begun_at is None:  # by a source that does not watch
            activity.begin(None, EVERYTHING)
        text = await self._result(executor)
        self.seconds[OperationType.SUBSCRIPTION.value].observe(monotonic() - began)
        if (seconds := activity.end(began)) is not None:
            self.seconds_since_change.observe(seconds)
        return text

    async def _result(self, executor: Executor[Any]) -> str:
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
            return respond(result, self.limits.max_result_bytes)
        except TooLargeError as error:
            self.budgets.refused[error.code] += 1
            return Response(error_response(error))

    async def _results(
        self, operation: Operation, viewer: Hashable, account: Account, activity: Activity
    ) -> AsyncGenerator[str, None]:
        SUBSCRIPTION.set(f"Subscription {operation.field}")
        ACTIVITY.set(activity)
        OPERATION.set(f"source {activity.number}: {operation.name or operation.field}")
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
                text = await self._run(executor.build_per_event_executor(event), activity)
                del event
                if not account.may_hold(len(text) - held):
                    text = error_response(account.refusal(TOO_MUCH_HELD))
                account.held_bytes += len(text) - held
                held = len(text)
                yield text
                reading.avoids_replicas = False
        finally:
            activity.close()
            account.held_bytes -= held
            if isinstance(events, AsyncGenerator):
                await events.aclose()


def _raise_transient(result: ExecutionResult) -> None:
    # Subscribers keep their last good result while the database is away, or a replica unfit.
    for error in result.errors or ():
        if is_transient(error) or is_of_replica(error):
            raise cause_of(error)
