"""Slots are shared fairly, and none is ever lost."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.database.fairness import CONSUMER, SYSTEM, Consumer, FairSemaphore

pytestmark = pytest.mark.once

ADA, BOB, EVE = (Consumer("viewers", name) for name in ("ada", "bob", "eve"))
STRANGERS = [Consumer("addresses", number) for number in range(20)]


@pytest.fixture(autouse=True)
def no_consumer() -> Iterator[None]:
    """Leave no consumer to other tests."""
    token = CONSUMER.set(SYSTEM)
    yield
    CONSUMER.reset(token)


class Queue:
    """Tasks that ask for a slot, and the order in which they are let in."""

    def __init__(self, size: int) -> None:
        self.semaphore = FairSemaphore(size)
        self.entered: list[Consumer] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, consumer: Consumer, times: int = 1) -> None:
        """Let tasks of a consumer ask."""
        for _ in range(times):
            CONSUMER.set(consumer)
            self.tasks.append(asyncio.create_task(self._enter()))

    async def _enter(self) -> None:
        self.entered.append(await self.semaphore.acquire())

    async def release_all(self) -> None:
        """Give back one slot after the other until nobody waits."""
        await settle()
        released = 0
        while released < len(self.entered):
            self.semaphore.release(self.entered[released])
            released += 1
            await settle()


async def settle() -> None:
    """Let everybody do what they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_once_need_not_wait_for_who_asks_a_thousand_times() -> None:
    queue = Queue(1)
    queue.ask(EVE, 1000)
    await settle()
    queue.ask(BOB)
    queue.ask(ADA, 2)
    await queue.release_all()
    assert queue.entered[:7] == [EVE, EVE, BOB, ADA, EVE, ADA, EVE]
    assert queue.entered[7:] == [EVE] * 996


async def test_many_strangers_are_but_one_group() -> None:
    queue = Queue(1)
    for stranger in STRANGERS:
        queue.ask(stranger, 5)
    await settle()
    queue.ask(ADA, 2)
    await queue.release_all()
    assert [number for number, who in enumerate(queue.entered) if who == ADA] == [2, 4]
    first_round = [who for who in queue.entered if who != ADA][1:21]
    assert Counter(first_round).most_common(1)[0][1] <= 2


async def test_kinds_of_work_are_groups() -> None:
    queue = Queue(1)
    queue.ask(EVE, 3)
    await settle()
    CONSUMER.set(EVE)
    other = asyncio.create_task(queue.semaphore.acquire("other"))
    await settle()
    queue.semaphore.release(EVE)
    queue.semaphore.release(EVE)
    await settle()
    assert other.done()


async def test_one_consumer_holds_half_of_the_slots_at_most() -> None:
    queue = Queue(8)
    queue.ask(EVE, 20)
    await settle()
    assert queue.entered == [EVE] * 4
    queue.ask(BOB)
    await settle()
    assert queue.entered[4:] == [BOB]
    await queue.release_all()
    assert Counter(queue.entered) == {EVE: 20, BOB: 1}


async def test_the_server_itself_may_hold_all() -> None:
    queue = Queue(8)
    queue.ask(SYSTEM, 9)
    await settle()
    assert queue.entered == [SYSTEM] * 8
    assert queue.semaphore.is_empty()
    await queue.release_all()
    assert len(queue.entered) == 9


@pytest.mark.parametrize("is_let_in", [False, True])
async def test_who_is_cancelled_takes_no_slot_along(is_let_in: bool) -> None:
    queue = Queue(1)
    queue.ask(EVE)
    queue.ask(BOB)
    queue.ask(ADA)
    await settle()
    if is_let_in:  # in the same moment
        queue.semaphore.release(EVE)
    queue.tasks[1].cancel()
    await settle()
    if not is_let_in:
        queue.semaphore.release(EVE)
        await settle()
    assert queue.entered == [EVE, ADA]
    queue.semaphore.release(ADA)
    CONSUMER.set(BOB)
    assert queue.semaphore.is_open()


@pytest.mark.parametrize("is_let_in", [False, True])
async def test_who_is_closed_takes_no_slot_along(is_let_in: bool) -> None:
    queue = Queue(1)
    queue.ask(EVE)
    await settle()
    closed = queue.semaphore.acquire()
    closed.send(None)  # it waits
    queue.ask(BOB)
    await settle()
    if is_let_in:
        queue.semaphore.release(EVE)
    closed.close()
    if not is_let_in:
        queue.semaphore.release(EVE)
    await settle()
    assert queue.entered == [EVE, BOB]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([ADA, BOB, SYSTEM, *STRANGERS[:2]])),
        st.tuples(st.just("release"), st.integers(0, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("settle"), st.none()),
    ),
    max_size=60,
)


@given(size=st.integers(1, 4), steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_no_slot_is_lost_whatever_happens(size: int, steps: list[tuple[str, object]]) -> None:
    asyncio.run(play(size, steps))


async def play(size: int, steps: list[tuple[str, object]]) -> None:
    """Take the steps, then give all back: each who has not been cancelled was let in once."""
    queue = Queue(size)
    released = 0
    for step, value in steps:
        match step, value:
            case "ask", Consumer() as consumer:
                queue.ask(consumer)
            case "release", _ if released < len(queue.entered):
                queue.semaphore.release(queue.entered[released])
                released += 1
            case "cancel", int() as number if queue.tasks:
                queue.tasks[number % len(queue.tasks)].cancel()
            case _:
                await settle()
        held = Counter(queue.entered[released:])
        assert held.total() <= size
    await settle()
    rest = deque(queue.entered[released:])
    while rest:
        before = len(queue.entered)
        queue.semaphore.release(rest.popleft())
        await settle()
        rest += queue.entered[before:]
    assert all(task.done() for task in queue.tasks)
    assert len(queue.entered) == sum(not task.cancelled() for task in queue.tasks)
    assert not queue.semaphore.is_empty()
    assert queue.semaphore._groups == {}
    assert queue.semaphore._held == {}
