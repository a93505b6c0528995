"""Access tokens of an identity provider, with its keys from a real server."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from starlette.datastructures import Headers

from app.authentication import jwks
from app.authentication import jwt as module
from app.authentication.jwt import MAX_TOKEN_CHARACTERS, JWTSessions
from app.viewer import (
    Authenticate,
    Credentials,
    InvalidCredentialError,
    Session,
    UnknownViewerError,
    anonymous_session,
)
from tests.authentication.provider import (
    AUDIENCE,
    ISSUER,
    Provider,
    jwk,
    private_key,
    provider,
    token,
)
from tests.clients import connect
from tests.conftest import StartServer
from tests.items.owners import create_owners
from tests.protocols.raw import closing, websocket
from tests.server import Server

ITEMS = "{ items { owner { username } } }"
MINE = {"items": [{"owner": {"username": "ada"}}]}


@pytest.fixture
def identity() -> Iterator[Provider]:
    """A running provider with the key "one"."""
    with provider() as running:
        yield running


def hook(url: str, **changes: Any) -> JWTSessions:
    """The hook under test; the viewer is the claim `sub`."""

    def session(claims: Mapping[str, Any]) -> Session:
        return Session(claims["sub"], claims["sub"])

    arguments = {"issuer": ISSUER, "audience": AUDIENCE, "session": session, **changes}
    return JWTSessions(jwks_url=url, **arguments)


def shown(text: str) -> Credentials:
    """Credentials with a token."""
    return Credentials(Headers({"authorization": f"Bearer {text}"}), "127.0.0.1")


async def reason(sessions: Authenticate, text: str) -> str:
    """Why a token is refused."""
    with pytest.raises(InvalidCredentialError) as caught:
        await sessions(shown(text))
    message = str(caught.value)
    assert caught.value.headers == {
        "WWW-Authenticate": f'Bearer error="invalid_token", error_description="{message}"'
    }
    return message


@pytest.mark.once
async def test_token_tells_who_asks_until_it_expires(identity: Provider) -> None:
    identity.keys = [jwk("one"), jwk("EC", alg="ES256", use="sig")]
    async with hook(identity.url) as sessions:
        for text in (
            token(),
            token("EC"),
            token(headers={"alg": "PS256"}),
            token(aud=["x", AUDIENCE]),
        ):
            session = await sessions(shown(text))
            assert (session.viewer, session.user) == ("ada", "ada")
            assert (
                session.expires_at == jwt.decode(text, options={"verify_signature": False})["exp"]
            )
            assert await sessions(shown(text)) == session
        short = token(seconds=1)
        assert (await sessions(shown(short))).viewer == "ada"
        await asyncio.sleep(1.1)
        assert await reason(sessions, short) == "The token has expired. Get a new one."
    assert identity.asked == 1


@pytest.mark.once
async def test_session_may_end_earlier_and_be_found_asynchronously(identity: Provider) -> None:
    async def session(claims: Mapping[str, Any]) -> Session:
        with pytest.raises(TypeError):
            claims["sub"] = "eve"  # type: ignore[index]
        return Session(claims["sub"], expires_at=7)

    async with hook(identity.url, session=session) as sessions:
        assert await sessions(shown(token())) == Session("ada", expires_at=7)


@pytest.mark.once
async def test_without_a_token_somebody_else_is_asked(identity: Provider) -> None:
    nothing = Credentials(Headers({"cookie": "sessionid=x"}), "127.0.0.1")
    async with hook(identity.url) as sessions:
        assert await sessions(nothing) == anonymous_session()

    async def guest(_: Credentials) -> Session:
        return Session("guest")

    async with hook(identity.url, otherwise=guest) as sessions:
        assert await sessions(nothing) == Session("guest")
        await reason(sessions, "rubbish")


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> bytes:
    """What is signed of a token."""
    parts = [json.dumps(each).encode() for each in (header, claims)]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def signed_by_the_public_key() -> str:
    """The classic: HS256 with the public key, which everybody knows, as the secret."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    public = private_key("one").public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = unsigned({"alg": "HS256", "kid": "one"}, claims)
    signature = hmac.digest(secret, text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def without_signature(algorithm: str) -> str:
    """A token that says it needs none."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    return unsigned({"alg": algorithm, "kid": "one"}, claims).decode() + "."


def changed() -> str:
    """A token with claims that were not signed."""
    head, _, signature = token().split(".")
    claims = unsigned({}, {"sub": "root", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60})
    return f"{head}.{claims.decode().split('.')[1]}.{signature}"


def nested() -> str:
    """A header that is deeper than Python can parse."""
    header = b'{"a":' * 2000 + b"1" + b"}" * 2000
    return base64.urlsafe_b64encode(header).rstrip(b"=").decode() + ".e30.e30"


NOT_VALID = "The token is not valid."
LACKS = "The token lacks one of the claims exp, iss and aud."


@pytest.mark.once
async def test_wrong_tokens_are_refused_with_a_reason(
    identity: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"}
    encrypts = jwk("two", use="enc")
    identity.keys = [jwk("one"), secret, encrypts, jwk("ECP", alg="ES512"), {"kty": "RSA"}, 7]
    now = time.time()
    wrong = {
        token(seconds=-1): "The token has expired. Get a new one.",
        token(nbf=now + 60): "The token is not valid yet.",
        token(iat=now + 60): "The token is not valid yet.",
        token(aud="https://other.example"): "The token is for another service.",
        token(iss="https://other.example/"): "The token is by another issuer.",
        token(exp=None): LACKS,
        token(aud=None): LACKS,
        token(iss=None): LACKS,
        signed_by_the_public_key(): NOT_VALID,
        without_signature("none"): NOT_VALID,
        without_signature("None"): NOT_VALID,
        without_signature("RS256"): NOT_VALID,
        unsigned({"alg": ["RS256"], "kid": "one"}, {}).decode() + ".": NOT_VALID,
        unsigned({"alg": "RS256", "kid": ["one"]}, {}).decode() + ".": NOT_VALID,
        jwt.encode({"sub": "ada"}, "secret" * 9, headers={"kid": "secret"}): NOT_VALID,
        token(headers={"crit": ["x"], "x": 1}): NOT_VALID,
        token(headers={"alg": "RS512"}): NOT_VALID,
        token("two"): NOT_VALID,
        token("ECP"): NOT_VALID,
        token("other", headers={"kid": "one"}): NOT_VALID,
        token("EC", headers={"kid": "one"}): NOT_VALID,
        changed(): NOT_VALID,
        nested(): NOT_VALID,
        "rubbish": NOT_VALID,
        "a.b.c": NOT_VALID,
        "\ud800.\xe9.x": NOT_VALID,
        "x" * (MAX_TOKEN_CHARACTERS + 1): NOT_VALID,
    }
    async with hook(identity.url) as sessions:
        for text, expected in wrong.items():
            credentials = Credentials(Headers(), "127.0.0.1", {"token": text})
            with pytest.raises(InvalidCredentialError, match=expected):
                await sessions(credentials)
        assert (await sessions(shown(token(iat=now + 5)))).viewer == "ada"
        assert await reason(sessions, "rubbish") == NOT_VALID
    assert not caplog.records


@pytest.mark.once
async def test_token_without_a_key_id_is_by_the_only_one(identity: Provider) -> None:
    async with hook(identity.url) as sessions:
        assert (await sessions(shown(token(headers={"kid": None})))).viewer == "ada"
    identity.keys = [jwk("one"), jwk("two")]
    async with hook(identity.url) as sessions:
        assert await reason(sessions, token(headers={"kid": None})) == NOT_VALID


@pytest.mark.once
async def test_new_keys_are_found_and_withdrawn_ones_forgotten(
    identity: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", 0.2)
    async with hook(identity.url) as sessions:
        old = token()
        assert (await sessions(shown(old))).viewer == "ada"
        identity.keys = [jwk("two")]
        await asyncio.sleep(0.2)
        assert (await sessions(shown(token("two")))).viewer == "ada"
        assert identity.asked == 2
        assert await reason(sessions, old) == NOT_VALID  # though it was verified before


@pytest.mark.once
async def test_old_keys_are_fetched_again_and_nobody_waits(
    identity: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", 0)
    monkeypatch.setattr(jwks, "MAX_AGE_SECONDS", 0.2)
    async with hook(identity.url) as sessions:
        text = token()
        await sessions(shown(text))
        identity.keys = [jwk("two")]
        await asyncio.sleep(0.3)
        assert (await sessions(shown(text))).viewer == "ada"
        await asyncio.to_thread(identity.wait_until_asked, 2)
        await asyncio.sleep(0.1)
        await reason(sessions, text)


@pytest.mark.once
async def test_unknown_keys_are_asked_for_once_in_a_while(identity: Provider) -> None:
    async with hook(identity.url) as sessions:
        texts = [token("two", headers={"kid": f"kid {number}"}) for number in range(200)]
        await asyncio.gather(*(reason(sessions, text) for text in texts))
        assert identity.asked == 1
        assert (await sessions(shown(token()))).viewer == "ada"
    assert identity.asked == 1


@pytest.mark.once
@pytest.mark.parametrize(
    ("status", "keys"),
    [(500, [jwk("two")]), (302, [jwk("two")]), (200, []), (200, "no list"), (200, ["x" * 300_000])],
)
async def test_provider_that_fails_keeps_its_keys(
    status: int,
    keys: Any,
    identity: Provider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", 0)
    caplog.set_level(logging.INFO)
    async with hook(identity.url) as sessions:
        await sessions(shown(token()))
        good = identity.keys
        identity.status, identity.keys = status, keys
        for _ in range(3):
            await reason(sessions, token("two"))
        assert (await sessions(shown(token(sub="bob")))).viewer == "bob"
        identity.status, identity.keys = 200, [*good, jwk("two")]
        assert (await sessions(shown(token("two")))).viewer == "ada"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "so the old ones count" in lines[0]
    assert lines[1] == f"Keys come from {identity.url} again."
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.once
async def test_few_verified_tokens_are_kept(
    identity: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_VERIFIED", 2)
    async with hook(identity.url) as sessions:
        texts = [token(sub=name) for name in ("ada", "bob", "eve")]
        for _ in range(2):
            assert [(await sessions(shown(text))).viewer for text in texts] == ["ada", "bob", "eve"]
            assert len(sessions._verified) == 2


@pytest.mark.once
async def test_what_is_being_fetched_is_given_up_at_the_end(identity: Provider) -> None:
    async with hook(identity.url) as sessions:
        pass
    async with hook(identity.url) as sessions:
        await asyncio.sleep(0)
    assert sessions._keys._task is None


@pytest.mark.once
async def test_without_any_keys_clients_come_again(caplog: pytest.LogCaptureFixture) -> None:
    with provider() as gone:
        url = gone.url
    async with hook(url) as sessions:
        for _ in range(3):
            with pytest.raises(UnknownViewerError, match=r"Try again later\."):
                await sessions(shown(token()))
        assert await sessions(Credentials(Headers(), "?")) == anonymous_session()
    [record] = caplog.records
    assert "so no token can be checked" in record.getMessage()
    assert record.exc_info is None


@pytest.mark.once
@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://id.example/jwks.json"},
        {"url": "file:///etc/passwd"},
        {"issuer": ""},
        {"audience": []},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"algorithms": "RS256"},
    ],
)
def test_what_would_not_be_safe_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured):
        hook(**{"url": "https://id.example/jwks.json", **changes})


class TokenServer(Server):
    """The items' server, for tokens of a provider."""

    application = "tests.authentication.asgi:application"


@pytest.fixture
def server_kind() -> type[Server]:
    """One for tokens."""
    return TokenServer


@pytest.fixture
def ada(transactional_db: None) -> User:
    """Somebody with an item; another has one, too."""
    return create_owners()


async def test_tokens_count_on_every_transport(
    identity: Provider, start_server: StartServer, ada: User
) -> None:
    server = start_server(JWKS_URL=identity.url)
    headers = {"Authorization": f"Bearer {token()}"}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.post(server.http, json={"query": ITEMS})
        assert answer.json() == {"data": MINE}
        answer = await client.post(
            server.http, json={"query": ITEMS}, headers={"Accept": "text/event-stream"}
        )
        assert '"ada"' in answer.text
        wrong = {"Authorization": f"Bearer {token(aud='https://other.example')}"}
        answer = await client.post(server.http, json={"query": ITEMS}, headers=wrong)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == (
            'Bearer error="invalid_token", error_description="The token is for another service."'
        )
        assert answer.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    # By cookie, too.
    async with connect(server.websocket, ada) as socket:
        await socket.subscribe(f"subscription {ITEMS}")
        assert await socket.next() == MINE
    async with connect(server.websocket, payload=headers) as socket:
        await socket.subscribe(f"subscription {ITEMS}")
        assert await socket.next() == MINE
        await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
        assert await closing(socket.connection) == (4403, "Forbidden: the viewer has changed")
    async with websocket(server) as connection:
        await connection.send(json.dumps({"type": "connection_init", "payload": headers}))
        assert await closing(connection) == (4403, "Forbidden: There is no such user here.")


async def test_socket_closes_with_its_token(
    identity: Provider, start_server: StartServer, ada: User
) -> None:
    server = start_server(JWKS_URL=identity.url)
    payload = {"authorization": f"Bearer {token(seconds=2)}"}
    async with connect(server.websocket, payload=payload) as socket:
        await socket.subscribe(f"subscription {ITEMS}")
        assert await socket.next() == MINE
        began = time.monotonic()
        assert await closing(socket.connection) == (4403, "Forbidden: the session has expired")
        assert 0.5 < time.monotonic() - began < 4


async def test_without_keys_clients_are_told_to_come_again(
    start_server: StartServer, ada: User
) -> None:
    with provider() as gone:
        url = gone.url
    server = start_server(JWKS_URL=url)
    headers = {"Authorization": f"Bearer {token()}"}
    async with httpx.AsyncClient(headers=headers) as client:
        for _ in range(3):
            answer = await client.post(server.http, json={"query": ITEMS})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
    async with websocket(server) as connection:
        await connection.send(json.dumps({"type": "connection_init", "payload": headers}))
        expected = (1013, "Tokens cannot be checked at the moment. Try again later.")
        assert await closing(connection) == expected
    assert server.log.count("so no token can be checked") == 1
