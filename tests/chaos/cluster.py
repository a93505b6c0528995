"""A primary and its streaming replica."""

import asyncio
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.postgresql import DATABASE, START_SECONDS, USER, Node


class Cluster:
    """Two servers of PostgreSQL; they change places at each failover."""

    def __init__(self, folders: list[Path], environment: dict[str, str]) -> None:
        self.primary, self.replica = (Node(folder, environment) for folder in folders)
        self.nodes = (self.primary, self.replica)

    @property
    def either(self) -> str:
        """An address that names both, for clients that look which one takes writes."""
        hosts = "host=127.0.0.1,127.0.0.1"
        ports = f"port={','.join(str(node.port) for node in self.nodes)}"
        return f"postgres://{USER}@/{DATABASE}?{hosts}&{ports}&target_session_attrs=read-write"

    def start(self) -> None:
        """Make both, and start them."""
        self.primary.create()
        self.primary.start()
        self.primary.execute(f"CREATE DATABASE {DATABASE}")
        self.replica.copy(self.primary)
        self.replica.start()

    def stop(self) -> None:
        """Stop both."""
        for node in self.nodes:
            with suppress(RuntimeError):
                node.signal_all(signal.SIGCONT)
            node.stop(signal.SIGQUIT)

    def catch_up(self) -> None:
        """Wait until the replica has all that was written. Raises TimeoutError."""
        ((wanted,),) = self.primary.execute("SELECT pg_current_wal_lsn()::text")
        ends_at = time.monotonic() + START_SECONDS
        question = f"SELECT pg_last_wal_replay_lsn() >= '{wanted}'"
        while self.replica.execute(question) != [(True,)]:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"The replica is late:\n{self.replica.log[-2000:]}")
            time.sleep(0.02)

    def promote(self) -> None:
        """Make the replica the primary; the old primary must have stopped."""
        self.replica.execute("SELECT pg_promote(true, 30)")
        self.primary, self.replica = self.replica, self.primary

    async def rebuild(self) -> None:
        """Make whoever is not the primary a replica again."""
        await asyncio.to_thread(self.replica.stop, signal.SIGQUIT)
        await asyncio.to_thread(self.replica.copy, self.primary)
        await asyncio.to_thread(self.replica.start)
