"""Clients that speak the protocols by themselves, so that tests see each message."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import Client as DjangoClient
from websockets.asyncio.client import ClientConnection

from app.authentication.sessions import load_sessions
from app.viewer import Session
from tests.server import Server

PATIENCE_SECONDS = 10


class Socket:
    """A WebSocket that speaks `graphql-transport-ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._ids = iter(range(1, 1_000_000))

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.connection.send(json.dumps(message))

    async def receive(self, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The next message that is no ping. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                message: dict[str, Any] = json.loads(await self.connection.recv())
                if message["type"] != "ping":
                    return message
                await self.send(type="pong")

    async def subscribe(self, query: str, **variables: Any) -> str:
        """Start an operation, and answer with its id."""
        id_ = str(next(self._ids))
        payload = {"query": query, "variables": variables}
        await self.send(type="subscribe", id=id_, payload=payload)
        return id_

    async def next(self, seconds: float = PATIENCE_SECONDS) -> Any:
        """The `data` of the next message, which must be a result without errors."""
        message = await self.receive(seconds)
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def next_error(self) -> dict[str, Any]:
        """The one error of the next message, however it comes."""
        message = await self.receive()
        payload = message["payload"]
        errors = payload if message["type"] == "error" else payload["errors"]
        assert len(errors) == 1, errors
        error: dict[str, Any] = errors[0]
        return error

    async def until(self, wanted: Any) -> None:
        """Wait for the result `wanted`; earlier states may come before."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.next() != wanted:
                pass


@asynccontextmanager
async def connect(
    url: str,
    user: User | None = None,
    payload: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Socket]:
    """An acknowledged WebSocket, with the session of `user`; `payload` is of `connection_init`."""
    cookie = await sync_to_async(session_cookie)(user) if user else ""
    async with connect_as(cookie, url, payload, headers) as socket:
        yield socket


@asynccontextmanager
async def connect_as(
    cookie: str,
    url: str,
    payload: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Socket]:
    """The same with a `Cookie` header, if it is not empty."""
    async with websockets.connect(
        url,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        additional_headers={**({"Cookie": cookie} if cookie else {}), **(headers or {})},
    ) as connection:
        socket = Socket(connection)
        await socket.send(
            type="connection_init", **({} if payload is None else {"payload": payload})
        )
        assert (await socket.receive())["type"] == "connection_ack"
        yield socket


async def post(url: str, query: str, user: User | None = None, **variables: Any) -> Any:
    """Run an operation over HTTP, and answer with the decoded response."""
    cookie = await sync_to_async(session_cookie)(user) if user else ""
    return await post_as(cookie, url, query, **variables)


async def post_as(cookie: str, url: str, query: str, **variables: Any) -> Any:
    """The same with a `Cookie` header, if it is not empty."""
    headers = {"Content-Type": "application/json"} | ({"Cookie": cookie} if cookie else {})
    body = json.dumps({"query": query, "variables": variables})
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as client:
        answer = await client.post(url, content=body)
    return answer.json()


async def get(server: Server, path: str, **headers: str) -> httpx.Response:
    """Get a path of the server."""
    async with httpx.AsyncClient(headers=headers) as client:
        return await client.get(f"http://127.0.0.1:{server.port}{path}")


def session_cookie(user: User) -> str:
    """A `Cookie` header of somebody who has signed in."""
    client = DjangoClient()
    client.force_login(user)
    return client.cookies.output(header="", sep=";").strip().split(";")[0]


def load_session(key: str) -> Session:
    """Load one session, which must be valid."""
    session = load_sessions([key])[key]
    assert session is not None
    return session


@contextmanager
def written_by_another(rows: QuerySet[Any], **values: Any) -> Iterator[None]:
    """Within the block, the rows are locked by a transaction that writes these values."""
    locked, ended = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            rows.update(**values)
            locked.set()
            ended.wait()
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert locked.wait(10)
        yield
    finally:
        ended.set()
        thread.join()
