"""Several processes as systemd runs them, each with a port of its own, behind nginx."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.nginx import NAME
from tests.workers import Workers


class Instance(Workers):
    """One process; `live@.service` starts it so."""

    arguments = ("--timeout-graceful-shutdown", "10")

    @property
    def clients(self) -> int:
        """How many connections it serves."""
        return self.sockets(self.pid)


@contextmanager
def instances(number: int, database_url: str, folder: Path) -> Iterator[list[Instance]]:
    """So many of them on one database, while the block lasts."""
    started = [
        Instance(
            folder / f"{each}.log",
            database_url,
            DEBUG="true",
            OPEN_ACCESS="true",
            HTTPS="true",
            ALLOWED_HOSTS=f"{NAME},127.0.0.1",
        )
        for each in range(number)
    ]
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        for each in started:
            stack.callback(each.stop)
        list(threads.map(Instance.start, started))
        yield started
    for each in started:
        assert "Traceback" not in each.log, each.log


def spread(servers: Sequence[Instance]) -> list[int]:
    """How many connections each has."""
    return [each.clients for each in servers]
