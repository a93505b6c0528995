"""Run an operation once, and fan its results out to everyone who asked for the same."""

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, Self

from .background import Backoff

logger = logging.getLogger(__name__)

Start = Callable[[], AsyncGenerator[str, None]]


class Subscriber(Protocol):
    """Who receives the results of a shared operation. Methods must neither block nor raise."""

    def next(self, result: str) -> None:
        """Take a result: the encoded GraphQL response."""
        ...

    def error(self, errors: str) -> None:
        """Take the encoded list of errors that ended the operation; nothing follows."""
        ...

    def complete(self) -> None:
        """Learn that the operation has ended; nothing follows."""
        ...


class Charge(Protocol):
    """What is to be given back when a subscriber leaves."""

    def release(self) -> None:
        """Give it back."""
        ...


@dataclass(frozen=True, slots=True)
class Failures:
    """What to make of an exception that a source raises."""

    is_transient: Callable[[Exception], bool]
    """Whether to try again, for subscribers who have had a result already."""
    describe: Callable[[Exception], str]
    """The encoded list of errors that subscribers are told."""
    turns_to_primary: Callable[[Exception], bool] = lambda _: False
    """Whether to try again for all, since it was a replica's fault, and the next run reads none."""


class SharedOperation:
    """One running source, its latest result, and the subscribers who receive it.

    Subscribers change and results arrive on one event loop, and no method awaits between looking
    and acting, so whoever is a subscriber when a result arrives gets it, and whoever joins later
    starts with the latest.
    """

    def __init__(self, start: Start, failures: Failures, forget: Callable[[], object]) -> None:
        # In order of joining, which is about the order in which their memory lies.
        self.subscribers: dict[Subscriber, Charge | None] = {}
        self.task: asyncio.Task[None] | None = None
        self._start = start
        self._failures = failures
        self._forget = forget
        self._latest: str | None = None
        self._is_over = False

    def join(self, subscriber: Subscriber, charge: Charge | None = None) -> None:
        """Add a subscriber; it gets the current result at once, if there is one yet.

        `charge` is released when it leaves, or the operation ends.
        """
        self.subscribers[subscriber] = charge
        if self._latest is not None:
            subscriber.next(self._latest)

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber. The last one's leaving ends the operation."""
        if (charge := self.subscribers.pop(subscriber, None)) is not None:
            charge.release()
        if not self.subscribers and not self._is_over:
            self._finish()
            if self.task is not None:
                self.task.cancel()

    async def run(self) -> None:
        """Follow the source until it ends, fails for good, or the last subscriber has left."""
        try:
            await self._follow()
        except Exception as error:
            self._fail(error)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                # Without its traceback, by which the task would keep all that the source held.
                raise error.with_traceback(None) from None
            # Nobody has left: the source has awaited something that was cancelled.
            self._fail(RuntimeError("The subscription's source was cancelled."))
        else:
            for subscriber in self._finish():
                subscriber.complete()

    async def _follow(self) -> None:
        backoff = Backoff(first_seconds=0.1)
        while True:
            try:
                async with aclosing(self._start()) as results:
                    async for result in results:
                        backoff.reset()
                        self._deliver(result)
            except Exception as error:
                if not self._failures.turns_to_primary(error) and (
                    self._latest is None or not self._failures.is_transient(error)
                ):
                    raise
                if not backoff.attempt:
                    logger.warning("A subscription's source failed, trying again: %s", error)
            else:
                return
            await backoff.pause()

    def _deliver(self, result: str) -> None:
        if result == self._latest:
            return
        self._latest = result
        for subscriber in self.subscribers:
            subscriber.next(result)

    def _fail(self, error: Exception) -> None:
        if subscribers := self._finish():
            errors = self._failures.describe(error)
            for subscriber in subscribers:
                subscriber.error(errors)
        else:
            logger.warning("A subscription's source failed while ending: %r", error)

    def _finish(self) -> list[Subscriber]:
        """Make sure nobody joins any more, and hand over who was there."""
        if not self._is_over:
            self._is_over = True
            self._forget()
        subscribers, self.subscribers = self.subscribers, {}
        for charge in subscribers.values():
            if charge is not None:
                charge.release()
        return list(subscribers)


class Live:
    """The operations running now, by what they were asked; owns their tasks.

    An asynchronous context manager: on leaving it, all operations are ended.
    """

    def __init__(self, failures: Failures) -> None:
        self.operations: dict[Hashable, SharedOperation] = {}
        self._failures = failures
        # No TaskGroup: there, an error in one operation would end all the others.
        self._tasks: set[asyncio.Task[None]] = set()
        # A shared execution must not see what one subscriber's context variables hold.
        self._context = contextvars.copy_context()

    async def __aenter__(self) -> Self:
        self._context = contextvars.copy_context()
        return self

    async def __aexit__(self, *_: object) -> None:
        for operation in self.operations.values():
            if operation.task is not None:
                operation.task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(
        self, key: Hashable, start: Start, subscriber: Subscriber, charge: Charge | None = None
    ) -> SharedOperation:
        """Let `subscriber` join the operation `key`, which `start` begins if nobody runs it yet.

        Return the operation; `leave(subscriber)` on it ends the subscription, and releases its
        charge, as its end does.
        """
        operation = self.operations.get(key)
        if operation is None:
            operation = self._run(key, start)
        operation.join(subscriber, charge)
        return operation

    def _run(self, key: Hashable, start: Start) -> SharedOperation:
        operation = SharedOperation(start, self._failures, lambda: self.operations.pop(key))
        task = asyncio.get_running_loop().create_task(operation.run(), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        operation.task = task
        self.operations[key] = operation
        return operation
