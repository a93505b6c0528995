"""Documents that are named by a hash or an id, not sent: the same on every transport."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from graphql import get_introspection_query

from tests.clients import PATIENCE_SECONDS, connect
from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols.raw import websocket
from tests.server import Server

pytestmark = pytest.mark.once

JSON, GRAPHQL_JSON = "application/json", "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
HTTP = [(method, accept) for method in ("POST", "GET") for accept in (JSON, GRAPHQL_JSON)]
STREAMS = [("POST", EVENT_STREAM), ("GET", EVENT_STREAM)]
WEBSOCKETS = ["graphql-transport-ws", "graphql-ws"]
TRANSPORTS = [*HTTP, *STREAMS, *WEBSOCKETS]
UNKNOWN = "0" * 64


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A server that anybody may use; these tests write nothing that is to be wiped."""
    return shared_server


def by_hash(hash_: object, **others: Any) -> dict[str, Any]:
    """The parameters of an automatic persisted query."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_}}, **others}


def hash_of(text: str) -> str:
    """What clients name a document by."""
    return sha256(text.encode()).hexdigest()


async def ask(server: Server, transport: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer, with `status` if it came by HTTP."""
    if isinstance(transport, str):
        return await ask_by_websocket(server, transport, payload)
    method, accept = transport
    headers = {"accept": accept, "content-type": JSON}
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as client:
        if method == "POST":
            answer = await client.post(server.http, content=json.dumps(payload))
        else:
            params = {
                name: value if isinstance(value, str) else json.dumps(value)
                for name, value in payload.items()
            }
            answer = await client.get(server.http, params=params)
    text = answer.text
    if accept == EVENT_STREAM:
        text = text.removeprefix("event: next\ndata: ").removesuffix("event: complete\ndata:\n\n")
    return {"status": answer.status_code, **json.loads(text)}


async def ask_by_websocket(
    server: Server, subprotocol: str, payload: dict[str, Any]
) -> dict[str, Any]:
    """The answer over a WebSocket, which stays open."""
    is_new = subprotocol == "graphql-transport-ws"
    async with websocket(server, subprotocol, is_ready=True) as connection:
        message = {"type": "subscribe" if is_new else "start", "id": "1", "payload": payload}
        await connection.send(json.dumps(message))
        answer = json.loads(await connection.recv())
        if answer["type"] == "error":
            return {"errors": answer["payload"] if is_new else answer["payload"]["errors"]}
        assert json.loads(await connection.recv()) == {"type": "complete", "id": "1"}
        result: dict[str, Any] = answer["payload"]
        return result


def codes(answer: dict[str, Any]) -> list[str]:
    """The codes of an answer without data."""
    assert "data" not in answer
    return [error["extensions"]["code"] for error in answer["errors"]]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
async def test_unknown_hash_is_told_so_that_clients_send_the_text(
    transport: Any, server: Server
) -> None:
    for payload in (by_hash(UNKNOWN), by_hash(UNKNOWN, query="")):
        answer = await ask(server, transport, payload)
        assert codes(answer) == ["PERSISTED_QUERY_NOT_FOUND"]
        assert answer["errors"][0]["message"] == "PersistedQueryNotFound"
        assert answer.get("status", 200) == (400 if GRAPHQL_JSON in transport else 200)


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
async def test_document_is_remembered_by_its_hash(transport: Any, server: Server) -> None:
    text = f"{{ __typename }} # {transport}"
    named = by_hash(hash_of(text))
    assert codes(await ask(server, transport, named)) == ["PERSISTED_QUERY_NOT_FOUND"]
    # Without the hash, it is remembered by its text alone.
    assert (await ask(server, transport, {"query": text}))["data"] == {"__typename": "Query"}
    assert codes(await ask(server, transport, named)) == ["PERSISTED_QUERY_NOT_FOUND"]
    for payload in (named | {"query": text}, named, named | {"query": ""}):
        assert (await ask(server, transport, payload))["data"] == {"__typename": "Query"}


async def test_hash_that_one_transport_was_told_is_known_on_all(server: Server) -> None:
    text = "query everywhere($n: Int) { items(first: $n) { id } }"
    await ask(server, ("POST", JSON), by_hash(hash_of(text), query=text))
    for transport in TRANSPORTS:
        answer = await ask(server, transport, by_hash(hash_of(text), variables={"n": 1}))
        assert answer["data"] == {"items": []}


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
async def test_hash_of_another_text_is_refused(transport: Any, server: Server) -> None:
    text = f"{{ __typename }} # never sent with its hash by {transport}"
    answer = await ask(server, transport, by_hash(UNKNOWN, query=text))
    assert codes(answer) == ["BAD_USER_INPUT"]
    assert codes(await ask(server, transport, by_hash(UNKNOWN))) == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
async def test_invalid_document_is_not_remembered(transport: Any, server: Server) -> None:
    for text, code in (("{ nothing }", "GRAPHQL_VALIDATION_FAILED"), ("{", "GRAPHQL_PARSE_FAILED")):
        answer = await ask(server, transport, by_hash(hash_of(text), query=text))
        assert set(codes(answer)) == {code}
        answer = await ask(server, transport, by_hash(hash_of(text)))
        assert codes(answer) == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
@pytest.mark.parametrize(
    "persisted_query",
    [
        {},
        {"version": 1},
        {"sha256Hash": UNKNOWN},
        {"version": 2, "sha256Hash": UNKNOWN},
        {"version": "1", "sha256Hash": UNKNOWN},
        {"version": 1, "sha256Hash": None},
        {"version": 1, "sha256Hash": 1},
        {"version": 1, "sha256Hash": ""},
        {"version": 1, "sha256Hash": UNKNOWN[1:]},
        {"version": 1, "sha256Hash": f"{UNKNOWN}\n"},
        {"version": 1, "sha256Hash": "A" * 64},
        {"version": 1, "sha256Hash": "\ud800" * 64},
    ],
    ids=ascii,
)
async def test_malformed_hash_is_refused(
    persisted_query: dict[str, Any], transport: Any, server: Server
) -> None:
    for others in ({}, {"query": "{ __typename }"}):
        payload = {"extensions": {"persistedQuery": persisted_query}, **others}
        assert codes(await ask(server, transport, payload)) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
@pytest.mark.parametrize("name", ["documentId", "doc_id"])
async def test_id_is_refused_without_trusted_documents(
    name: str, transport: Any, server: Server
) -> None:
    for payload in ({name: "1"}, {name: "1", "query": ""}, {name: "1", "query": "{ __typename }"}):
        answer = await ask(server, transport, payload)
        assert codes(answer) == ["PERSISTED_QUERY_NOT_SUPPORTED"]
        assert "no trusted documents" in answer["errors"][0]["message"]


async def test_mutation_by_hash_needs_post_as_well(server: Server, transactional_db: None) -> None:
    await User.objects.acreate(username="v")
    text = 'mutation { createItem(owner: "v") { state } }'
    await ask(server, ("POST", JSON), by_hash(hash_of(text), query=text))
    for method, accept in [*HTTP, *STREAMS]:
        answer = await ask(server, (method, accept), by_hash(hash_of(text)))
        assert answer["status"] == (200 if method == "POST" else 405)
    assert await Item.objects.acount() == 1 + 3


async def test_displaced_document_is_asked_for_again(start_server: StartServer) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true", GRAPHQL_MAX_CACHED_DOCUMENTS="2")
    texts = [f"query q{number} {{ __typename }}" for number in range(3)]
    for text in texts:
        await ask(server, ("POST", JSON), by_hash(hash_of(text), query=text))
    for text, is_known in zip(texts, (False, True, True), strict=True):
        answer = await ask(server, ("POST", JSON), by_hash(hash_of(text)))
        assert ("data" in answer) is is_known


async def test_subscriptions_by_hash_and_by_text_share_a_source(start_server: StartServer) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true", GRAPHQL_MAX_SOURCES="1")
    await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    text = "subscription followed { item { state } }"
    named = by_hash(hash_of(text))
    async with connect(server.websocket) as socket:
        for id_, payload in enumerate([{"query": text}, named | {"query": text}, named]):
            await socket.send(type="subscribe", id=str(id_), payload=payload)
            assert await socket.next() == {"item": {"state": "OPEN"}}
        async with streamed(server, named) as stream:
            assert '"OPEN"' in await anext(stream)
            await Item.objects.aupdate(state="DONE")
            assert '"DONE"' in await anext(stream)
        for _ in range(3):
            assert await socket.next() == {"item": {"state": "DONE"}}


@asynccontextmanager
async def streamed(server: Server, payload: dict[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
    """The data of an event stream."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        httpx.AsyncClient(headers={"accept": EVENT_STREAM}) as client,
        client.stream("POST", server.http, json=payload) as answer,
    ):
        yield (line async for line in answer.aiter_lines() if line.startswith("data: "))


TRUSTED = {
    "count": "query count($n: Int) { items(first: $n) { id } }",
    "follow": "subscription { countdown(from: 1) }",
}
OTHERS: dict[str, dict[str, Any]] = {
    "text": {"query": "{ __typename }"},
    "text in other words": {"query": f"{TRUSTED['count']} "},
    "no GraphQL": {"query": "{"},
    "introspection": {"query": get_introspection_query()},
    "subscription": {"query": "subscription { countdown(from: 2) }"},
    "id": {"documentId": "other"},
    "Relay's id": {"doc_id": "other"},
    "hash": by_hash(UNKNOWN),
    "hash with its text": by_hash(hash_of("{ __typename }"), query="{ __typename }"),
    "text beside an id": {"documentId": "count", "query": "{ __typename }"},
    "text beside a hash": by_hash(hash_of(TRUSTED["count"]), query="{ __typename }"),
}


@pytest.fixture(scope="module")
def trusted_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a file of trusted documents."""
    path = tmp_path_factory.mktemp("trusted") / "documents.json"
    path.write_text(json.dumps(TRUSTED))
    return str(path)


@pytest.fixture
def trusting_server(share_server: StartServer, trusted_file: str) -> Server:
    """A server that runs trusted documents only, although clients may ask what the schema is."""
    return share_server(
        Server,
        DEBUG="true",
        OPEN_ACCESS="true",
        GRAPHQL_INTROSPECTION="true",
        GRAPHQL_TRUSTED_DOCUMENTS=trusted_file,
    )


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
async def test_trusted_document_runs_by_each_name(transport: Any, trusting_server: Server) -> None:
    text = TRUSTED["count"]
    for named in (
        {"documentId": "count"},
        {"documentId": f"sha256:{hash_of(text)}"},
        {"doc_id": "count", "query": ""},
        by_hash(hash_of(text)),
        {"query": text},
    ):
        answer = await ask(trusting_server, transport, named | {"variables": {"n": 1}})
        assert answer["data"] == {"items": []}


@pytest.mark.parametrize("transport", [*STREAMS, *WEBSOCKETS], ids=str)
async def test_trusted_subscription_runs(transport: Any, trusting_server: Server) -> None:
    answer = await ask(trusting_server, transport, {"documentId": "follow", "query": ""})
    assert answer["data"] == {"countdown": 1}


@pytest.mark.parametrize("transport", TRANSPORTS, ids=str)
@pytest.mark.parametrize("name", OTHERS)
async def test_all_but_trusted_documents_is_refused(
    name: str, transport: Any, trusting_server: Server
) -> None:
    answer = await ask(trusting_server, transport, OTHERS[name])
    assert codes(answer) == ["QUERY_NOT_IN_SAFELIST"]
    assert "trusted documents only" in answer["errors"][0]["message"]
