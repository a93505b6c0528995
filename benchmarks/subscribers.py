"""The one client of all arms: thousands of WebSockets in one loop that does little else."""

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from benchmarks.accounts import Viewer, identity

QUERY: Final = "{ getOrder { date state user { username email } } }"

_MARK: Final = b'"date":"'
_DAY_BYTES: Final = len("2000-01-01")
_RECEIVE_BYTES: Final = 65536
TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class ClientError(Exception):
    """A server did not do what its protocol says, or not in time."""


@dataclass(frozen=True, slots=True)
class Subprotocol:
    """The words of a WebSocket subprotocol for GraphQL."""

    name: str
    subscribe: str


TRANSPORT_WS: Final = Subprotocol("graphql-transport-ws", "subscribe")
LEGACY_WS: Final = Subprotocol("graphql-ws", "start")


@dataclass(slots=True, eq=False)
class Subscriber:
    """One connection with one subscription, and when it saw which day's order as the newest."""

    socket: socket.socket
    buffer: bytes = b""
    is_upgraded: bool = False
    is_acknowledged: bool = False
    viewer: Viewer | None = None
    """Whose connection it is, where everybody has their own orders."""
    target: bytes = b""
    """The day of the order that is awaited, or of an earlier one."""
    newest: bytes = b""
    seen: list[tuple[int, bytes]] = field(default_factory=list)


class Subscribers:
    """Many subscribers; a context manager that closes them.

    A change is recognised by its order's date, since each change takes the next day: so the
    same query serves for all arms, and two states compare as their dates do. If they are
    distinct, each has an operation of its own. If `viewers` are given, each is one of them.
    """

    def __init__(
        self,
        port: int,
        subprotocol: Subprotocol,
        *,
        is_distinct: bool = False,
        viewers: Sequence[Viewer] = (),
    ) -> None:
        self.messages = 0
        self.misdirected = 0
        """Messages with an order of somebody else than the viewer who got it."""
        self.broken = 0
        self._address = ("127.0.0.1", port)
        self._poll = select.epoll()
        self._open: dict[int, Subscriber] = {}
        self._acknowledged = self._served = self._behind = 0
        self._init = frame(TEXT, b'{"type":"connection_init"}')
        self._subprotocol = subprotocol
        self._is_distinct = is_distinct
        self._newcomers = iter(viewers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for subscriber in self._open.values():
            subscriber.socket.close()
        self._poll.close()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._open.values())

    def connect(self, number: int, seconds: float, at_once: int = 64) -> None:
        """Add subscribers, each waiting for its first result; `at_once` of them in handshake.

        Raises ClientError if not all have got it within `seconds`.
        """
        wanted = len(self._open) + number
        deadline = time.monotonic() + seconds
        while len(self._open) < wanted:
            if len(self._open) - self._acknowledged < at_once:
                self._add()
                self._turn(0)
            elif time.monotonic() > deadline:
                break
            else:
                self._turn(0.1)
        if not self.run(lambda: self._served >= wanted, deadline - time.monotonic()):
            raise ClientError(f"Only {self._served} of {wanted} were served in {seconds} s.")

    def listen(self, seconds: float) -> None:
        """Take in messages for a while."""
        self.run(lambda: False, seconds)

    def run(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """Take in messages until it `is_done`, or answer False after `seconds`."""
        deadline = time.monotonic() + seconds
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._turn(min(left, 0.05))
        return True

    def expect(self, day: bytes) -> None:
        """From now on count who has not seen an order of this day or a later one."""
        for subscriber in self._open.values():
            subscriber.target = day
        self._count_who_is_behind()

    def expect_of_each(self, days: Mapping[int, bytes]) -> None:
        """The same where each viewer awaits a day of their own; the keys are the users'."""
        for subscriber in self._open.values():
            if subscriber.viewer is not None:
                subscriber.target = days.get(subscriber.viewer.user_id, b"")
        self._count_who_is_behind()

    def are_all_up_to_date(self) -> bool:
        """Whether everybody who is connected has seen what is expected."""
        return self._behind <= 0

    def forget(self) -> None:
        """Start a new measurement: what has been seen so far no longer counts."""
        self.messages = self.misdirected = 0
        for subscriber in self._open.values():
            subscriber.seen.clear()

    def _count_who_is_behind(self) -> None:
        self._behind = sum(each.newest < each.target for each in self._open.values())

    def _subscribe(self) -> bytes:
        # By the key of its result an operation is another one; names make no difference.
        key = f"its{self._acknowledged}:" if self._is_distinct else ""
        query = QUERY.replace("getOrder", f"{key} getOrder")
        payload = {"query": f"subscription {query}"}
        message = {"id": "1", "type": self._subprotocol.subscribe, "payload": payload}
        return frame(TEXT, json.dumps(message).encode())

    def _add(self) -> None:
        connection = socket.create_connection(self._address, timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        viewer = next(self._newcomers, None)
        connection.sendall(handshake(self._address[1], self._subprotocol, viewer))
        connection.setblocking(False)
        self._open[connection.fileno()] = Subscriber(connection, viewer=viewer)
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _turn(self, seconds: float) -> None:
        for number, _ in self._poll.poll(seconds):
            subscriber = self._open[number]
            try:
                received = subscriber.socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                received = b""
            if received:
                self._take(subscriber, received)
            else:
                self._drop(subscriber)

    def _drop(self, subscriber: Subscriber) -> None:
        self.broken += 1
        del self._open[subscriber.socket.fileno()]
        self._behind -= subscriber.newest < subscriber.target
        subscriber.socket.close()

    def _take(self, subscriber: Subscriber, received: bytes) -> None:
        now = time.monotonic_ns()
        data = subscriber.buffer + received if subscriber.buffer else received
        position, end = 0, len(data)
        if not subscriber.is_upgraded:
            position = data.find(b"\r\n\r\n") + 4
            if position == 3:
                subscriber.buffer = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                raise ClientError(f"Expected a WebSocket, but this came: {data[:300]!r}")
            subscriber.is_upgraded = True
            subscriber.socket.send(self._init)
        while end - position >= 2:
            size, start = data[position + 1], position + 2
            if size == 126:
                start += 2
                size = int.from_bytes(data[start - 2 : start]) if end >= start else end
            elif size == 127:
                start += 8
                size = int.from_bytes(data[start - 8 : start]) if end >= start else end
            if start + size > end:
                break
            self._handle(subscriber, data[position] & 0xF, data[start : start + size], now)
            position = start + size
        subscriber.buffer = data[position:]

    def _handle(self, subscriber: Subscriber, kind: int, payload: bytes, now: int) -> None:
        mark = payload.find(_MARK) + len(_MARK)
        if kind == TEXT and mark >= len(_MARK):
            if subscriber.viewer is not None and subscriber.viewer.mark not in payload:
                self.misdirected += 1
                return
            day = payload[mark : mark + _DAY_BYTES]
            self.messages += 1
            subscriber.seen.append((now, day))
            if not subscriber.newest:
                self._served += 1
            if subscriber.newest < subscriber.target <= day:
                self._behind -= 1
            subscriber.newest = day
        elif kind == TEXT:
            self._converse(subscriber, json.loads(payload))
        elif kind == _PING:
            subscriber.socket.send(frame(_PONG, payload))
        elif kind == _CLOSE:
            raise ClientError(f"The server has closed a connection: {payload!r}")

    def _converse(self, subscriber: Subscriber, message: dict[str, object]) -> None:
        match message["type"]:
            case "connection_ack":
                subscriber.is_acknowledged = True
                self._acknowledged += 1
                subscriber.socket.send(self._subscribe())
            case "ping":
                subscriber.socket.send(frame(TEXT, b'{"type":"pong"}'))
            case "ka" | "pong":
                pass
            case _:
                raise ClientError(f"Expected an order, but this came: {message}")


def handshake(port: int, subprotocol: Subprotocol, viewer: Viewer | None) -> bytes:
    """The request that opens a WebSocket."""
    address, cookie = identity(viewer)
    return (
        f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{cookie}"
        "Sec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol.name}\r\n\r\n"
    ).encode()


def frame(kind: int, payload: bytes) -> bytes:
    """A WebSocket's message of at most 64 KB."""
    # A client must mask what it sends (RFC 6455, section 5.3); a mask of zeros changes nothing.
    size = len(payload)
    head = struct.pack("!BB", 0x80 | kind, 0x80 | min(size, 126))
    return head + (struct.pack("!H", size) if size >= 126 else b"") + b"\0\0\0\0" + payload
