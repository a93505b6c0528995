"""The sockets on which uvicorn listens: when it does, and how they close without losing anybody."""

import asyncio
import os
import signal
import socket
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final, Self, cast

import uvicorn

from ..background import BackgroundTask
from ..transports.shutdown import before_stop
from .connections import open_connections
from .protocol import LimitedHTTP

LOOK_SECONDS: Final = 0.05
"""Between two looks whether uvicorn listens."""


class Listening:
    """While it is entered, watches over the sockets of the uvicorn that runs the process."""

    def __init__(self) -> None:
        self.has_begun: Final = asyncio.Event()
        """Whether clients can connect; at once where that is not uvicorn's to say."""
        self._task: BackgroundTask | None = None
        self._signals = ExitStack()

    async def __aenter__(self) -> Self:
        server = _running()
        if server is not None:
            self._signals.enter_context(before_stop(partial(_stop, server)))
        self._task = BackgroundTask(self._run(server), name="listening")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signals.close()
        if self._task is not None:
            await self._task.stop()

    async def _run(self, server: uvicorn.Server | None) -> None:
        if server is not None:
            while not server.started:  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(LOOK_SECONDS)
            # Others would wait for who never sends a request.
            if issubclass(server.config.http_protocol_class, LimitedHTTP):
                gates = [Gate(server, each) for each in server.servers]
                server.servers = cast("list[asyncio.base_events.Server]", gates)
        self.has_begun.set()


class Gate:
    """A listening server that lets those in who stand before it, and closes then.

    Closing alone resets who has connected and was not accepted yet. A proxy has sent them a request
    by then, and must not send a mutation to another server again.
    """

    def __init__(self, uvicorn_server: uvicorn.Server, server: asyncio.Server) -> None:
        self._uvicorn = uvicorn_server
        self._server = server
        self._tasks: set[asyncio.Task[object]] = set()

    def close(self) -> None:
        """Accept everybody who waits, and nobody more."""
        open_connections(self._uvicorn.config).is_stopping = True
        with ExitStack() as stack:
            # Who waits is reset with the last descriptor of a socket, which is ours by then.
            own: list[socket.socket] = []
            with suppress(OSError):  # There are no files left.
                own.extend(
                    stack.enter_context(socket.socket(fileno=os.dup(each.fileno())))
                    for each in self._server.sockets
                )
            self._server.close()
            for each in own:
                each.setblocking(False)
                self._accept_all(each)

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._server.wait_closed()

    def _accept_all(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # there is nobody, or nobody can be accepted
                return
            connection.setblocking(False)
            accepted = loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._uvicorn.config.ssl
            )
            task = loop.create_task(accepted)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _protocol(self) -> asyncio.Protocol:
        server = self._uvicorn
        return server.config.http_protocol_class(  # type: ignore[call-arg]
            config=server.config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )


def _stop(server: uvicorn.Server) -> None:
    """Let the answers that are under way be the last on their connections, event streams too.

    uvicorn says so a moment later, when streams have ended: their clients would come back on the
    same connection, and be refused.
    """
    open_connections(server.config).is_stopping = True
    for connection in list(server.server_state.connections):
        if isinstance(connection, LimitedHTTP):
            connection.shutdown()


def _running() -> uvicorn.Server | None:
    """The uvicorn that runs this process: whose method is told of signals, at first."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None
