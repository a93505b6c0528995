"""Start a coroutine at once, and make a task of it only if it has to wait."""

import asyncio
import sys
import types
from collections.abc import Coroutine, Generator
from typing import Any


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `coroutine`, which must not raise, within this call until it first waits.

    Answers with the task that does the rest, or None if it is done. Waking a task to write one
    message takes longer than writing it.
    """
    if sys.version_info >= (3, 12):
        task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
        return None if task.done() else task
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    task = asyncio.create_task(_go_on(coroutine, awaited))
    # A task that is cancelled before its first step never comes to close what it holds.
    task.add_done_callback(lambda _: coroutine.close())
    return task


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, None], awaited: object) -> Generator[Any, Any, None]:
    # Python 3.11 has no eager tasks. What is awaited is a future that asks to be waited for, and
    # this task does so in its coroutine's place.
    yield awaited
    yield from coroutine
