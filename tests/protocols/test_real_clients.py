"""The clients that people use, each against a real server."""

import pytest
from django.contrib.auth.models import User

from tests.items.models import Item
from tests.protocols import node
from tests.server import Server

CLIENTS = {
    "graphql-ws": ["graphql-ws"],
    "graphql-sse": ["graphql-sse"],
    "subscriptions-transport-ws": ["subscriptions-transport-ws"],
    "apollo-websocketlink": ["apollo", "legacy"],
    "apollo-graphqlwslink": ["apollo", "graphql-ws"],
}


@pytest.fixture(scope="module", autouse=True)
def clients() -> None:
    """The installed clients."""
    node.install()


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_asks_changes_and_follows(client: str, server: Server) -> None:
    await User.objects.acreate(username="valentine")
    name, *arguments = CLIENTS[client]
    url = server.http if client == "graphql-sse" else server.websocket
    async with node.script(name, url, *arguments) as script:
        created = (await script.line())["created"]["createItem"]
        assert created["state"] == "OPEN"
        assert await script.line() == {
            "asked": {"items": [created | {"owner": {"username": "valentine"}}]}
        }
        assert "Cannot query field 'nothing'" in (await script.line())["refused"][0]
        assert "Cannot query field 'nothing'" in (await script.line())["refused"][0]
        assert await script.line() == {"next": {"item": {"state": "OPEN"}}}
        await Item.objects.filter(pk=created["id"]).aupdate(state="DONE")
        assert await script.line() == {"next": {"item": {"state": "DONE"}}}
        assert await script.line() == {"asked": {"items": [{"state": "DONE"}]}}
        assert await script.line() == {"closed": True}
        assert await script.end() == (0, "")


async def test_http_passes_the_audit_without_a_warning(server: Server) -> None:
    async with node.script("audit", server.http) as script:
        line = await script.line()
        assert line == {"audits": line.get("audits"), "faults": 0}
        assert line["audits"] > 50
        assert await script.end() == (0, "")
