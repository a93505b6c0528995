"""A TCP forwarder whose target can move, and whose connections can go silent."""

import asyncio
import ctypes
import socket
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 1 << 16
SO_ATTACH_FILTER = 26
ESTABLISHED = "01"
"""As Linux writes the state of a connection."""


class Forwarder:
    """Passes bytes on between whoever connects and `target`, while the context lasts."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        """The port of 127.0.0.1 that new connections lead to."""
        self.port = port
        self._server: asyncio.Server | None = None
        self._silent: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ports: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def open_at_target(self) -> int:
        """How many connections the target has not closed."""
        there = f":{self.target:04X}"
        here = {f":{port:04X}" for port in self._ports}
        lines = map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        return sum(f[1][8:] == there and f[2][8:] in here and f[3] == ESTABLISHED for f in lines)

    def go_silent(self) -> int:
        """Let all packets of the present connections vanish; return how many connections these are.

        Both ends stay open and nothing is acknowledged, as behind a firewall that has forgotten
        them; new ones are served.
        """
        for writer in self._writers - self._silent:
            _make_deaf(writer.get_extra_info("socket"))
        self._silent |= self._writers
        return len(self._writers) // 2

    def cut(self) -> None:
        """Reset all connections, the silent ones, too."""
        for writer in self._writers | self._silent:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_there}
        self._writers |= ends
        port = to_there.get_extra_info("sockname")[1]
        self._ports.add(port)
        try:
            await asyncio.gather(self._pass(reader, to_there), self._pass(there, writer))
        finally:
            self._writers -= ends
            self._silent -= ends
            self._ports.discard(port)
            for each in ends:
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if writer not in self._silent:
                    writer.write(chunk)
                    await writer.drain()
        if writer not in self._silent:
            with suppress(OSError, RuntimeError):
                writer.write_eof()
        elif not writer.transport.is_closing():
            # One end has given up; the other one hears nothing of it, until it gives up, too.
            with suppress(OSError):
                await writer.wait_closed()


def _make_deaf(connection: socket.socket) -> None:
    """Let the kernel drop what comes on the connection, before it acknowledges it."""
    drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    program = struct.pack("@HP", 1, ctypes.addressof(drop))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
