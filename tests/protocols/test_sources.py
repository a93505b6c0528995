"""How sources end, fail and say nothing, and how a field fails beside others, on each transport."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from tests.clients import PATIENCE_SECONDS, post
from tests.items.models import Item
from tests.protocols.raw import metrics_become, websocket
from tests.server import Server

TRANSPORTS = ("graphql-transport-ws", "graphql-ws", "event stream")
Message = tuple[str, Any]


async def by_websocket(server: Server, subprotocol: str, query: str) -> AsyncIterator[Message]:
    """The type and payload of each message about one operation."""
    type_ = "subscribe" if subprotocol == "graphql-transport-ws" else "start"
    async with websocket(server, subprotocol, is_ready=True) as connection:
        start = {"type": type_, "id": "1", "payload": {"query": query}}
        await connection.send(json.dumps(start))
        async for text in connection:
            message = json.loads(text)
            yield message["type"], message.get("payload")


async def by_event_stream(server: Server, query: str) -> AsyncIterator[Message]:
    """The same of each event."""
    headers = {"Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as client,
        client.stream("POST", server.http, json={"query": query}) as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if line.startswith("event: "):
                data = (await anext(lines)).removeprefix("data:").strip()
                yield line.removeprefix("event: "), json.loads(data) if data else None


@asynccontextmanager
async def asked(server: Server, transport: str, query: str) -> AsyncIterator[Any]:
    """The messages of one operation, while the block lasts."""
    if transport == "event stream":
        messages: Any = by_event_stream(server, query)
    else:
        messages = by_websocket(server, transport, query)
    try:
        yield messages
    finally:
        await messages.aclose()


async def until(messages: AsyncIterator[Message], end: str) -> list[Message]:
    """All messages up to one of the type `end`."""
    received = []
    async for message in messages:
        received.append(message)
        if message[0] == end:
            break
    return received


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_source_that_ends_completes_after_its_last_result(
    transport: str, shared_server: Server
) -> None:
    query = "subscription { countdown(from: 3) }"
    async with asked(shared_server, transport, query) as messages:
        *results, end = await until(messages, "complete")
    numbers = [payload["data"]["countdown"] for _, payload in results]
    assert numbers == sorted(set(numbers), reverse=True)  # who is slow skips some, but never
    assert numbers[-1] == 1  # the last
    assert end == ("complete", None)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("results", [0, 2])
async def test_source_that_fails_tells_why_after_its_results(
    results: int, transport: str, shared_server: Server
) -> None:
    query = f"subscription {{ failing(results: {results}) }}"
    end = "complete" if transport == "event stream" else "error"
    async with asked(shared_server, transport, query) as messages:
        received = await until(messages, end)
    if transport == "event stream":
        received.pop()  # `complete`, after the errors
    *before, (_, last) = received
    numbers = [payload["data"]["failing"] for _, payload in before]
    assert numbers == sorted(set(numbers))
    assert numbers[-1:] == list(range(results))[-1:]
    (error,) = last if isinstance(last, list) else last["errors"]
    assert error["message"] == "No more of these."
    assert error["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_who_leaves_a_source_without_a_result_leaves_nothing(
    transport: str, measured_server: Server
) -> None:
    async with asked(measured_server, transport, "subscription { silent }") as messages:
        task = asyncio.ensure_future(anext(messages))
        await metrics_become(measured_server, subscribers=1, sources=1)
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,))
    await metrics_become(measured_server, connections=0, subscribers=0, sources=0)


async def test_field_that_fails_leaves_the_others(server: Server) -> None:
    item = await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    query = "{ items { id secret } }"
    answer = await post(server.http, query)
    assert answer["data"] == {"items": [{"id": str(item.pk), "secret": None}]}
    (error,) = answer["errors"]
    assert error["path"] == ["items", 0, "secret"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    for transport in TRANSPORTS:
        async with asked(server, transport, f"subscription {query}") as messages:
            _, payload = await anext(messages)
        assert payload["data"] == answer["data"], transport
        assert [each["path"] for each in payload["errors"]] == [["items", 0, "secret"]]
