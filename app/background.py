"""Tasks that run as long as the server does, and their pauses after a failure."""

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 5.0


class BackgroundTask:
    """A running task. Whoever makes it must `stop` it."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._task = asyncio.create_task(coroutine, name=name)
        self._task.add_done_callback(_tell_of_failure)

    async def stop(self) -> None:
        """Cancel the task and wait for its end. Raise what it has raised."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    # Whoever stops it hears of it, but that may be much later.
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("The task %r has failed: %r", task.get_name(), error)


class Backoff:
    """Pauses between attempts: each twice as long as the last, up to `MAX_PAUSE_SECONDS`."""

    def __init__(self, first_seconds: float) -> None:
        self.attempt = 0
        """How many pauses there have been since the last success."""
        self._first_seconds = first_seconds

    def reset(self) -> None:
        """Begin again with the shortest pause, after a success."""
        self.attempt = 0

    async def pause(self) -> None:
        """Wait before the next attempt."""
        seconds = min(MAX_PAUSE_SECONDS, self._first_seconds * 2 ** min(self.attempt, 10))
        self.attempt += 1
        # Jitter: many processes must not return to a database in one moment.
        await asyncio.sleep(seconds * random.uniform(0.5, 1))
