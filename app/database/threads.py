"""Run synchronous ORM code in threads: for databases of any other engine.

Within `open_threads`, in a bounded pool of them; outside, where Django itself would: in the one
thread that asgiref keeps for the context.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.db.transaction import TransactionManagementError

from . import scope
from .base import uses_greenlets
from .debugging import Debugging
from .fairness import Consumer
from .limiter import CapacityLimiter, Statistics

T = TypeVar("T")

_open: dict[asyncio.AbstractEventLoop, Threads] = {}


class Worker(ThreadPoolExecutor):
    """One thread, and the connections that live in it."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="orm")
        self.latest: Future[Any] | None = None
        self.consumer = Consumer("nobody")
        """Whom it is lent to."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Remember the call, whose awaiter may be cancelled before it ends."""
        self.latest = super().submit(*args, **kwargs)
        return self.latest


class Threads:
    """The threads of one event loop, lent one by one."""

    def __init__(self, size: int, timeout_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limiter = CapacityLimiter(size, timeout_seconds)
        self._workers = [Worker() for _ in range(size)]
        self._idle = self._workers.copy()

    async def borrow(self) -> Worker:
        """Return a thread that nobody uses."""
        try:
            consumer = await self._limiter.acquire()
        except TimeoutError:
            raise OperationalError(
                f"No thread for the database within {self._limiter.timeout_seconds:g} s: "
                f"{self._limiter.why_closed()}."
            ) from None
        worker = self._idle.pop()
        worker.consumer = consumer
        return worker

    def give_back(self, worker: Worker) -> None:
        """Lend `worker` on as soon as its latest call has ended."""
        if worker.latest is None or worker.latest.done():
            self._lend_on(worker)
        else:
            worker.latest.add_done_callback(
                lambda _: self._loop.call_soon_threadsafe(self._lend_on, worker)
            )

    def _lend_on(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._limiter.release(worker.consumer)

    def close(self) -> None:
        """Wait for the running calls, then close the threads' connections."""
        for worker in self._workers:
            if worker.latest is not None:
                worker.submit(connections.close_all)
        for worker in self._workers:
            worker.shutdown()

    def statistics(self) -> Statistics:
        """How the threads stand now, and what was counted since they were opened."""
        return Statistics(
            name="threads",
            max_size=len(self._workers),
            size=sum(worker.latest is not None for worker in self._workers),
            idle=len(self._idle),
            waiting=self._limiter.waiting,
            requests=self._limiter.requests,
            queued=self._limiter.queued,
            errors=self._limiter.errors,
            wait_seconds=self._limiter.wait_seconds,
        )


class ThreadExecutor:
    """A thread with its connections, for one call, one iteration or one transaction."""

    def __init__(self, threads: Threads, worker: Worker, *, is_lasting: bool) -> None:
        self._threads = threads
        self._worker = worker
        self._is_lasting = is_lasting

    def serves(self, alias: str) -> bool:
        """Whether `alias` is a database of another engine than ours."""
        return not uses_greenlets(alias)

    def holds(self, alias: str) -> bool:  # noqa: ARG002
        """Whether the connection to `alias` outlives a call: it stays with its thread."""
        return True

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` in the thread.

        When cancelled, a single call goes on unattended, as with the default engine; a lasting
        executor waits for its end, so that the order of its calls stays known.
        """
        run = sync_to_async(self._run, thread_sensitive=False, executor=self._worker)
        outer = scope.innermost()
        try:
            return await run(Debugging.of_this_context(), function, args, kwargs)
        except asyncio.CancelledError:
            if self._is_lasting and self._worker.latest is not None:
                latest = asyncio.wrap_future(self._worker.latest)
                await asyncio.wait([latest])
                if not latest.cancelled():
                    latest.exception()  # so that asyncio does not call it forgotten
            raise
        finally:
            scope.restore(outer)  # when cancelled, asgiref copies the context of mid-call

    async def close(self) -> None:
        """Lend the thread on; a transaction still under way is rolled back."""
        if self._is_lasting:
            self._worker.submit(_settle)
        self._threads.give_back(self._worker)

    def _run(
        self,
        debugging: Debugging,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        try:
            return run_in_this_thread(debugging, function, args, kwargs)
        finally:
            if not self._is_lasting:
                _settle()


def _settle() -> None:
    """Close the connections of this thread that are broken, too old, or left in a transaction."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.in_atomic_block = False
            connection.close()
        if connection.vendor == "sqlite":
            # A file, not a server: CONN_MAX_AGE would spend more on opening it than on queries.
            connection.close_at = None
        connection.close_if_unusable_or_obsolete()


@asynccontextmanager
async def open_threads(size: int, timeout_seconds: float = 10) -> AsyncIterator[None]:
    """Within the block, this event loop has `size` threads for databases of other engines.

    On leaving, running calls are awaited and every connection of the threads is closed.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        _open[loop] = threads = Threads(size, timeout_seconds)
        stack.callback(threads.close)
        stack.callback(_open.pop, loop)
        yield


def opened_threads() -> Threads | None:
    """The threads of the running event loop, if `open_threads` has made some."""
    return _open.get(asyncio.get_running_loop())


def can_use_threads() -> bool:
    """Whether there is a database of another engine that several threads can share."""
    others = [connections[alias] for alias in connections if not uses_greenlets(alias)]
    return any(other.vendor != "unknown" for other in others) and not any(
        other.vendor == "sqlite" and other.is_in_memory_db()  # type: ignore[attr-defined]
        for other in others
    )


# The transaction that is open on a thread which many tasks share: an event loop's, or that of the
# synchronous code below which they run.
_transactions: dict[Any, DjangoExecutor] = {}


class DjangoExecutor:
    """The connections of the thread that asgiref keeps for this context.

    Other tasks may share that thread: during a transaction their calls wait for its end.
    """

    def __init__(self, is_transaction: bool = False) -> None:
        self._is_transaction = is_transaction
        self._caller = scope.synchronous_caller()
        self._thread = self._caller or asyncio.get_running_loop()
        self._has_ended = asyncio.Event()

    def serves(self, alias: str) -> bool:
        """Whether calls on `alias` belong here: below synchronous code, those on any database."""
        return self._caller is not None or not uses_greenlets(alias)

    def holds(self, alias: str) -> bool:  # noqa: ARG002
        """Whether the connection to `alias` outlives a call: it stays with its thread."""
        return True

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` in the thread, which a cancellation does not stop.

        In a transaction, the cancellation waits for the end of the call, if a thread has begun it.
        """
        while (other := _transactions.get(self._thread, self)) is not self:
            await other.ended()
        if self._is_transaction:
            _transactions[self._thread] = self
        outer = scope.innermost()
        run = sync_to_async(run_in_this_thread)
        try:
            return await run(Debugging.of_this_context(), function, args, kwargs)
        except asyncio.CancelledError:
            if self._is_transaction:
                with suppress(RuntimeError):  # the thread has gone
                    await to_the_end(sync_to_async(_do_nothing)())
            raise
        finally:
            scope.restore(outer)  # when cancelled, asgiref copies the context of mid-call

    async def ended(self) -> None:
        """Wait until this transaction has ended."""
        try:
            async with asyncio.timeout(scope.LOCK_TIMEOUT_SECONDS):
                await self._has_ended.wait()
        except TimeoutError:
            raise TransactionManagementError(
                f"The one thread for the database has been in another task's atomic() block for "
                f"{scope.LOCK_TIMEOUT_SECONDS:g} s. Inside `async with opened()` each has its own."
            ) from None

    async def close(self) -> None:
        """Let other tasks use the thread again."""
        if _transactions.get(self._thread) is self:
            del _transactions[self._thread]
        self._has_ended.set()


async def to_the_end(call: Coroutine[Any, Any, T]) -> T:
    """Await `call` in a task of its own, until it ends, whatever cancels this one meanwhile.

    The caller is about to raise its cancellation, or another error, anyway.
    """
    task = asyncio.get_running_loop().create_task(call)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((task,))
    return task.result()


def _do_nothing() -> None:
    """Run in a thread, so that all that was to run before has."""


def run_in_this_thread(
    debugging: Debugging,
    function: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    """Call `function`, with its queries where the caller looks for them."""
    with debugging.shared():
        return function(*args, **kwargs)
