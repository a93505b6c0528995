"""Tokens of the clients that people use, in `connection_init` and on open sockets."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from tests.authentication.provider import Provider, provider, token
from tests.authentication.test_jwt import TokenServer
from tests.conftest import StartServer
from tests.items.models import Item
from tests.items.owners import create_owners
from tests.protocols import node
from tests.server import Server
from tests.web.hashing import CountingHasher
from tests.web.test_sign_in import CountingServer

CLIENTS = ["graphql-ws", "apollo-3", "apollo-4", "urql", "subscriptions-transport-ws"]
PASSWORD = "right-passw0rd"
SIGN_IN = {
    "method": "POST",
    "headers": {"content-type": "application/json"},
    "body": json.dumps({"username": "ada", "password": PASSWORD}),
}


@pytest.fixture(scope="module", autouse=True)
def clients() -> None:
    """The installed clients."""
    node.install()


@pytest.fixture
def ada(transactional_db: None) -> User:
    """Somebody with an item; another has one, too."""
    return create_owners(CountingHasher().encode(PASSWORD, CountingHasher().salt()))


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """A running provider."""
    with provider() as running:
        yield running


@pytest.fixture
def identity(running: Provider) -> Provider:
    """The same, whose tokens are valid for a minute."""
    running.seconds = 60
    return running


@pytest.fixture
def server(share_server: StartServer, ada: User, identity: Provider) -> Server:
    """A server that takes its tokens."""
    return share_server(TokenServer, JWKS_URL=identity.url)


@pytest.mark.parametrize("client", CLIENTS)
async def test_revoked_client_comes_back_with_a_new_token(
    client: str, share_server: StartServer, ada: User
) -> None:
    server = share_server(CountingServer)
    url = f"http://127.0.0.1:{server.port}/token/"
    async with node.script("tokens", client, server.websocket, url, json.dumps(SIGN_IN)) as script:
        assert await script.line() == {"next": ["ada"]}
        await Session.objects.all().adelete()
        assert await script.line() == {"closed": [4403, "Forbidden: the viewer has changed"]}
        assert await script.line() == {"next": ["ada"]}
        await sync_to_async(ada.user_permissions.set)([])  # reviewed, and still the same
        await Item.objects.acreate(owner=ada)
        assert await script.line() == {"next": ["ada", "ada"]}


@pytest.mark.once
@pytest.mark.parametrize("client", CLIENTS)
async def test_client_whose_token_expires_comes_back_with_a_new_one(
    client: str, server: Server, identity: Provider
) -> None:
    identity.seconds = 3
    arguments = (client, server.websocket, identity.token_url, "{}")
    async with node.script("tokens", *arguments) as script:
        assert await script.line() == {"next": ["ada"]}
        identity.seconds = 60
        assert await script.line() == {"closed": [4403, "Forbidden: the session has expired"]}
        assert await script.line() == {"next": ["ada"]}


@pytest.mark.once
@pytest.mark.parametrize("client", CLIENTS)
async def test_client_with_a_wrong_token_gets_nothing(
    client: str, server: Server, identity: Provider
) -> None:
    identity.seconds = -60
    arguments = (client, server.websocket, identity.token_url, "{}")
    async with node.script("tokens", *arguments) as script:
        refused = {"closed": [4403, "Forbidden: The token has expired. Get a new one."]}
        for _ in range(2):
            assert await script.line() == refused
        if client == "subscriptions-transport-ws":
            return  # Refused twice, this client forgets what it was asked for.
        identity.seconds = 60
        while (line := await script.line()) == refused:
            pass
        assert line == {"next": ["ada"]}


@pytest.mark.once
async def test_ping_with_a_newer_token_keeps_the_connection(
    server: Server, identity: Provider, ada: User
) -> None:
    identity.seconds = 4
    arguments = ("graphql-ws", server.websocket, identity.token_url, "{}")
    async with node.script("tokens", *arguments) as script:
        assert await script.line() == {"next": ["ada"]}
        await script.tell({"Authorization": f"Bearer {token(seconds=8)}"})
        await script.tell({"latency": 7})  # says nothing of who it is
        await asyncio.sleep(6)
        await Item.objects.acreate(owner=ada)
        assert await script.line() == {"next": ["ada", "ada"]}
        await script.tell({"token": token()})
        await asyncio.sleep(4)
        await Item.objects.acreate(owner=ada)
        assert await script.line() == {"next": ["ada", "ada", "ada"]}


@pytest.mark.once
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"authorization": "Bearer of bob's"}, "the viewer has changed"),
        ({"authorization": "Bearer rubbish"}, "The token is not valid."),
        ({"authorization": 7}, 'A token comes as "Bearer TOKEN".'),
        ({"authorization": ""}, "the viewer has changed"),
        ({"token": None}, "the viewer has changed"),
    ],
)
async def test_ping_of_somebody_else_closes(
    payload: dict[str, object], reason: str, server: Server, identity: Provider
) -> None:
    if payload == {"authorization": "Bearer of bob's"}:
        payload = {"authorization": f"Bearer {token(sub='bob')}"}
    arguments = ("graphql-ws", server.websocket, identity.token_url, "{}")
    async with node.script("tokens", *arguments) as script:
        assert await script.line() == {"next": ["ada"]}
        await script.tell(payload)
        assert await script.line() == {"closed": [4403, f"Forbidden: {reason}"]}
        assert await script.line() == {"next": ["ada"]}
