"""Whatever a WebSocket client sends has a fixed answer, and never a traceback."""

import asyncio
import json
from typing import Any

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import StartServer
from tests.protocols.raw import INIT, closing, websocket
from tests.server import Server

pytestmark = pytest.mark.once

BOTH = ("graphql-transport-ws", "graphql-ws")
SUBSCRIBE = {"graphql-transport-ws": "subscribe", "graphql-ws": "start"}
STOP = {"graphql-transport-ws": "complete", "graphql-ws": "stop"}
QUERY = {"query": "{ __typename }"}

# Whatever the subprotocol, and acknowledged or not.
MALFORMED: dict[str, str | bytes] = {
    "nothing": "",
    "no json": "connection_init",
    "half an object": '{"type":"connection_init"',
    "two objects": INIT + INIT,
    "byte item mark": "\ufeff" + INIT,
    "comment": INIT + "// hello",
    "single quotes": "{'type':'connection_init'}",
    "list": f"[{INIT}]",
    "null": "null",
    "number": "1",
    "text": '"connection_init"',
    "boolean": "true",
    "binary": INIT.encode(),
    "binary rubbish": bytes(range(256)),
    "no type": "{}",
    "null type": '{"type":null}',
    "number as type": '{"type":1}',
    "list as type": '{"type":["ping"]}',
    "object as type": '{"type":{}}',
    "unknown type": '{"type":"hello"}',
    "type of the server": '{"type":"connection_ack"}',
    "type with NUL": '{"type":"ping\\u0000"}',
    "type in capitals": '{"type":"PING"}',
    "lone surrogate as type": '{"type":"\\ud800"}',
    "very long type": json.dumps({"type": "x" * 10_000}),
    "not a number": '{"type":"connection_init","payload":{"a":NaN}}',
    "infinite number": '{"type":"connection_init","payload":{"a":1e999}}',
    "number of 5000 digits": '{"type":"connection_init","payload":{"a":' + "9" * 5000 + "}}",
    "deeply nested list": '{"type":"connection_init","payload":{"a":' + "[" * 90_000,
    "deeply nested, closed": '{"type":"connection_init","payload":'
    + '{"a":' * 500
    + "1"
    + "}" * 501,
    "too deep by one": '{"type":"connection_init","payload":{"a":' + "[" * 63 + "]" * 63 + "}}",
    "payload of text": '{"type":"connection_init","payload":"text"}',
    "payload of list": '{"type":"connection_init","payload":[]}',
    "payload of number": '{"type":"connection_init","payload":0}',
    "payload of boolean": '{"type":"connection_init","payload":false}',
}

# What a subscribe message must not be, after the connection is acknowledged.
MALFORMED_SUBSCRIBE: dict[str, dict[str, Any]] = {
    "no id": {"payload": QUERY},
    "null id": {"id": None, "payload": QUERY},
    "number as id": {"id": 1, "payload": QUERY},
    "empty id": {"id": "", "payload": QUERY},
    "list as id": {"id": ["1"], "payload": QUERY},
    "long id": {"id": "x" * 257, "payload": QUERY},
    "no payload": {"id": "1"},
    "null payload": {"id": "1", "payload": None},
    "list as payload": {"id": "1", "payload": [QUERY]},
    "text as payload": {"id": "1", "payload": "{ __typename }"},
    "no query": {"id": "1", "payload": {}},
    "null query": {"id": "1", "payload": {"query": None}},
    "number as query": {"id": "1", "payload": {"query": 1}},
    "object as query": {"id": "1", "payload": {"query": {"kind": "Document"}}},
    "number as operationName": {"id": "1", "payload": QUERY | {"operationName": 1}},
    "list as variables": {"id": "1", "payload": QUERY | {"variables": []}},
    "text as variables": {"id": "1", "payload": QUERY | {"variables": "{}"}},
    "list as extensions": {"id": "1", "payload": QUERY | {"extensions": []}},
}


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A server that anybody may use; most of these tests write nothing that is to be wiped."""
    return shared_server


@pytest.mark.parametrize("is_ready", [False, True], ids=["new", "acknowledged"])
@pytest.mark.parametrize("subprotocol", BOTH)
async def test_malformed_message_closes_with_4400(
    subprotocol: str, is_ready: bool, server: Server
) -> None:
    for name, message in MALFORMED.items():
        async with websocket(server, subprotocol, is_ready=is_ready) as connection:
            await connection.send(message)
            code, reason = await closing(connection)
            assert (name, code) == (name, 4400)
            assert reason.startswith("Invalid message: "), name


@pytest.mark.parametrize("subprotocol", BOTH)
async def test_malformed_subscribe_closes_with_4400(subprotocol: str, server: Server) -> None:
    for name, message in MALFORMED_SUBSCRIBE.items():
        async with websocket(server, subprotocol, is_ready=True) as connection:
            await connection.send(json.dumps({"type": SUBSCRIBE[subprotocol], **message}))
            code, reason = await closing(connection)
            assert (name, code) == (name, 4400)
            assert reason.startswith("Invalid message: "), name


@pytest.mark.parametrize("subprotocol", BOTH)
@pytest.mark.parametrize("id_", [None, "", 1, [], {}, "x" * 257], ids=repr)
async def test_ending_without_an_id_closes_with_4400(
    subprotocol: str, id_: object, server: Server
) -> None:
    async with websocket(server, subprotocol, is_ready=True) as connection:
        await connection.send(json.dumps({"type": STOP[subprotocol], "id": id_}))
        assert (await closing(connection))[0] == 4400


@pytest.mark.parametrize("type_", ["ping", "pong"])
@pytest.mark.parametrize("payload", ["text", 1, [], True], ids=repr)
async def test_ping_and_pong_carry_objects_only(type_: str, payload: Any, server: Server) -> None:
    async with websocket(server) as connection:
        await connection.send(json.dumps({"type": type_, "payload": payload}))
        assert (await closing(connection))[0] == 4400


@pytest.mark.parametrize("type_", ["ping", "pong", "subscribe", "complete", "next"])
async def test_legacy_protocol_does_not_know_the_other_ones_words(
    type_: str, server: Server
) -> None:
    async with websocket(server, "graphql-ws", is_ready=True) as connection:
        await connection.send(json.dumps({"type": type_, "id": "1", "payload": QUERY}))
        assert (await closing(connection))[0] == 4400


@pytest.mark.parametrize("type_", ["start", "stop", "connection_terminate", "ka", "data"])
async def test_new_protocol_does_not_know_the_legacy_ones_words(type_: str, server: Server) -> None:
    async with websocket(server, is_ready=True) as connection:
        await connection.send(json.dumps({"type": type_, "id": "1", "payload": QUERY}))
        assert (await closing(connection))[0] == 4400


@pytest.mark.parametrize("subprotocol", BOTH)
async def test_subscribing_before_the_acknowledgement_closes_with_4401(
    subprotocol: str, server: Server
) -> None:
    async with websocket(server, subprotocol) as connection:
        message = {"type": SUBSCRIBE[subprotocol], "id": "1", "payload": QUERY}
        await connection.send(json.dumps(message))
        assert await closing(connection) == (4401, "Unauthorized")


@pytest.mark.parametrize("subprotocol", BOTH)
async def test_second_initialisation_closes_with_4429(subprotocol: str, server: Server) -> None:
    async with websocket(server, subprotocol, is_ready=True) as connection:
        await connection.send(INIT)
        assert await closing(connection) == (4429, "Too many initialisation requests")


async def test_id_in_use_closes_with_4409(server: Server) -> None:
    async with websocket(server, is_ready=True) as connection:
        payload = {"query": "subscription { item { id } }"}
        message = json.dumps({"type": "subscribe", "id": "one", "payload": payload})
        await connection.send(message)
        await connection.recv()
        await connection.send(message)
        assert await closing(connection) == (4409, "Subscriber for one already exists")


async def test_reason_is_cut_to_what_a_close_frame_holds(server: Server) -> None:
    async with websocket(server, is_ready=True) as connection:
        payload = {"query": "subscription { item { id } }"}
        message = json.dumps({"type": "subscribe", "id": "é\ud800" * 128, "payload": payload})
        await connection.send(message)
        await connection.recv()
        await connection.send(message)
        code, reason = await closing(connection)
        assert (code, len(reason)) == (4409, 123)


@pytest.mark.parametrize("offered", [[], ["mqtt"], ["graphql-transport-ws2", "GRAPHQL-WS"]])
async def test_unknown_subprotocol_closes_with_4406(offered: list[Any], server: Server) -> None:
    async with websockets.connect(server.websocket, subprotocols=offered or None) as connection:
        assert await closing(connection) == (4406, "Subprotocol not acceptable")


class Lenient(Server):
    """A server that leaves it to the application how large a message may be."""

    arguments = ("--ws-max-size", "16777216")


@pytest.mark.parametrize("subprotocol", BOTH)
async def test_message_too_big_closes_with_1009(
    subprotocol: str, share_server: StartServer
) -> None:
    server = share_server(Lenient, DEBUG="true", OPEN_ACCESS="true")
    for text in ("x" * 262_145, "é" * 131_073):
        async with websocket(server, subprotocol, is_ready=True) as connection:
            await connection.send(text)
            code, reason = await closing(connection)
            assert (code, reason) == (1009, "Message too big: it may have 262144 bytes")


@pytest.mark.parametrize("subprotocol", BOTH)
async def test_message_of_the_greatest_size_is_read(subprotocol: str, server: Server) -> None:
    async with websocket(server, subprotocol, is_ready=True) as connection:
        message = {"type": SUBSCRIBE[subprotocol], "id": "1", "payload": QUERY}
        text = json.dumps(message)
        await connection.send(text + " " * (262_144 - len(text)))
        answer = json.loads(await connection.recv())
        assert answer["payload"] == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("subprotocol", BOTH)
async def test_ending_what_does_not_run_is_ignored(subprotocol: str, server: Server) -> None:
    async with websocket(server, subprotocol, is_ready=True) as connection:
        await connection.send(json.dumps({"type": STOP[subprotocol], "id": "unknown"}))
        message = {"type": SUBSCRIBE[subprotocol], "id": "1", "payload": QUERY}
        await connection.send(json.dumps(message))
        assert json.loads(await connection.recv())["id"] == "1"


async def test_ping_is_answered_at_any_time_with_its_payload(server: Server) -> None:
    async with websocket(server) as connection:
        for payload in (None, {}, {"a": [1, "\ud800", "\0", 1.5, None]}):
            await connection.send(json.dumps({"type": "ping", "payload": payload}))
            answer = json.loads(await connection.recv())
            assert answer == {"type": "pong"} | ({} if payload is None else {"payload": payload})
        await connection.send('{"type":"pong"}')
        await connection.send(INIT)
        assert json.loads(await connection.recv()) == {"type": "connection_ack"}


@pytest.mark.parametrize("subprotocol", BOTH)
@pytest.mark.parametrize("id_", ["\0", "\ud800", '"}', "é" * 256, " ", "1\n2"], ids=ascii)
async def test_any_text_is_an_id(subprotocol: str, id_: str, server: Server) -> None:
    async with websocket(server, subprotocol, is_ready=True) as connection:
        message = {"type": SUBSCRIBE[subprotocol], "id": id_, "payload": QUERY}
        for _ in range(2):
            await connection.send(json.dumps(message))
            assert json.loads(await connection.recv())["id"] == id_
            assert json.loads(await connection.recv()) == {"type": "complete", "id": id_}


async def test_unfinished_initialisation_closes_with_4408(start_server: Any) -> None:
    server = start_server(GRAPHQL_CONNECTION_INIT_SECONDS="0.1", GRAPHQL_PING_SECONDS="1000")
    async with asyncio.TaskGroup() as group:
        for subprotocol in BOTH:
            group.create_task(_expect_4408(server, subprotocol))


async def _expect_4408(server: Server, subprotocol: str) -> None:
    async with websocket(server, subprotocol) as connection:
        if subprotocol == BOTH[0]:
            await connection.send('{"type":"ping"}')  # is no initialisation
        assert await closing(connection) == (4408, "Connection initialisation timeout")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
TYPES = st.sampled_from(
    ["connection_init", "subscribe", "start", "complete", "stop", "ping", "pong", "connection_ack"]
)
PAYLOADS = st.fixed_dictionaries(
    {"query": st.sampled_from(["{ __typename }", "subscription { item { id } }", "{", ""])},
    optional={"operationName": JSON, "variables": JSON, "extensions": JSON},
)
MESSAGES = (
    st.fixed_dictionaries(
        {"type": TYPES},
        optional={"id": st.sampled_from(["1", "2", "", 1]) | JSON, "payload": PAYLOADS | JSON},
    ).map(json.dumps)
    | JSON.map(json.dumps)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
)
CODES = {1000, 1009, 4400, 4401, 4409, 4429}


@pytest.mark.parametrize("subprotocol", BOTH)
def test_any_messages_end_with_an_answer_or_a_known_code(subprotocol: str, server: Server) -> None:
    async def send(messages: list[str | bytes], is_ready: bool) -> None:
        async with websocket(server, subprotocol, is_ready=is_ready) as connection:
            try:
                for message in messages:
                    await connection.send(message)
            except websockets.ConnectionClosed:
                pass
            else:
                # One of them closes it, or the second of these does.
                await connection.send(INIT)
                await connection.send(INIT)
            code, _ = await closing(connection)
            assert code in CODES

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(MESSAGES, max_size=8), st.booleans())
    def check(messages: list[str | bytes], is_ready: bool) -> None:
        asyncio.run(send(messages, is_ready))

    check()
