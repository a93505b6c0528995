"""A connection takes on no more than its client is ready to hear about."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from app.authentication.asking import Authentication
from app.authentication.django_sessions import DjangoSessions
from app.changes.change import Change
from app.changes.feed import Feed
from app.changes.hearing import Hearing
from app.graphql.engine import FAILURES, Engine
from app.graphql.limits import Limits
from app.live import Live
from app.transports.clients import Clients
from app.transports.connection import Close
from app.transports.identity import Identity
from app.transports.operations import Operations
from app.transports.outbox import MAX_APPENDED
from app.transports.subprotocols import GRAPHQL_TRANSPORT_WS
from app.transports.websocket import WebSocket
from tests.items.schema import schema
from tests.transports.strangers import connection_of


class Silence:
    """A feed in which nothing ever changes."""

    is_precise = True
    silent_tables: frozenset[str] = frozenset()
    hearing = Hearing()

    def check(self) -> None:
        """Nothing is wrong with it."""

    async def changes(self) -> AsyncIterator[list[Change] | None]:
        """Nothing."""
        await asyncio.Event().wait()
        yield None


async def test_who_reads_nothing_is_not_read_from_for_ever() -> None:
    limits = Limits.from_settings()
    engine = Engine(schema, Feed(Silence()), Live(FAILURES), limits)
    taken = 0

    async def receive() -> Any:
        nonlocal taken
        taken += 1
        if taken == 1:
            return {"type": "websocket.receive", "text": '{"type":"connection_init"}'}
        payload = {"query": "{ nothing }"}
        message = {"type": "subscribe", "id": str(taken), "payload": payload}
        return {"type": "websocket.receive", "text": json.dumps(message)}

    async def send(_: Any) -> None:
        await asyncio.Event().wait()

    async def close(close: Close) -> None:
        closed.append(close)

    closed: list[Close] = []
    authentication = Authentication(DjangoSessions())
    connection = connection_of(receive, send)
    operations = Operations(engine, limits, authentication, GRAPHQL_TRANSPORT_WS, connection)
    identity = Identity(connection, Clients(1, authentication), engine.budgets, None)
    steps = engine.preparation.steps
    websocket = WebSocket(steps, limits, GRAPHQL_TRANSPORT_WS, connection, operations, identity)
    task = asyncio.create_task(websocket.run(receive, send, close))
    for _ in range(10 * MAX_APPENDED):
        await asyncio.sleep(0)
    assert MAX_APPENDED <= taken <= MAX_APPENDED + limits.max_operations + 2
    connection.close(Close(1012, "Service restart"))
    await task
    assert [close.code for close in closed] == [1012]
    assert len(asyncio.all_tasks()) == 1
