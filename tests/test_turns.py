"""Expensive work is done by one at a time, and leaves room for the others."""

import asyncio
from collections.abc import Iterator
from time import thread_time

import pytest

from app import turns as turns_module
from app.database.fairness import CONSUMER, SYSTEM, Consumer
from app.turns import Turns

pytestmark = pytest.mark.once

ADA, BOB = Consumer("viewers", "ada"), Consumer("viewers", "bob")


@pytest.fixture(autouse=True)
def no_consumer() -> Iterator[None]:
    """Leave no consumer to other tests."""
    token = CONSUMER.set(SYSTEM)
    yield
    CONSUMER.reset(token)


def work(seconds: float) -> None:
    """Keep the event loop from all others."""
    ends_at = thread_time() + seconds
    while thread_time() < ends_at:
        pass


async def test_expensive_work_is_done_by_one_at_a_time_and_by_consumers_in_turn() -> None:
    turns, done, at_work = Turns(4), list[Consumer](), 0

    async def take(consumer: Consumer) -> None:
        nonlocal at_work
        CONSUMER.set(consumer)
        turn = await turns.begin("test", is_expensive=True)
        at_work += 1
        assert at_work == 1
        await asyncio.sleep(0)  # in which the next one asks, after a pause
        at_work -= 1
        done.append(consumer)
        turn.end()
        turn.end()  # once more does nothing

    await asyncio.gather(*(take(who) for who in [ADA] * 5 + [BOB] * 2))
    assert done == [ADA, ADA, BOB, ADA, BOB, ADA, ADA]


async def test_expensive_work_is_followed_by_a_pause() -> None:
    """Or each step of the others would wait for an expensive turn."""
    turns = Turns(4)
    turn = await turns.begin("test", is_expensive=True)
    work(0.02)
    waiting = asyncio.create_task(turns.begin("test", is_expensive=True))
    await asyncio.sleep(0)
    turn.end()
    assert turns.expensive.is_empty()
    await asyncio.sleep(0)
    assert not waiting.done()
    async with asyncio.timeout(10):
        (await waiting).end()


async def test_cheap_work_waits_for_no_expensive_work() -> None:
    turns = Turns(4)
    expensive = await turns.begin("test", is_expensive=True)
    cheap = [await turns.begin("test", is_expensive=False) for _ in range(4)]
    assert turns.cheap.is_empty()
    for turn in [expensive, *cheap]:
        turn.end()
    assert not turns.cheap.is_empty()


@pytest.mark.parametrize("is_expensive", [False, True])
async def test_a_turn_that_lasts_too_long_no_longer_counts(
    is_expensive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "LONGEST_TURN_SECONDS", 0.01)
    turns = Turns(1)
    stuck = await turns.begin("test", is_expensive=is_expensive)
    async with asyncio.timeout(10):
        other = await turns.begin("test", is_expensive=is_expensive)
    stuck.end()
    other.end()


@pytest.mark.parametrize("is_expensive", [False, True])
async def test_who_is_cancelled_while_waiting_keeps_nobody_else(is_expensive: bool) -> None:
    turns = Turns(1)
    first = await turns.begin("test", is_expensive=is_expensive)
    waiting = [
        asyncio.create_task(turns.begin("test", is_expensive=is_expensive)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    first.end()
    async with asyncio.timeout(10):
        (await waiting[2]).end()
