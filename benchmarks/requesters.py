"""HTTP clients that ask again as soon as they have their answer, in one loop."""

import http.client
import json
import select
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.accounts import Viewer, identity
from benchmarks.subscribers import ClientError

QUERY: Final = (
    "query ($first: Int) { getOrders(first: $first) { id date state user { username email } } }"
)
_RECEIVE_BYTES: Final = 262144


@dataclass(slots=True)
class _Requester:
    socket: socket.socket
    request: bytes
    mark: bytes
    """What each answer contains: the name of the viewer who asks."""
    buffer: bytes = b""
    missing: int = -1
    sent_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the clients saw."""

    latencies: list[float]
    """In seconds, in order of size."""
    seconds: float


def ask(
    port: int, clients: int, orders: int, seconds: float, viewers: Sequence[Viewer] = ()
) -> Answers:
    """Let `clients` ask for `orders` orders for a while. Raises ClientError for a wrong answer.

    If `viewers` are given, each client is one of them, and gets an order of theirs.
    """
    newcomers = iter(viewers)
    request = {"query": QUERY, "variables": {"first": orders}}
    poll = select.epoll()
    requesters: dict[int, _Requester] = {}
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        viewer = next(newcomers, None)
        mark = viewer.username.encode() if viewer else b""
        requester = _Requester(connection, post(port, request, viewer), mark)
        requesters[connection.fileno()] = requester
        poll.register(connection.fileno(), select.EPOLLIN)
    latencies: list[float] = []
    began = time.monotonic()
    try:
        for each in requesters.values():
            each.sent_at = time.monotonic()
            each.socket.sendall(each.request)
        while (now := time.monotonic()) < began + seconds:
            for number, _ in poll.poll(0.05):
                requester = requesters[number]
                if _take(requester, orders):
                    now = time.monotonic()
                    latencies.append(now - requester.sent_at)
                    requester.sent_at = now
                    requester.socket.sendall(requester.request)
        if not latencies:
            raise ClientError(f"No answer came within {seconds} s.")
        return Answers(sorted(latencies), now - began)
    finally:
        poll.close()
        for each in requesters.values():
            each.socket.close()


def ask_once(port: int, document: str, viewer: Viewer | None = None) -> bytes:
    """The body of the answer to one query, whatever it is."""
    return ask_at_once(port, document, viewer, 1)[0]


def ask_at_once(port: int, document: str, viewer: Viewer | None, times: int) -> list[bytes]:
    """The same of so many clients at a time."""
    with ExitStack() as open_:
        answers = []
        for _ in range(times):
            server = open_.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            server.sendall(post(port, {"query": document}, viewer))
            answers.append(http.client.HTTPResponse(server, method="POST"))
        for answer in answers:
            answer.begin()
        return [answer.read() for answer in answers]


def post(port: int, request: Mapping[str, object], viewer: Viewer | None) -> bytes:
    """A GraphQL request over HTTP."""
    address, cookie = identity(viewer)
    body = json.dumps(request).encode()
    head = (
        f"POST {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
        f"{cookie}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _take(requester: _Requester, orders: int) -> bool:
    received = requester.socket.recv(_RECEIVE_BYTES)
    if not received:
        raise ClientError("The server closed a connection.")
    requester.buffer += received
    if requester.missing < 0:
        end = requester.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        requester.missing = end + _content_length(requester.buffer[:end])
    if len(requester.buffer) < requester.missing:
        return False
    count, is_own = requester.buffer.count(b'"state"'), requester.mark in requester.buffer
    if count != orders or not is_own or b'"errors"' in requester.buffer:
        raise ClientError(f"Expected {orders} orders, but this came: {requester.buffer[:600]!r}")
    requester.buffer, requester.missing = b"", -1
    return True


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    raise ClientError(f"An answer without its length came: {head!r}")
