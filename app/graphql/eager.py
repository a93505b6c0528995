"""Start a coroutine at once, and make a task of it only if it has to wait."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `coroutine`, which must not raise, within this call until it first waits.

    Answers with the task that does the rest, or None if it is done. Waking a task to write one
    message takes longer than writing it.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    task = asyncio.create_task(_go_on(coroutine, awaited))
    # A task that is cancelled before its first step never comes to close what it holds.
    task.add_done_callback(lambda _: coroutine.close())
    return task


async def _go_on(coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
    await _rest(coroutine, awaited)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], awaited: object) -> Generator[Any, Any, None]:
    # What is awaited is a future that asks to be waited for, and the task does so in its
    # coroutine's place. asyncio's own eager tasks (Python 3.12) take twice as long for what nearly
    # all are: done at once.
    yield awaited
    yield from coroutine
