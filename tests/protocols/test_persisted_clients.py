"""Clients that name documents by their hashes and ids, each against a real server."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols import node

pytestmark = pytest.mark.once

BY_TEXT = {"query": True, "hash": True, "id": None}
BY_HASH = {"query": False, "hash": True, "id": None}
FIRST = {"items": [{"state": "OPEN"}]}


@pytest.fixture(scope="module", autouse=True)
def clients() -> None:
    """The installed clients."""
    node.install()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("version", ["3", "4"])
async def test_apollo_sends_a_text_once_and_then_its_hash(
    version: str, method: str, start_server: StartServer
) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    await Item.objects.acreate(owner=await User.objects.acreate(username="valentine"))
    async with node.script("persisted-apollo", server.http, version, method) as script:
        assert await script.line() == {"sent": {"method": method, **BY_HASH}}
        assert await script.line() == {"sent": {"method": "POST", **BY_TEXT}}
        assert await script.line() == {"asked": FIRST}
        # The same document with another variable.
        assert await script.line() == {"sent": {"method": method, **BY_HASH}}
        assert await script.line() == {"asked": FIRST}
        # What is not valid is told, not asked for again and again.
        assert await script.line() == {"sent": {"method": method, **BY_HASH}}
        assert await script.line() == {"sent": {"method": "POST", **BY_TEXT}}
        assert await script.line() == {"refused": ["GRAPHQL_VALIDATION_FAILED"]}
        assert await script.line() == {"sent": {"method": "POST", **BY_HASH}}
        assert await script.line() == {"sent": {"method": "POST", **BY_TEXT}}
        assert await script.line() == {"changed": {"createItem": {"state": "OPEN"}}}
        assert await script.end() == (0, "")
    assert await Item.objects.acount() == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_urql_sends_a_text_once_and_then_its_hash(
    method: str, start_server: StartServer
) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    await Item.objects.acreate(owner=await User.objects.acreate(username="valentine"))
    arguments = (server.http, server.websocket, method)
    async with node.script("persisted-urql", *arguments) as script:
        for sent in (BY_HASH, BY_TEXT):
            assert await script.line() == {"sent": {"method": method, **sent}}
        assert await script.line() == {"asked": FIRST}
        # The same document with another variable.
        assert await script.line() == {"sent": {"method": method, **BY_HASH}}
        assert await script.line() == {"asked": FIRST}
        for sent in (BY_HASH, BY_TEXT):
            assert await script.line() == {"sent": {"method": method, **sent}}
        assert await script.line() == {"refused": ["GRAPHQL_VALIDATION_FAILED"]}
        for sent in (BY_HASH, BY_TEXT):
            assert await script.line() == {"sent": {"method": "POST", **sent}}
        assert await script.line() == {"changed": {"createItem": {"state": "OPEN"}}}
        for sent in (BY_HASH, BY_TEXT):
            assert await script.line() == {"subscribed": sent}
        assert await script.line() == {"next": {"countdown": 1}}
        assert await script.line() == {"subscribed": BY_HASH}
        assert await script.line() == {"next": {"countdown": 2}}
        assert await script.end() == (0, "")


@pytest.mark.parametrize("version", ["3", "4"])
async def test_batches_of_apollo_are_refused_with_a_code(
    version: str, start_server: StartServer
) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    async with node.script("batch", server.http, version) as script:
        for _ in range(2):
            assert await script.line() == {"refused": ["BATCHING_NOT_SUPPORTED"]}
        assert await script.end() == (0, "")


async def test_relay_asks_by_the_ids_of_trusted_documents(
    start_server: StartServer, tmp_path: Path
) -> None:
    trusted = tmp_path / "queries.json"
    query, subscription = "{ items { id state } }", "subscription { item { id state } }"
    trusted.write_text(json.dumps({"query-id": query, "subscription-id": subscription}))
    server = start_server(DEBUG="true", OPEN_ACCESS="true", GRAPHQL_TRUSTED_DOCUMENTS=str(trusted))
    await Item.objects.acreate(owner=await User.objects.acreate(username="valentine"))
    ids = ("query-id", "subscription-id", "unknown-id")
    async with node.script("relay", server.http, server.websocket, *ids) as script:
        sent = {"method": "POST", "query": False, "hash": False}
        assert await script.line() == {"sent": {**sent, "id": "query-id"}}
        assert await script.line() == {"asked": ["OPEN"]}
        assert await script.line() == {"sent": {**sent, "id": "unknown-id"}}
        assert await script.line() == {"refused": ["QUERY_NOT_IN_SAFELIST"]}
        assert await script.line() == {"next": "OPEN"}
        assert await script.end() == (0, "")
