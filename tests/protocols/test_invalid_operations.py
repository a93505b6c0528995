"""Documents and variables that make no sense, or too much of it: the same answer everywhere."""

import json
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from graphql import get_introspection_query

from tests.items.models import Item
from tests.protocols.raw import websocket
from tests.server import Server

INVALID = "GRAPHQL_VALIDATION_FAILED"
UNPARSED = "GRAPHQL_PARSE_FAILED"
INPUT = "BAD_USER_INPUT"

LARGE = "RESULT_TOO_LARGE"

ALIASES = "{ " + " ".join(f"a{i}: id" for i in range(100)) + " }"
BOMB = "".join(f"fragment f{i} on Query {{ ...f{i + 1} ...f{i + 1} }} " for i in range(90))

# What comes of a document before it is executed.
REFUSED: dict[str, tuple[str, str]] = {
    "empty": ("", UNPARSED),
    "blank": (" \n,\t", UNPARSED),
    "comment": ("# nothing", UNPARSED),
    "no GraphQL": ("SELECT 1", UNPARSED),
    "open brace": ("{", UNPARSED),
    "NUL": ("{ __typename \0 }", UNPARSED),
    "lone surrogate": ("{ \ud800 }", UNPARSED),
    "deep selections": ("{ a" * 450, UNPARSED),
    "deep list": ("{ items(first: " + "[" * 900, UNPARSED),
    "deep type": ("query ($a: " + "[" * 900, UNPARSED),
    "too many tokens": ("{ " + "__typename " * 1000 + "}", UNPARSED),
    "too many fields": ("{ items { " + "id " * 500 + "} }", INVALID),
    "too many aliases": (
        "{ ...f ...f } fragment f on Query { "
        + " ".join(f"a{i}: __typename" for i in range(251))
        + " }",
        INVALID,
    ),
    "too deep": ("{ a" * 21 + " }" * 21, INVALID),
    "fragment bomb": ("{ ...f0 } " + BOMB + "fragment f90 on Query { __typename }", INVALID),
    "fragment of itself": ("{ ...a } fragment a on Query { ...a }", INVALID),
    "fragments in a circle": (
        "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        INVALID,
    ),
    "unknown fragment": ("{ ...a }", INVALID),
    "unknown field": ("{ nothing }", INVALID),
    "very long name": ("{ " + "a" * 30_000 + " }", INVALID),
    "very long comment": ("{ __typename } #" + "a" * 32_768, UNPARSED),
    "fields of one name": ("{ items { " + "id " * 480 + "} }", INVALID),
    "large result": ("{ items(first: 200) { " + "id " * 50 + "} }", LARGE),
    "large result by default": (
        "{ a: items " + ALIASES + " b: items " + ALIASES + "}",
        LARGE,
    ),
    "large result in fragments": (
        "{ ...f } fragment f on Query { items(first: 200) { ...o } } "
        "fragment o on Item { ...p ... on Item { ...p } } fragment p on Item " + ALIASES,
        LARGE,
    ),
    "large introspection": (
        "{ __schema { a: types { fields { type " + ALIASES.replace("id", "name") + "} } "
        "b: types { fields { type " + ALIASES.replace("id", "name") + "} } } }",
        LARGE,
    ),
    "unknown argument": ("{ items(last: 1) { id } }", INVALID),
    "two root fields": ("subscription { item { id } items { id } }", INVALID),
    "fragments only": ("fragment a on Query { __typename }", INVALID),
    "type definition": ("type A { a: Int }", INVALID),
    "number of 5000 digits": ("{ items(first: " + "9" * 5000 + ") { id } }", INVALID),
    "introspection of introspection": (
        "{ __schema { types " + "{ fields { type " * 4 + "{ name" + "}" * 11,
        INVALID,
    ),
    "two anonymous operations": ("{ __typename } { __typename }", INVALID),
    "two operations": ("query a { __typename } query b { __typename }", INPUT),
}

# What comes of variables, and of arguments when a resolver looks at them.
WITH_VARIABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "text for a number": ("query ($n: Int) { items(first: $n) { id } }", {"n": "1"}),
    "huge number": ("query ($n: Int) { items(first: $n) { id } }", {"n": 10**4000}),
    "huge float": ("query ($n: Int) { items(first: $n) { id } }", {"n": 1e300}),
    "boolean for a number": ("query ($n: Int) { items(first: $n) { id } }", {"n": True}),
    "nested list": ("query ($n: Int) { items(first: $n) { id } }", {"n": [[[1]]]}),
    "deep object": (
        "query ($n: ID!) { item(id: $n) { id } }",
        {"n": json.loads('{"a":' * 40 + "1" + "}" * 40)},
    ),
    "missing": ("query ($n: ID!) { item(id: $n) { id } }", {}),
    "null": ("query ($n: ID!) { item(id: $n) { id } }", {"n": None}),
    "NUL in a key": ("query ($n: ID!) { item(id: $n) { id } }", {"n": "1\0"}),
    "surrogate in a key": ("query ($n: ID!) { item(id: $n) { id } }", {"n": "\ud800"}),
    "digits of elsewhere": ("query ($n: ID!) { item(id: $n) { id } }", {"n": "\u0661"}),
    "key beyond 64 bits": ("query ($n: ID!) { item(id: $n) { id } }", {"n": "9" * 19}),
    "key of 5000 digits": ("query ($n: ID!) { item(id: $n) { id } }", {"n": "9" * 5000}),
    "negative page": ("query ($n: Int) { items(first: $n) { id } }", {"n": -1}),
    "what the scalar refuses": (
        'mutation ($n: Name) { createItem(owner: "v", name: $n) { id } }',
        {"n": "x" * 41},
    ),
    "no such state": (
        "query ($s: State) { items(state: $s) { id } }",
        {"s": "DONE\0"},
    ),
    "surrogate in a text": (
        "mutation ($u: String) { createItem(owner: $u) { id } }",
        {"u": "\ud800"},
    ),
}


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A server that anybody may use; most of these tests write nothing that is to be wiped."""
    return shared_server


async def ask_by_websocket(server: Server, subprotocol: str, payload: dict[str, Any]) -> Any:
    """The errors of the answer; what follows them must be in order, too."""
    is_new = subprotocol == "graphql-transport-ws"
    async with websocket(server, subprotocol, is_ready=True) as connection:
        message = {"type": "subscribe" if is_new else "start", "id": "1", "payload": payload}
        await connection.send(json.dumps(message))
        answer = json.loads(await connection.recv())
        assert answer["id"] == "1"
        if answer["type"] == "error":
            return answer["payload"] if is_new else answer["payload"]["errors"]
        assert answer["type"] == ("next" if is_new else "data")
        assert json.loads(await connection.recv()) == {"type": "complete", "id": "1"}
        return answer["payload"]["errors"]


async def ask_by_http(
    server: Server, accept: str, payload: dict[str, Any]
) -> tuple[int, list[dict[str, Any]]]:
    """The status and the errors of the answer."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            server.http,
            content=json.dumps(payload),
            headers={"content-type": "application/json", "accept": accept},
        )
    assert answer.headers["content-type"].startswith(accept)
    text = answer.text
    if accept == "text/event-stream":
        text = text.removeprefix("event: next\ndata: ").removesuffix("event: complete\ndata:\n\n")
    return answer.status_code, json.loads(text)["errors"]


@pytest.mark.parametrize("name", REFUSED)
async def test_document_is_refused_everywhere(name: str, server: Server) -> None:
    document, code = REFUSED[name]
    payload = {"query": document}
    for subprotocol in ("graphql-transport-ws", "graphql-ws"):
        errors = await ask_by_websocket(server, subprotocol, payload)
        assert {error["extensions"]["code"] for error in errors} == {code}
    for accept, status in (
        ("application/json", 200),
        ("application/graphql-response+json", 400),
        ("text/event-stream", 200),
    ):
        got, errors = await ask_by_http(server, accept, payload)
        assert (got, {error["extensions"]["code"] for error in errors}) == (status, {code})


@pytest.mark.parametrize("name", WITH_VARIABLES)
async def test_value_is_refused_everywhere(name: str, server: Server) -> None:
    query, variables = WITH_VARIABLES[name]
    payload = {"query": query, "variables": variables}
    for subprotocol in ("graphql-transport-ws", "graphql-ws"):
        errors = await ask_by_websocket(server, subprotocol, payload)
        assert {error["extensions"]["code"] for error in errors} <= {INPUT, "NOT_FOUND"}
    for accept in (
        "application/json",
        "application/graphql-response+json",
        "text/event-stream",
    ):
        _, errors = await ask_by_http(server, accept, payload)
        assert {error["extensions"]["code"] for error in errors} <= {INPUT, "NOT_FOUND"}


@pytest.mark.parametrize(
    "variables", [{"n": 200}, {"n": 200.0}, {}, {"n": None, "other": 1}], ids=str
)
async def test_large_result_by_a_variable_is_refused(
    variables: dict[str, Any], server: Server
) -> None:
    query = (
        "query ($n: Int = 200) {"
        f" a: items(first: $n) {ALIASES} b: items(first: $n) {ALIASES} "
        f"c: items(first: $n) {ALIASES} }}"
    )
    payload = {"query": query, "variables": variables}
    (error,) = await ask_by_websocket(server, "graphql-transport-ws", payload)
    assert error["extensions"]["code"] == LARGE
    query = query.replace("200", "20")
    answer = await ask(server, query, {"n": 1})
    assert list(answer["data"]) == ["a", "b", "c"]


@pytest.mark.parametrize("query", [get_introspection_query(), get_introspection_query(
    descriptions=True, specified_by_url=True, directive_is_repeatable=True,
    schema_description=True, input_value_deprecation=True,
)])  # fmt: skip
async def test_introspection_of_tools_is_within_the_limits(query: str, server: Server) -> None:
    assert "errors" not in await ask(server, query, {})


async def ask(server: Server, query: str, variables: dict[str, Any]) -> Any:
    """The answer to a query that is in order."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(server.http, json={"query": query, "variables": variables})
    return answer.json()


async def test_one_source_too_many_is_refused(start_server: Any) -> None:
    server = start_server(OPEN_ACCESS="true", DEBUG="true", GRAPHQL_MAX_SOURCES="1")
    await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    payload = {"query": "subscription { item { state } }"}
    async with websocket(server, is_ready=True) as connection:

        async def subscribe(id_: str, payload: dict[str, Any]) -> Any:
            message = {"type": "subscribe", "id": id_, "payload": payload}
            await connection.send(json.dumps(message))
            return json.loads(await connection.recv())["payload"]

        first = await subscribe("1", payload)
        # An equal subscription needs no source of its own, whatever comes with it.
        assert await subscribe("2", payload | {"variables": {"undeclared": "x" * 1000}}) == first
        other = {"query": "subscription { item { id } }"}
        (error,) = await subscribe("3", other)
        assert error["extensions"]["code"] == "TOO_MANY_SOURCES"
        _, (error,) = await ask_by_http(server, "text/event-stream", other)
        assert error["extensions"]["code"] == "TOO_MANY_SOURCES"
        for id_ in ("1", "2"):
            await connection.send(json.dumps({"type": "complete", "id": id_}))
        assert list(await subscribe("3", other)) == ["data"]


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "\udfff\ud800"], ids=ascii)
async def test_text_that_no_database_keeps_finds_nobody(text: str, server: Server) -> None:
    query = "mutation ($u: String) { createItem(owner: $u) { id } }"
    payload = {"query": query, "variables": {"u": text}}
    errors = await ask_by_websocket(server, "graphql-transport-ws", payload)
    assert errors[0]["extensions"]["code"] in {INPUT, "NOT_FOUND"}
    # The connection to the database is as good as before.
    assert (await ask_by_http(server, "application/json", {"query": "{ item(id: 0) { id } }"}))[1][
        0
    ]["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("subprotocol", ["graphql-transport-ws", "graphql-ws"])
async def test_more_operations_than_allowed_are_refused_one_by_one(
    subprotocol: str, start_server: Any
) -> None:
    server = start_server(OPEN_ACCESS="true", DEBUG="true", GRAPHQL_MAX_OPERATIONS="2")
    await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    is_new = subprotocol == "graphql-transport-ws"
    start, stop = ("subscribe", "complete") if is_new else ("start", "stop")
    payload = {"query": "subscription { item { state } }"}
    async with websocket(server, subprotocol, is_ready=True) as connection:

        async def subscribe(id_: str) -> dict[str, Any]:
            await connection.send(json.dumps({"type": start, "id": id_, "payload": payload}))
            answer: dict[str, Any] = json.loads(await connection.recv())
            assert answer["id"] == id_
            return answer

        # Two ids for the same operation are two subscriptions.
        assert (await subscribe("1"))["payload"] == {"data": {"item": {"state": "OPEN"}}}
        assert (await subscribe("2"))["payload"] == {"data": {"item": {"state": "OPEN"}}}
        refusal = await subscribe("3")
        assert refusal["type"] == "error"
        errors = refusal["payload"] if is_new else refusal["payload"]["errors"]
        assert errors[0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        await Item.objects.aupdate(state="DONE")
        changed = [json.loads(await connection.recv()) for _ in range(2)]
        assert {each["id"] for each in changed} == {"1", "2"}
        await connection.send(json.dumps({"type": stop, "id": "1"}))
        assert (await subscribe("3"))["payload"] == {"data": {"item": {"state": "DONE"}}}
