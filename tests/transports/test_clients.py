"""The clients of a process: who has gone is forgotten."""

import asyncio
import gc
import math
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
        self.seconds = 0.0
        """After which it wants to be looked at again."""

    def check(self, now: float) -> float:
        """Note it."""
        self.checks.put_nowait(now)
        return self.seconds


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


async def test_quiet_clients_are_looked_at_as_seldom_as_they_want(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    async with Clients(10, Authentication(DjangoSessions())) as clients, asyncio.timeout(10):
        quiet, watched, later = Client(), Client(), Client()
        quiet.seconds = later.seconds = 0.5
        for client in (quiet, watched):
            clients.add(client)
        moments = [await quiet.checks.get(), await quiet.checks.get()]
        assert moments[1] - moments[0] >= 0.5
        # Of the other something is awaited all the time.
        assert watched.checks.qsize() > 5
        # Who comes when the clock has run for long does not wait for the ticks of before.
        clients.add(later)
        await later.checks.get()
        assert quiet.checks.empty()


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
async def test_client_of_whom_nothing_is_ever_due_keeps_nobody_from_being_looked_at(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    async with Clients(10, Authentication(DjangoSessions())) as clients, asyncio.timeout(10):
        endless, other = Client(), Client()
        endless.seconds = seconds
        for client in (endless, other):
            clients.add(client)
        await endless.checks.get()
        for _ in range(3):
            await other.checks.get()
        clients.discard(endless)


async def test_unsent_messages_are_dropped_with_the_connection() -> None:
    connection = connection_of(forever, forever)
    task = asyncio.create_task(connection.run(forever(), forever))
    await asyncio.sleep(0)
    for number in range(3):
        connection.outbox.put(number, b"x" * 1000)
    assert len(connection.outbox) > 0
    connection.close(None)
    await task
    assert len(connection.outbox) == 0
