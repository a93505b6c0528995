"""Tell systemd when the process is ready, and that its event loop runs: `Type=notify`."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Self

from ..background import BackgroundTask

LOOK_SECONDS: Final = 0.2
"""Between two looks whether the process is ready."""


class ServiceManager:
    """While it is entered, says what sd_notify(3) has words for; nothing outside of systemd.

    A restart by `systemctl` so waits until clients can be served, and a process that hangs is ended
    if the unit has `WatchdogSec`. `fault` says what the process waits for, once it listens.
    """

    def __init__(
        self, has_begun: asyncio.Event, fault: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._has_begun = has_begun
        self._fault = fault
        # It belongs to the process, as its arguments do, and not to any project's settings.
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._watchdog_seconds = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        self._task: BackgroundTask | None = None

    async def __aenter__(self) -> Self:
        if self._address:
            self._task = BackgroundTask(self._run(), name="service manager")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await self._task.stop()
            self._tell("STOPPING=1")

    async def _run(self) -> None:
        await self._has_begun.wait()
        while reason := await self._fault():
            self._tell(f"STATUS=Not ready: {reason}")
            await asyncio.sleep(LOOK_SECONDS)
        self._tell("READY=1\nSTATUS=Serves")
        while self._watchdog_seconds:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / 3)

    def _tell(self, words: str) -> None:
        # An @ in front stands for the zero byte of an abstract name.
        is_abstract = self._address.startswith("@")
        address = f"\0{self._address[1:]}" if is_abstract else self._address
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger,
            suppress(OSError),  # Who does not listen now is told again.
        ):
            messenger.setblocking(False)
            messenger.sendto(words.encode(), address)
