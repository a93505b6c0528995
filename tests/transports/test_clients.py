"""The clients of a process: who has gone is forgotten."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from app.authentication.asking import Authentication
from app.authentication.django_sessions import DjangoSessions
from app.transports import clients as module
from app.transports.clients import Clients
from tests.transports.strangers import connection_of


async def forever(*_: Any) -> Any:
    """Neither read nor write."""
    await asyncio.Event().wait()


class Client:
    """A client that notes how often it is looked at."""

    def __init__(self) -> None:
        self.connection = connection_of(forever, forever)
        self.checks = asyncio.Queue[float]()

    def check(self, now: float) -> None:
        """Note it."""
        self.checks.put_nowait(now)


async def test_client_that_has_gone_leaves_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)
    async with Clients(10, Authentication(DjangoSessions())) as clients:
        client = Client()
        clients.add(client)
        await client.checks.get()
        monkeypatch.setattr(module, "CHECK_SECONDS", 1000)
        clients.discard(client)
        memory = weakref.ref(client)
        del client
        gc.collect()
        assert memory() is None
        assert len(clients) == 0


async def test_unsent_messages_are_dropped_with_the_connection() -> None:
    connection = connection_of(forever, forever)
    task = asyncio.create_task(connection.run(forever(), forever))
    await asyncio.sleep(0)
    for number in range(3):
        connection.outbox.put(number, "x" * 1000)
    assert len(connection.outbox) > 0
    connection.close(None)
    await task
    assert len(connection.outbox) == 0
