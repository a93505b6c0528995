"""A process of its own that attacks: many WebSockets with as much under way as the server takes."""

import asyncio
import json
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from benchmarks.accounts import Viewer, identity
from benchmarks.subscribers import TRANSPORT_WS

UNDER_WAY: Final = 100
"""Operations on one socket at a time: more the server refuses, whoever asks."""
NICENESS: Final = 19
"""Attackers share a processor with the one who is measured, who must not wait for them."""
PAUSE_SECONDS: Final = 0.1
"""After a connection was refused or lost."""
_CODE: Final = re.compile(r'"code":"([A-Z_]+)"')
_HEAD: Final = 1500
"""An error is among so many characters at the beginning of a message."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What the attackers do."""

    sockets: int
    document: Callable[[str], str]
    """What they send: another document for each mark. It goes to another process."""
    viewer: Viewer | None = None
    messages: int | None = None
    """How many each socket sends; without it, another for each that has been answered."""


@dataclass(slots=True)
class Outcome:
    """What the server made of it."""

    sent: int = 0
    results: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By the error's code, or by that of the handshake or of the close."""


class Attackers:
    """Attack while they are told to."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def start(self) -> None:
        """Begin."""
        self._pipe.send("start")

    def stop(self) -> Outcome:
        """End: what the server made of it."""
        self._pipe.send("stop")
        found: Outcome = self._pipe.recv()
        return found


@contextmanager
def attackers(port: int, attack: Attack) -> Iterator[Attackers]:
    """Attackers of the server at `port`, while the block lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, port, attack), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Attackers(ours)
    finally:
        ours.close()
        process.join(1)
        process.kill()


def _serve(pipe: Connection, port: int, attack: Attack) -> None:
    os.nice(NICENESS)
    with suppress(EOFError, OSError):
        pipe.send("ready")
        pipe.recv()
        outcome = asyncio.run(_attack(pipe, port, attack))
        pipe.recv()
        pipe.send(outcome)


async def _attack(pipe: Connection, port: int, attack: Attack) -> Outcome:
    outcome, is_over = Outcome(), asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), is_over.set)
    sockets = [_Socket(port, attack, outcome, f"s{number}") for number in range(attack.sockets)]
    tasks = [asyncio.create_task(each.run()) for each in sockets]
    await is_over.wait()
    asyncio.get_running_loop().remove_reader(pipe.fileno())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return outcome


class _Socket:
    """One attacker's connection, which comes again when it is lost."""

    def __init__(self, port: int, attack: Attack, outcome: Outcome, name: str) -> None:
        self._attack, self._outcome = attack, outcome
        address, cookie = identity(attack.viewer)
        self._url = f"ws://127.0.0.1:{port}{address}"
        self._headers = dict([cookie.strip().split(": ", 1)] if cookie else [])
        self._marks = (f"{name}x{number}" for number in count())

    async def run(self) -> None:
        while True:
            try:
                await self._converse()
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else "without a word"
                self._outcome.refused[f"closed {code}"] += 1
            except InvalidStatus as error:
                self._outcome.refused[f"HTTP {error.response.status_code}"] += 1
            except (InvalidHandshake, OSError) as error:
                self._outcome.refused[type(error).__name__] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _converse(self) -> None:
        socket = await connect(
            self._url,
            additional_headers=self._headers,
            subprotocols=[Subprotocol(TRANSPORT_WS.name)],
            compression=None,
            max_size=None,
            open_timeout=60,
            ping_interval=None,
        )
        sending: asyncio.Task[None] | None = None
        try:
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            may_send = asyncio.Semaphore(UNDER_WAY)
            sending = asyncio.create_task(self._send(socket, may_send))
            await self._read(socket, may_send)
        finally:
            if sending is not None:
                sending.cancel()
            socket.transport.abort()

    async def _send(self, socket: ClientConnection, may_send: asyncio.Semaphore) -> None:
        numbers = count() if self._attack.messages is None else range(self._attack.messages)
        with suppress(ConnectionClosed):  # who reads tells
            for _ in numbers:
                await may_send.acquire()
                mark = next(self._marks)
                payload = {"query": self._attack.document(mark)}
                message = {"id": mark, "type": "subscribe", "payload": payload}
                await socket.send(json.dumps(message))
                self._outcome.sent += 1

    async def _read(self, socket: ClientConnection, may_send: asyncio.Semaphore) -> None:
        async for message in socket:
            head = str(message[:_HEAD])
            if '"type":"ping"' in head:
                await socket.send('{"type":"pong"}')
            elif code := _CODE.search(head):
                self._outcome.refused[code[1]] += 1
            elif '"type":"next"' in head:
                self._outcome.results += 1
            if '"type":"next"' not in head:
                may_send.release()
