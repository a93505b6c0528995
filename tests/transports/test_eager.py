"""Coroutines that are run at once, and become tasks only if they must."""

import asyncio

from app.transports.outbox import run_eagerly


async def test_coroutine_that_never_waits_is_done_within_the_call() -> None:
    """No task is made for it."""
    seen = []

    async def note() -> None:
        seen.append(1)

    assert run_eagerly(note()) is None
    assert seen == [1]


async def test_coroutine_that_waits_is_finished_by_a_task() -> None:
    """Every wait counts, not only the first."""
    turns = [asyncio.Event(), asyncio.Event()]
    seen = []

    async def follow() -> None:
        for turn in turns:
            await turn.wait()
            seen.append(turn)

    task = run_eagerly(follow())
    assert task is not None
    for turn in turns:
        turn.set()
    await task
    assert seen == turns


async def test_coroutine_that_waits_can_be_cancelled() -> None:
    """What it holds is released."""
    seen = []

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("released")

    task = run_eagerly(hold())
    assert task is not None
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert seen == ["released"]
