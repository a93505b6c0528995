"""A process of its own that sends a cheap query over HTTP every 20 ms, and times the answers.

It keeps one connection, or, as somebody does who has just come, makes a new one for each query.
"""

import http.client
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from benchmarks.accounts import Viewer
from benchmarks.subscribers import ClientError

QUERY: Final = "{ getOrders(first: 1) { date } }"
PAUSE_SECONDS: Final = 0.02
TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back."""

    latencies: list[float]
    """How long each answer took, in ms."""
    errors: int
    """How many of them told only that something had failed."""


class Probe:
    """Asks while it is told to; an answer that is late delays the next query."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def start(self) -> None:
        """Begin to ask."""
        self._pipe.send("start")

    def stop(self) -> Answers:
        """Wait for the last answer; return all."""
        self._pipe.send("stop")
        found: Answers | Exception = self._pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found


@contextmanager
def probe(port: int, viewer: Viewer, *, reconnects: bool = False) -> Iterator[Probe]:
    """A probe that asks as `viewer`, while the block lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, port, viewer, reconnects)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Probe(ours)
    finally:
        ours.close()
        process.join(1)
        process.kill()


def _serve(pipe: Connection, port: int, viewer: Viewer, reconnects: bool) -> None:
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
            found: Answers | Exception = _ask_always(pipe, port, viewer, reconnects)
        except EOFError:
            return
        except (OSError, http.client.HTTPException) as error:
            found = ClientError(f"A query over HTTP failed: {error!r}")
        pipe.recv()
        pipe.send(found)


def _ask_always(pipe: Connection, port: int, viewer: Viewer, reconnects: bool) -> Answers:
    latencies, errors = [], 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as server:
        while True:
            began = time.monotonic()
            if reconnects:
                server.close()  # The next request connects.
            errors += not _is_answered(server, viewer)
            took = time.monotonic() - began
            latencies.append(took * 1e3)
            if pipe.poll(max(0.0, PAUSE_SECONDS - took)):
                return Answers(latencies, errors)


def _is_answered(server: http.client.HTTPConnection, viewer: Viewer) -> bool:
    name, _, value = viewer.cookie.strip().partition(": ")
    headers = {name: value, "Content-Type": "application/json", "Accept": "application/json"}
    server.request("POST", viewer.address, json.dumps({"query": QUERY}), headers)
    answer = server.getresponse().read()
    return b'"date"' in answer and b'"errors"' not in answer
