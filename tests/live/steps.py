"""An event loop that turns only when it is told to, so that a test decides every interleaving."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# More turns than anything in these tests needs until it waits for the outside.
ENOUGH = 60


class Steps:
    """Turns its event loop one round of callbacks at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def turn(self, rounds: int = ENOUGH) -> None:
        """Run what is ready, `rounds` times."""
        for _ in range(rounds):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` to its end."""
        return self.loop.run_until_complete(coroutine)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function that needs a running event loop, in one turn of it."""
        results: list[T] = []
        self.loop.call_soon(lambda: results.append(function()))
        self.turn(1)
        return results[0]

    def close(self) -> None:
        """Close the loop; nothing may be left on it."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.turn()
        self.loop.close()
        assert not left, left
