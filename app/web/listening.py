"""The sockets on which uvicorn listens: when it does, and how they close without losing anybody."""

import asyncio
import os
import signal
import socket
from typing import Final, Self, cast

import uvicorn

from ..background import BackgroundTask
from .connections import open_connections

LOOK_SECONDS: Final = 0.05
"""Between two looks whether uvicorn listens."""


class Listening:
    """While it is entered, watches over the sockets of the uvicorn that runs the process."""

    def __init__(self) -> None:
        self.has_begun: Final = asyncio.Event()
        """Whether clients can connect; at once where that is not uvicorn's to say."""
        self._task: BackgroundTask | None = None

    async def __aenter__(self) -> Self:
        # Here, since signals have other handlers when the rest of the server has started.
        self._task = BackgroundTask(self._run(_running()), name="listening")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await self._task.stop()

    async def _run(self, server: uvicorn.Server | None) -> None:
        if server is not None:
            while not server.started:  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(LOOK_SECONDS)
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
        for listener in self._server.sockets:
            with socket.socket(fileno=os.dup(listener.fileno())) as own:
                own.setblocking(False)
                self._accept_all(own)
                self._server.close()
                # Between the two, a few microseconds ago, somebody may have come.
                self._accept_all(own)

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


def _running() -> uvicorn.Server | None:
    """The uvicorn that runs this process: whose method is told to stop."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None
