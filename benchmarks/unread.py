"""Measure the largest answer to one request, and what a client costs that reads none."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path
from typing import Final

from benchmarks import hostile
from benchmarks.arms import OURS
from benchmarks.attacks import ATTACKER, INTROSPECTION, SETTINGS, Watch, fill, most
from benchmarks.database import Database
from benchmarks.requesters import ask_at_once, ask_once, post
from benchmarks.servers import Server
from benchmarks.subscribers import TEXT, TRANSPORT_WS, ClientError, frame, handshake

ANSWERS: Final = "answers"
"""The section of the results for the largest answers."""
UNREAD: Final = "unread"
"""And for clients that do not read."""
MESSAGES: Final = (8, 100)
_RECEIVE_BUFFER_BYTES: Final = 4096
_PACKET_BYTES: Final = 1460
_MOST_LETTERS: Final = 30_500

Send = Callable[[Server, str, ExitStack], Callable[[int], None]]
"""Open what is to be left unread; what sends so many messages."""


def measure_answers(database: Database, folder: Path) -> Iterator[tuple[str, float]]:
    """The lengths in MB of the answers to the largest requests, some of them beyond the limits."""
    fill(database)
    settings = {**SETTINGS, **INTROSPECTION}
    with Server(OURS, database, folder / "answers.log", settings, limits={}) as server:
        lists = most(40, lambda number: _is_answered(server, hostile.many_lists(number)))
        for request, document in (
            ("long names in introspection", hostile.long_names(_MOST_LETTERS)),
            ("40 lists", hostile.many_lists(40)),
            (f"{lists} lists, as many as are allowed", hostile.many_lists(lists)),
            ("one name as long as is allowed", _largest(server, 1)),
            (f"{hostile.ALIASES} such names", _largest(server, hostile.ALIASES)),
        ):
            yield request, len(ask_once(server.port, document, ATTACKER)) / 2**20


def measure_unread(
    transport: str, database: Database, seconds: float, folder: Path
) -> Iterator[tuple[int, float]]:
    """How much memory grows, in MB, by each number of the largest queries, sent by one client."""
    fill(database)
    log = folder / f"unread-{transport}.log"
    with Server(OURS, database, log, SETTINGS, limits={}) as server, ExitStack() as open_:
        document = _largest(server, 1)
        # What so many at a time take in any case, with their threads on SQLite, does not count.
        ask_at_once(server.port, document, ATTACKER, MESSAGES[0])
        send = TRANSPORTS[transport](server, document, open_)
        watch, sent = Watch(server), 0
        for number in MESSAGES:
            send(number - sent)
            sent = number
            watch.go_on(seconds)
            yield number, watch.growth_bytes / 2**20


def _largest(server: Server, fields: int) -> str:
    def is_allowed(letters: int) -> bool:
        return _is_answered(server, hostile.long_orders(letters, fields))

    return hostile.long_orders(most(_MOST_LETTERS // fields, is_allowed), fields)


def _is_answered(server: Server, document: str) -> bool:
    return b'"errors"' not in ask_once(server.port, document, ATTACKER)[:100]


def _websocket(server: Server, document: str, open_: ExitStack) -> Callable[[int], None]:
    connection = open_.enter_context(_connect(server.port))
    for message, answer in (
        (handshake(server.port, TRANSPORT_WS, ATTACKER), b"HTTP/1.1 101"),
        (frame(TEXT, b'{"type":"connection_init"}'), b"connection_ack"),
    ):
        connection.sendall(message)
        if answer not in (came := connection.recv(1000)):
            raise ClientError(f"Expected {answer!r}, but this came: {came!r}")

    ids = count()

    def send(number: int) -> None:
        for id_ in islice(ids, number):
            message = {"id": f"{id_}", "type": "subscribe", "payload": {"query": document}}
            connection.sendall(frame(TEXT, json.dumps(message).encode()))

    return send


def _http(server: Server, document: str, open_: ExitStack) -> Callable[[int], None]:
    def send(number: int) -> None:
        for _ in range(number):
            connection = open_.enter_context(_connect(server.port))
            connection.sendall(post(server.port, {"query": document}, ATTACKER))

    return send


def _connect(port: int) -> socket.socket:
    connection = socket.socket()
    # As over a network: on one machine packets are large, and so are the kernel's own buffers,
    # which would take in whole answers.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _PACKET_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    connection.settimeout(5)
    connection.connect(("127.0.0.1", port))
    return connection


TRANSPORTS: Final[dict[str, Send]] = {"WebSocket": _websocket, "HTTP": _http}
