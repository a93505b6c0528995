"""A connection takes on no more than its client is ready to hear about."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from app.changes.feed import Feed
from app.graphql.connection import Connection
from app.graphql.engine import Engine
from app.graphql.limits import Limits
from app.graphql.link import CloseError, Link
from app.graphql.outbox import ROOM
from app.graphql.subprotocols import GRAPHQL_TRANSPORT_WS
from app.graphql.viewer import Session, Viewer
from orders.schema import schema


class Silence:
    """A feed in which nothing ever changes."""

    silent_tables: frozenset[str] = frozenset()

    async def changes(self) -> AsyncIterator[frozenset[str] | None]:
        """Nothing."""
        await asyncio.Event().wait()
        yield None


async def test_who_reads_nothing_is_not_read_from_for_ever() -> None:
    engine = Engine(schema, Feed(Silence()), Limits.from_settings())
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

    async def close(end: CloseError) -> None:
        ends.append(end)

    ends: list[CloseError] = []
    link = Link(receive, Session("", Viewer(is_unrestricted=True)))
    connection = Connection(engine, GRAPHQL_TRANSPORT_WS, link)
    task = asyncio.create_task(connection.run(receive, send, close))
    for _ in range(10 * ROOM):
        await asyncio.sleep(0)
    assert ROOM <= taken <= ROOM + 2
    link.close(CloseError(1012, "Service restart"))
    await task
    assert [end.code for end in ends] == [1012]
    assert len(asyncio.all_tasks()) == 1
