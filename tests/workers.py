"""A server of several processes, and a look at each of them."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from tests.clients import Socket, connect
from tests.server import Server

NEWEST = "subscription { item { id state } }"


class Workers(Server):
    """A server of three processes."""

    arguments: tuple[str, ...] = ("--workers", "3")

    def workers(self) -> set[int]:
        """The processes of the workers: the supervisor's children, but the resource tracker."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {int(pid) for pid in children if b"spawn_main" in _command(int(pid))}

    def sockets(self, pid: int) -> int:
        """How many TCP connections a worker serves."""
        inodes = set()
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed in between
                target = str(file.readlink())
                if target.startswith("socket:"):
                    inodes.add(target[8:-1])
        return sum(port == self.port and inode in inodes for port, inode in connections())


def connections() -> Iterator[tuple[int, str]]:
    """The open TCP connections of this host: the port at the near end, and the socket's inode."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "01":  # established
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _command(pid: int) -> bytes:
    """How a process was started; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


async def everywhere(server: Workers, stack: AsyncExitStack) -> list[Socket]:
    """Subscribed sockets, at least one on each worker."""
    sockets: list[Socket] = []
    while len(sockets) < 6 or not all(map(server.sockets, server.workers())):
        assert len(sockets) < 300, "A worker gets no connection."
        socket = await stack.enter_async_context(connect(server.websocket))
        await socket.subscribe(NEWEST)
        await socket.next()
        sockets.append(socket)
    return sockets
