"""A span for each operation, in its client's trace, and one for each result of a source."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from app import tracing
from app.activity import EVERYTHING, Activity
from tests.clients import PATIENCE_SECONDS, connect
from tests.conftest import StartServer
from tests.items.models import Item
from tests.server import ROOT, Server

TRACE, OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
PARENT = "00f067aa0ba902b7"
QUERY = "query Mine($first: Int = 5) { items(first: $first) { name } }"
NEWEST = "subscription Newest { item { state } }"
JSON = {"Content-Type": "application/json"}

Span = dict[str, Any]


class TracedServer(Server):
    """With an SDK, as a deployer would set it up."""

    application = "tests.web.traced:application"


@pytest.fixture
def server_kind() -> type[Server]:
    return TracedServer


class Spans:
    """What the server has written in this test."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self._path = path
        self._before = len(path.read_text().splitlines())

    def named(self, name: str) -> list[Span]:
        lines = self._path.read_text().splitlines()[self._before :]
        spans = [json.loads(line) for line in lines]
        return [span for span in spans if span["name"] == name]

    async def until(self, name: str, count: int = 1) -> list[Span]:
        """Wait for so many of that name; there may be more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found := await asyncio.to_thread(self.named, name)) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found


@pytest.fixture
def spans(start_server: StartServer, tmp_path: Path, request: pytest.FixtureRequest) -> Spans:
    path = tmp_path / "spans"
    settings = getattr(request, "param", {})
    server = start_server(DEBUG="true", OPEN_ACCESS="true", SPANS_FILE=str(path), **settings)
    return Spans(server, path)


@pytest.fixture
def shared_spans(
    share_server: StartServer, transactional_db: None, tmp_path_factory: pytest.TempPathFactory
) -> Spans:
    path = tmp_path_factory.getbasetemp() / "spans"
    path.touch()
    server = share_server(TracedServer, DEBUG="true", OPEN_ACCESS="true", SPANS_FILE=str(path))
    return Spans(server, path)


def traceparent(trace: str = TRACE) -> str:
    return f"00-{trace}-{PARENT}-01"


async def post(server: Server, *, headers: dict[str, str] | None = None, **body: Any) -> Any:
    async with httpx.AsyncClient(headers=JSON | (headers or {})) as client:
        return (await client.post(server.http, content=json.dumps(body))).json()


@pytest.mark.once
async def test_request_is_a_span_in_its_clients_trace(shared_spans: Spans) -> None:
    await post(shared_spans.server, headers={"traceparent": traceparent()}, query=QUERY)
    [span] = await shared_spans.until("query")
    assert span["kind"] == "SpanKind.SERVER"
    assert span["context"]["trace_id"] == f"0x{TRACE}"
    assert span["parent_id"] == f"0x{PARENT}"
    assert span["attributes"] == {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Mine",
    }
    assert span["events"] == span["links"] == []


@pytest.mark.once
@pytest.mark.parametrize("spans", [{"GRAPHQL_TRACE_DOCUMENTS": "true"}], indirect=True)
async def test_documents_are_told_if_that_is_wanted(spans: Spans) -> None:
    await post(spans.server, query=QUERY)
    [span] = await spans.until("query")
    assert span["attributes"]["graphql.document"] == QUERY
    assert span["parent_id"] is None


@pytest.mark.once
async def test_refused_operation_says_why(shared_spans: Spans) -> None:
    await post(shared_spans.server, query="{ unknown }")
    [span] = await shared_spans.until("GraphQL Operation")
    assert span["status"]["status_code"] == "ERROR"
    assert span["attributes"] == {"error.type": "GRAPHQL_VALIDATION_FAILED"}
    assert span["events"] == []  # no traceback for what a client did
    async with httpx.AsyncClient() as client:
        await client.get(
            shared_spans.server.http, params={"query": "mutation { createItem { id } }"}
        )
    [_, span] = await shared_spans.until("GraphQL Operation", 2)
    assert span["attributes"] == {"error.type": "METHOD_NOT_ALLOWED"}
    async with connect(shared_spans.server.websocket) as socket:
        await socket.subscribe("{ unknown }")
        await socket.next_error()
    [*_, span] = await shared_spans.until("GraphQL Operation", 3)
    assert span["attributes"] == {"error.type": "GRAPHQL_VALIDATION_FAILED"}


@asynccontextmanager
async def subscribed(server: Server, trace: str | None = None) -> AsyncIterator[Any]:
    """A WebSocket that follows the newest item, in its handshake's trace or in one of its own."""
    async with connect(server.websocket, headers={"traceparent": traceparent()}) as socket:
        extensions = {} if trace is None else {"traceparent": traceparent(trace)}
        payload = {"query": NEWEST, "extensions": extensions}
        await socket.send(type="subscribe", id="1", payload=payload)
        await socket.next()
        yield socket


async def test_result_links_to_who_receives_it_and_tells_what_woke_it(spans: Spans) -> None:
    owner = await User.objects.acreate(username="ada")
    item = await Item.objects.acreate(owner=owner)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(subscribed(spans.server))]
        sockets.append(await stack.enter_async_context(subscribed(spans.server, OTHER_TRACE)))
        operations = await spans.until("subscription", 2)
        traces = [each["context"]["trace_id"] for each in operations]
        assert traces == [f"0x{TRACE}", f"0x{OTHER_TRACE}"]
        first, *_ = await spans.until("subscription result")
        assert "live.woken_by" not in first["attributes"]
        await sync_to_async(Item.objects.filter(pk=item.pk).update)(state="DONE")
        for socket in sockets:
            await socket.until({"item": {"state": "DONE"}})
        span = (await asyncio.to_thread(spans.named, "subscription result"))[-1]
        links = [each["context"]["span_id"] for each in span["links"]]
        assert links == [each["context"]["span_id"] for each in operations]
        assert span["parent_id"] is None
        attributes = span["attributes"]
        assert attributes["graphql.operation.name"] == "Newest"
        assert attributes["live.field"] == "item"
        is_precise = "items_item" in attributes["live.woken_by"]
        assert is_precise or attributes["live.woken_by"] == ["everything"]  # as on SQLite
        assert 0 <= attributes["live.wait_seconds"] < PATIENCE_SECONDS
        assert [each["name"] for each in span["events"]] == ["woken"]


@pytest.mark.once
async def test_fan_out_has_no_spans(spans: Spans) -> None:
    owner = await User.objects.acreate(username="ada")
    item = await Item.objects.acreate(owner=owner)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(subscribed(spans.server)) for _ in range(20)]
        before = len(await asyncio.to_thread(spans.named, "subscription result"))
        await sync_to_async(Item.objects.filter(pk=item.pk).update)(state="DONE")
        for socket in sockets:
            await socket.until({"item": {"state": "DONE"}})
        results = (await asyncio.to_thread(spans.named, "subscription result"))[before:]
        assert 1 <= len(results) <= 2  # The table may have been told of before the row.
        assert len(results[-1]["links"]) == tracing.MAX_LINKS
        await spans.until("subscription", 20)


@pytest.mark.once
async def test_log_names_the_trace(shared_spans: Spans) -> None:
    query = "mutation { setState(id: 1, state: DONE) { id } }"
    owner = await User.objects.acreate(username="ada")
    await Item.objects.acreate(pk=1, owner=owner)
    await post(shared_spans.server, headers={"traceparent": traceparent()}, query=query)
    line = next(
        each for each in shared_spans.server.log.splitlines() if "Setting the state" in each
    )
    assert f"trace_id {TRACE}]" in line


@pytest.mark.once
def test_without_a_provider_nothing_is_done() -> None:
    assert tracing.IS_INSTALLED
    assert not tracing.is_on()
    with tracing.OperationSpan({}, {"traceparent": traceparent()}) as span:
        span.describe("query", "Mine", None)
        span.fail(ValueError())
        assert span.link is None
        assert tracing.ids() is None
    activity = Activity("Newest", "item", None)
    activity.link(span.link)
    activity.begin(1.0, EVERYTHING)
    assert activity.links == []


@pytest.mark.once
def test_without_the_package_nothing_is_imported() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from app import tracing\n"
        "assert not tracing.IS_INSTALLED and not tracing.is_on() and tracing.ids() is None\n"
        "with tracing.OperationSpan({}, {}) as span: assert span.link is None\n"
        "assert [name for name in sys.modules if 'opentelemetry.' in name] == []\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
