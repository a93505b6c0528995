"""Ask and subscribe in tests, in this process and without a socket; `docs/testing.md` shows how."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

from django.db import connections
from starlette.datastructures import Headers

from .authentication.asking import Authentication
from .authentication.sessions import session_of
from .changes.change import Change
from .changes.feed import Feed, backend_for
from .changes.hearing import Hearing
from .changes.postgresql import PostgreSQLBackend
from .changes.sqlite import SQLiteBackend
from .changes.triggers import CHANNEL, TABLE
from .database import scope
from .database.calls import call
from .database.lifespan import opened
from .exceptions import LiveError
from .graphql.budgets import Budgets, consumer_of
from .graphql.errors import describe
from .graphql.preparation import Operation
from .graphql.request import GraphQLRequest, encode
from .server import LiveGraphQL
from .viewer import Credentials, Session

T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0
"""What has not come by then does not come."""
ALLOWED: Final = "DJANGO_ALLOW_ASYNC_UNSAFE"


class ResponseError(LiveError):
    """The response has errors, or the operation could not run."""

    def __init__(self, errors: list[dict[str, Any]], data: Any = None) -> None:
        super().__init__("; ".join(str(error["message"]) for error in errors))
        self.errors = errors
        """As in GraphQL's response format."""
        self.codes = [error.get("extensions", {}).get("code") for error in errors]
        self.data = data
        """What there is beside the errors."""


class Client:
    """Asks a server's schema as `user`, as `viewer`, or as whoever has these credentials.

    An asynchronous context manager, to be entered in the test itself.

    In a test that runs in a transaction, all happens in that transaction, and nothing is left. With
    Django's `TestCase` that is so wherever the client is made. With pytest-django's `db` it must be
    made in a synchronous fixture, since no asynchronous code sees that transaction; within the
    block it does, and may call the synchronous ORM. There, every step counts as a change of
    everything.

    In a test that commits (`transactional_db`, `TransactionTestCase`) the change feed follows the
    test's database, which must not be in memory.
    """

    def __init__(
        self,
        server: LiveGraphQL,
        *,
        user: Any = None,
        viewer: Hashable = None,
        headers: Mapping[str, str] | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        self._server = server
        self._user = user
        self._viewer = viewer
        self._credentials = Credentials(Headers(dict(headers or {})), "testclient", payload or {})
        self._authentication = Authentication(server.authenticate)
        self._budgets = Budgets(server.limits)
        self._stack = AsyncExitStack()
        self._commits = True
        self._connections = {} if _is_async() else {a: connections[a] for a in connections}

    def as_user(self, user: Any) -> "Client":
        """Return a client of somebody else, of use as long as this one is."""
        other = Client(self._server, user=user)
        other._commits = self._commits
        return other

    async def __aenter__(self) -> Self:
        using = self._server.using
        if scope.synchronous_caller() is not None:
            self._commits = not await call(using, lambda: connections[using].in_atomic_block)
        elif using in self._connections:
            self._commits = not self._connections[using].in_atomic_block
            if not self._commits:
                await self._stack.enter_async_context(_on_these(self._connections))
        backend = backend_for(using) if self._commits else _Silence()
        # What one test leaves under way must not wait for another's event loop.
        self._server = LiveGraphQL(
            self._server.schema,
            authenticate=self._server.authenticate,
            using=using,
            feed=Feed(backend, using),
        )
        if self._commits:
            await self._stack.enter_async_context(opened())
            feed = await self._stack.enter_async_context(self._server.feed)
            await _until(lambda: feed.is_connected, "The change feed has not connected")
        await self._stack.enter_async_context(self._server.live)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def execute(self, query: str, **variables: Any) -> Any:
        """Run a query or mutation. Return its data; raise ResponseError."""
        operation, session = await self._prepare(query, variables)
        account = self._budgets.account(consumer_of(session, "testclient"))
        response = await self._server.engine.execute(operation, session.viewer, account)
        return _data(response.text)

    @asynccontextmanager
    async def subscribe(self, query: str, **variables: Any) -> AsyncIterator["Results"]:
        """Follow a subscription within the block. Raise ResponseError if it cannot begin."""
        operation, session = await self._prepare(query, variables)
        account = self._budgets.account(consumer_of(session, "testclient"))
        results = Results(self._settle)
        subscriber = _Subscriber(results)
        try:
            shared = self._server.engine.subscribe(operation, session.viewer, subscriber, account)
        except LiveError as error:
            raise ResponseError(json.loads(describe(error))) from None
        try:
            yield results
        finally:
            shared.leave(subscriber)

    async def _prepare(self, query: str, variables: dict[str, Any]) -> tuple[Operation, Session]:
        request = GraphQLRequest.from_json({"query": query, "variables": variables}, len(query))
        try:
            operation = await self._server.engine.preparation.prepare(request)
        except LiveError as error:
            raise ResponseError(json.loads(describe(error))) from None
        if self._user is not None:
            return operation, await call(self._server.using, session_of, self._user)
        if self._viewer is not None:
            return operation, Session(self._viewer)
        return operation, await self._authentication.session(self._credentials)

    async def _settle(self) -> None:
        """Wait until all that has been committed is told, and all sources have looked at it."""
        feed = self._server.feed
        if self._commits:
            await self._hear_all()
        else:
            feed.announce(None)
        await _until(
            lambda: all(waiter.is_waiting for waiter in feed.waiters),
            "Sources are still at work on what has changed",
        )

    async def _hear_all(self) -> None:
        backend = self._server.feed.backend
        if isinstance(backend, SQLiteBackend):
            looks = backend.looks
            await _until(lambda: backend.looks > looks, "The change feed has not looked")
        elif isinstance(backend, PostgreSQLBackend):
            await self._hear_mark(backend)

    async def _hear_mark(self, backend: PostgreSQLBackend) -> None:
        """Commit a mark; what was committed before is told before it."""
        mark = Change("live_mark", ("mark",), (uuid4().hex,))
        heard = asyncio.Event()

        def observe(changes: list[Change] | None) -> None:
            if changes is None or mark in changes:
                heard.set()

        self._server.feed.observers.append(observe)
        try:
            async with await backend.connect() as connection:
                await connection.execute(
                    f"WITH mark AS (INSERT INTO {TABLE} (relation, keys, size) VALUES (%s, %s, 1)) "  # noqa: S608 - a constant
                    f"SELECT pg_notify('{CHANNEL}', '')",
                    [encode([mark.table, *mark.columns]), [[*mark.values]]],
                )
            await _until(heard.is_set, "The change feed has not caught up")
        finally:
            self._server.feed.observers.remove(observe)


class Results:
    """What has come of a subscription."""

    def __init__(self, settle: Callable[[], Any]) -> None:
        self._settle = settle
        self._unread: list[str] = []
        self._has_begun = self._is_over = False
        self._came = asyncio.Event()

    async def next(self) -> Any:
        """Return the data of the newest result; the first, or one that came since the last call.

        It is what there is after all changes that are committed by now. Raise AssertionError if
        nothing new has come, and ResponseError.
        """
        await self._read()
        if not self._unread:
            if self._is_over:
                raise AssertionError("The subscription has ended.")
            raise AssertionError("No new result has come: nothing has changed in what it shows.")
        newest, self._unread = self._unread[-1], []
        return _data(newest)

    async def is_unchanged(self) -> bool:
        """Whether nothing new has come since the last call of `next`."""
        await self._read()
        return not self._unread

    async def is_over(self) -> bool:
        """Whether the subscription has ended by itself, and all has been read."""
        await self._read()
        return self._is_over and not self._unread

    async def _read(self) -> None:
        if self._has_begun and not self._is_over:
            await self._settle()
        else:
            await _until(self._came.is_set, "Neither a result nor an end has come")
        self._has_begun = True

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the data of each result as it comes, until the subscription ends by itself."""
        while True:
            await _until(lambda: bool(self._unread) or self._is_over, "Neither has come")
            if not self._unread:
                return
            yield _data(self._unread.pop(0))

    def _add(self, text: str) -> None:
        """Note a result."""
        self._unread.append(text)
        self._came.set()

    def _end(self) -> None:
        """Note that nothing follows."""
        self._is_over = True
        self._came.set()


class _Subscriber:
    """What the shared operation sees of `Results`."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def next(self, result: bytes) -> None:
        self._results._add(result.decode())

    def error(self, errors: str) -> None:
        self._results._add(f'{{"errors":{errors}}}')
        self._results._end()

    def complete(self) -> None:
        self._results._end()


class _Silence:
    """The back end of a feed that hears of nothing."""

    is_precise = False
    silent_tables: frozenset[str] = frozenset()
    hearing = Hearing()

    def check(self) -> None:
        pass

    async def changes(self) -> AsyncIterator[list[Change] | None]:
        yield None


class _RightHere:
    """An executor that runs calls in this thread, whose connections have the test's transaction."""

    def serves(self, _alias: str) -> bool:
        return True

    def holds(self, _alias: str) -> bool:
        return True

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return function(*args, **kwargs)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def _on_these(wrappers: Mapping[str, Any]) -> AsyncIterator[None]:
    """Within the block, the ORM, sync or async, uses these connections of this thread."""
    before = os.environ.get(ALLOWED)
    os.environ[ALLOWED] = "true"
    for alias, wrapper in wrappers.items():
        connections[alias] = wrapper
    block = scope.ConnectionScope(_RightHere())
    scope.enter(block)
    try:
        yield
    finally:
        scope.leave(block)
        for alias in wrappers:
            del connections[alias]
        if before is None:
            del os.environ[ALLOWED]
        else:
            os.environ[ALLOWED] = before


def _is_async() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until the condition holds. Raise AssertionError if it does not come to hold."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{otherwise} within {PATIENCE_SECONDS:g} s.")
        await asyncio.sleep(0.001)


def _data(text: str) -> Any:
    response = json.loads(text)
    if errors := response.get("errors"):
        raise ResponseError(errors, response.get("data"))
    return response["data"]
