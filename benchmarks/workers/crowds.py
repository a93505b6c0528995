"""Subscribers in processes of their own, since one process may open too few files for all."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Final

from benchmarks import machine
from benchmarks.accounts import Viewer
from benchmarks.delivery import latencies
from benchmarks.subscribers import TRANSPORT_WS, Subscribers
from benchmarks.writer import Change

Expected = bytes | Mapping[int, bytes]
"""The day of the newest order that all await, or each user of the viewers."""

AT_ONCE: Final = 32


class Crowd:
    """The subscribers of one server, in a process that does what it is told."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def connect(self, number: int, seconds: float) -> None:
        """Begin to connect so many, until each has its first result; `wait` for it."""
        self._pipe.send(("connect", number, seconds))

    def begin(self) -> None:
        """Start a new measurement."""
        self._pipe.send(("begin",))
        self.wait()

    def expect(self, expected: Expected) -> None:
        """From now on, `settle` waits for these; they may have come already."""
        self._pipe.send(("expect", expected))

    def settle(self, seconds: float) -> None:
        """Go on until all have what they await, or for so long; `wait` for it."""
        self._pipe.send(("settle", seconds))

    def wait(self) -> None:
        """Wait until it is done. Raises what went wrong."""
        answer: Exception | None = self._pipe.recv()
        if answer is not None:
            raise answer

    def latencies(self, changes: Sequence[Change], users: Sequence[int] = ()) -> list[list[float]]:
        """For each change how long each subscriber waited for it, in ms, in no order.

        `users` are those whom the changes concern, if each concerns one.
        """
        self._pipe.send(("latencies", changes, users))
        found: list[list[float]] | Exception = self._pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found


@contextmanager
def crowd(port: int, viewers: Sequence[Viewer]) -> Iterator[Crowd]:
    """A crowd of these viewers, or of strangers if there are none, while the block lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, port, viewers), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Crowd(ours)
    finally:
        ours.close()
        process.join(5)
        process.kill()


def _serve(pipe: Connection, port: int, viewers: Sequence[Viewer]) -> None:
    machine.allow_many_sockets()
    with Subscribers(port, TRANSPORT_WS, viewers=viewers) as subscribers:
        while True:
            subscribers.run(pipe.poll, float("inf"))
            try:
                command, *arguments = pipe.recv()
            except EOFError:
                return
            try:
                _do(pipe, subscribers, command, *arguments)
            except Exception as error:  # which whoever waits has to learn
                pipe.send(error)


def _do(pipe: Connection, crowd: Subscribers, command: str, *arguments: object) -> None:
    match command, *arguments:
        case "connect", int(number), float(seconds):
            crowd.connect(number, seconds, AT_ONCE)
            pipe.send(None)
        case ("begin",):
            crowd.forget()
            pipe.send(None)
        case "expect", bytes(day):
            crowd.expect(day)
        case "expect", dict(days):
            crowd.expect_of_each(days)
        case "settle", float(seconds):
            crowd.run(crowd.are_all_up_to_date, seconds)
            pipe.send(None)
        case "latencies", list(changes), users:
            pipe.send(_latencies(crowd, changes, list(users)))  # type: ignore[call-overload]
        case _:
            raise ValueError(f"A crowd cannot {command} {arguments}.")


def _latencies(crowd: Subscribers, changes: list[Change], users: list[int]) -> list[list[float]]:
    found: dict[bytes, list[float]] = {change.day: [] for change in changes}
    for subscriber in crowd:
        own = [
            change
            for number, change in enumerate(changes)
            if not users or (subscriber.viewer and users[number] == subscriber.viewer.user_id)
        ]
        for day, latency in latencies(subscriber.seen, own).items():
            found[day].append(latency)
    return list(found.values())
