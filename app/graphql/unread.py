"""Let those who would add to what a client has not read wait until it has."""

from asyncio import Event


class Unread:
    """What a client has been sent and has not read, or is still to be sent."""

    def __init__(self) -> None:
        self._drained: Event | None = None  # only while somebody waits

    def has_drained(self) -> bool:
        """Whether it is little."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Wait until it `has_drained`."""
        while not self.has_drained():
            self._drained = self._drained or Event()
            await self._drained.wait()

    def wake_if_drained(self) -> None:
        """Let those go on who wait: to be called when it has become less."""
        if self._drained is not None and self.has_drained():
            self._drained.set()
            self._drained = None
