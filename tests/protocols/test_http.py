"""GraphQL over HTTP and over server-sent events, to the letter, and what is refused."""

import asyncio
import json
from contextlib import suppress
from select import select
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clients import PATIENCE_SECONDS
from tests.items.models import Item
from tests.protocols.raw import read_to_end, tcp
from tests.server import Server

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
QUERY = '{"query":"{ __typename }"}'
ANSWER = {"data": {"__typename": "Query"}}


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A server that anybody may use; most of these tests write nothing that is to be wiped."""
    return shared_server


async def request(server: Server, method: str, **options: Any) -> httpx.Response:
    """One request; `headers` come on top of a JSON content type."""
    headers = {"content-type": JSON} | options.pop("headers", {})
    async with httpx.AsyncClient() as client:
        return await client.request(method, server.http, headers=headers, **options)


def code(answer: httpx.Response) -> str:
    """The `extensions.code` of the answer's one error."""
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (f"{JSON}; charset=utf-8", JSON),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}, {JSON};q=0.9", GRAPHQL_JSON),
        (f"{GRAPHQL_JSON};q=0.5, {JSON}", JSON),
        ("text/*", EVENT_STREAM),
        (f"{EVENT_STREAM};q=0.9", EVENT_STREAM),
        (f"text/html, {EVENT_STREAM}", EVENT_STREAM),
        ("image/png, */*;q=0.1", JSON),
    ],
)
async def test_accept_header_chooses_the_media_type(
    accept: str | None, answered: str, server: Server
) -> None:
    # httpx would send a header of its own.
    for method in ("POST", "GET"):
        body = QUERY if method == "POST" else ""
        url = "/graphql/" if method == "POST" else "/graphql/?query=%7B__typename%7D"
        lines = [
            f"{method} {url} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Type: {JSON}",
            f"Content-Length: {len(body)}",
            *([] if accept is None else [f"Accept: {accept}"]),
        ]
        with tcp(server) as connection:
            connection.sendall("\r\n".join([*lines, "", body]).encode())
            received = await asyncio.to_thread(read_to_end, connection)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert f"\r\ncontent-type: {answered}".encode() in received


@pytest.mark.parametrize(
    "accept", ["image/png", "text/plain", "application/xml;q=0.9", f"{JSON};q=0", "nonsense"]
)
async def test_nothing_acceptable_is_406(accept: str, server: Server) -> None:
    answer = await request(server, "POST", content=QUERY, headers={"accept": accept})
    assert answer.status_code == 406
    assert GRAPHQL_JSON in answer.json()["errors"][0]["message"]
    assert code(answer) == "NOT_ACCEPTABLE"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/graphql+json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json;",
        "text/json",
        "json",
    ],
)
async def test_what_a_foreign_page_could_send_is_415(content_type: str, server: Server) -> None:
    headers = {"content-type": content_type}
    answer = await request(server, "POST", content=QUERY, headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["errors"][0]["message"]
    is_upload = content_type.startswith("multipart/")
    assert code(answer) == ("UPLOADS_NOT_SUPPORTED" if is_upload else "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type", [JSON, "APPLICATION/JSON", f"{JSON}; charset=UTF-8", f'{JSON};charset="utf-8"']
)
async def test_json_in_utf8_is_read(content_type: str, server: Server) -> None:
    headers = {"content-type": content_type}
    answer = await request(server, "POST", content=QUERY, headers=headers)
    assert (answer.status_code, answer.json()) == (200, ANSWER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[" + QUERY.encode() + b"]",
        b'"{ __typename }"',
        b"{}",
        b'{"query":null}',
        b'{"query":1}',
        b'{"query":{}}',
        b'{"query":"{ __typename }","variables":[]}',
        b'{"query":"{ __typename }","variables":"{}"}',
        b'{"query":"{ __typename }","operationName":1}',
        b'{"query":"{ __typename }","extensions":[]}',
        b'{"extensions":{"persistedQuery":[]}}',
        b'{"extensions":{}}',
        b'{"documentId":1}',
        b'{"doc_id":{}}',
        b'{"query":"{ __typename }","variables":{"a":NaN}}',
        b'{"query":"{ __typename }","variables":{"a":1e999}}',
        b'{"query":"{ __typename }","variables":{"a":' + b"9" * 5000 + b"}}",
        b'{"query":"{ __typename }","variables":{"a":' + b"[" * 100_000,
        b'{"query":"{ __typename }","variables":' + b'{"a":' * 300 + b"1" + b"}" * 301,
        b'{"query":"\xff"}',
        b'{"query":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf" + QUERY.encode(),
        QUERY.encode("utf-16"),
        bytes(range(256)),
    ],
    ids=lambda body: repr(body[:48]),
)
async def test_malformed_request_is_400(body: bytes, server: Server) -> None:
    for accept in (JSON, GRAPHQL_JSON, EVENT_STREAM):
        answer = await request(server, "POST", content=body, headers={"accept": accept})
        assert answer.status_code == 400
        assert len(answer.json()["errors"]) == 1
        is_batch = body.startswith(b"[")
        assert code(answer) == ("BATCHING_NOT_SUPPORTED" if is_batch else "BAD_REQUEST")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_405(method: str, server: Server) -> None:
    answer = await request(server, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert code(answer) == "METHOD_NOT_ALLOWED"
    # What graphql-sse needs to hear, which reserves a stream by PUT.
    assert "singleConnection: false" in answer.json()["errors"][0]["message"]


async def test_mutation_by_get_is_405_and_does_nothing(
    server: Server, transactional_db: None
) -> None:
    await User.objects.acreate(username="v")
    query = 'mutation { createItem(owner: "v") { id } }'
    for accept in (JSON, GRAPHQL_JSON, EVENT_STREAM):
        answer = await request(server, "GET", params={"query": query}, headers={"accept": accept})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert code(answer) == "METHOD_NOT_ALLOWED"
    assert not await Item.objects.aexists()


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_JSON, EVENT_STREAM])
@pytest.mark.parametrize("query", ["{ __typename }", "subscription { item { id } }"])
async def test_head_has_no_body_and_an_end(accept: str, query: str, server: Server) -> None:
    headers = {"accept": accept}
    answer = await request(server, "HEAD", params={"query": query}, headers=headers)
    assert answer.content == b""
    assert answer.headers["content-type"].startswith(accept)


async def test_query_by_get_has_variables_in_json(server: Server) -> None:
    params = {
        "query": "query a($n: Int) { items(first: $n) { id } } query b { __typename }",
        "operationName": "a",
        "variables": '{"n":1}',
    }
    answer = await request(server, "GET", params=params)
    assert answer.json() == {"data": {"items": []}}
    answer = await request(server, "GET", params=params | {"variables": "", "operationName": "b"})
    assert answer.json() == ANSWER


@pytest.mark.parametrize(
    "params",
    [
        {"variables": "{}"},
        {"query": "{ __typename }", "variables": "{"},
        {"query": "{ __typename }", "variables": "[]"},
        {"query": "{ __typename }", "extensions": "1"},
    ],
)
async def test_malformed_query_string_is_400(params: dict[str, str], server: Server) -> None:
    answer = await request(server, "GET", params=params)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")


async def test_body_too_big_is_413(server: Server) -> None:
    answer = await request(server, "POST", content=QUERY + " " * 262_144)
    assert (answer.status_code, code(answer)) == (413, "CONTENT_TOO_LARGE")


async def test_body_without_an_end_is_413_and_read_no_further(server: Server) -> None:
    head = (
        f"POST /graphql/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        f"Content-Length: {1 << 40}\r\n\r\n"
    )

    def send() -> bytes:
        with tcp(server) as connection:
            connection.sendall(head.encode())
            with suppress(ConnectionError):
                while True:  # until the server closes
                    connection.sendall(b" " * 65536)
                    if select([connection], [], [], 0)[0]:
                        return connection.recv(65536)
        return b""

    # The reset that comes of sending on may overtake the answer.
    assert (await asyncio.to_thread(send))[:13] in (b"HTTP/1.1 413 ", b"")


async def test_body_of_the_greatest_size_is_read(server: Server) -> None:
    answer = await request(server, "POST", content=QUERY + " " * (262_144 - len(QUERY)))
    assert answer.json() == ANSWER


async def test_query_string_too_long_is_414(start_server: Any) -> None:
    server = start_server(GRAPHQL_MAX_MESSAGE_BYTES="1000")
    answer = await request(server, "GET", params={"query": "{ __typename }", "x": "x" * 1000})
    assert (answer.status_code, code(answer)) == (414, "URI_TOO_LONG")


@pytest.mark.parametrize("host", ["evil.example", "", "a b", "[::1", "localhost@evil", "\u00e9"])
async def test_foreign_host_is_400(host: str, server: Server) -> None:
    with tcp(server) as connection:
        head = (
            f"POST /graphql/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Content-Type: {JSON}\r\nContent-Length: {len(QUERY)}\r\n\r\n"
        )
        connection.sendall(head.encode("latin-1") + QUERY.encode())
        received = await asyncio.to_thread(read_to_end, connection)
    assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://[", "http://", "\u00e9", "file://"]
)
async def test_foreign_origin_cannot_open_a_websocket(origin: str, server: Server) -> None:
    with tcp(server) as connection:
        head = (
            f"GET /graphql/ HTTP/1.1\r\nHost: localhost:{server.port}\r\nOrigin: {origin}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )
        connection.sendall(head.encode("latin-1"))
        received = await asyncio.to_thread(read_to_end, connection)
    assert received.startswith(b"HTTP/1.1 403 ")


async def test_subscription_without_a_stream_is_refused(server: Server) -> None:
    body = '{"query":"subscription { item { id } }"}'
    for accept, status in ((JSON, 200), (GRAPHQL_JSON, 400)):
        answer = await request(server, "POST", content=body, headers={"accept": accept})
        assert answer.status_code == status
        assert EVENT_STREAM in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_event_stream_follows_changes(
    method: str, server: Server, transactional_db: None
) -> None:
    user = await User.objects.acreate(username="v")
    item = await Item.objects.acreate(owner=user)
    query = "subscription { item { state } }"
    content = {"json": {"query": query}} if method == "POST" else {"params": {"query": query}}
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        httpx.AsyncClient(headers={"accept": EVENT_STREAM}) as client,
        client.stream(method, server.http, **content) as stream,  # type: ignore[arg-type]
    ):
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        lines = stream.aiter_lines()
        for state in ("OPEN", "DONE"):
            await Item.objects.filter(pk=item.pk).aupdate(state=state)
            assert await anext(lines) == "event: next"
            result = json.dumps({"data": {"item": {"state": state}}}, separators=(",", ":"))
            assert await anext(lines) == f"data: {result}"
            assert await anext(lines) == ""


async def test_quiet_event_stream_is_kept_alive(start_server: Any) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true", GRAPHQL_PING_SECONDS="0.1")
    query = {"query": "subscription { item { id } }"}
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        httpx.AsyncClient(headers={"accept": EVENT_STREAM}) as client,
        client.stream("POST", server.http, json=query) as stream,
    ):
        comments = (line async for line in stream.aiter_lines() if line.startswith(":"))
        assert [await anext(comments), await anext(comments)] == [":", ":"]


HEADER = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40)
ACCEPT = HEADER | st.lists(
    st.sampled_from([JSON, GRAPHQL_JSON, EVENT_STREAM, "*/*", "text/*", "q=", ";", "q=a", "a/b"])
).map(", ".join)


def test_any_request_has_an_answer(server: Server) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(["GET", "POST", "HEAD"]),
        ACCEPT,
        HEADER | st.just(JSON),
        HEADER,
        st.binary(max_size=60) | st.just(QUERY.encode()),
    )
    def check(method: str, accept: str, content_type: str, cookie: str, body: bytes) -> None:
        head = (
            f"{method} /graphql/?query=%7B__typename%7D HTTP/1.1\r\nHost: localhost\r\n"
            f"Connection: close\r\nAccept: {accept}\r\nContent-Type: {content_type}\r\n"
            f"Cookie: sessionid={cookie}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with tcp(server) as connection:
            connection.sendall(head.encode("latin-1") + body)
            received = read_to_end(connection)
        assert received.split(b" ", 2)[1] in {b"200", b"400", b"401", b"406", b"415"}, received

    check()
