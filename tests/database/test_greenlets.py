"""Calls in greenlets, without any database."""

import asyncio
from contextvars import ContextVar

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from app.database.greenlets import await_in_greenlet, finish, is_inside, run_in_greenlet

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def later(result: str) -> str:
    await asyncio.sleep(0.001)
    return result


async def fail() -> None:
    await asyncio.sleep(0)
    raise KeyError("expected")


async def test_synchronous_code_awaits() -> None:
    def double(word: str) -> str:
        assert is_inside()
        return await_in_greenlet(later(word)) + await_in_greenlet(later(word))

    assert await run_in_greenlet(double, "a") == "aa"
    assert not is_inside()


async def test_the_loop_goes_on_meanwhile() -> None:
    ready = asyncio.Event()
    waiting = asyncio.create_task(run_in_greenlet(lambda: await_in_greenlet(ready.wait())))
    await asyncio.sleep(0)
    assert not waiting.done()
    ready.set()
    assert await waiting is True


async def test_errors_pass_in_both_directions() -> None:
    def recover() -> str:
        try:
            await_in_greenlet(fail())
        except KeyError:
            return "recovered"
        return "no error"

    assert await run_in_greenlet(recover) == "recovered"
    with pytest.raises(KeyError):
        await run_in_greenlet(lambda: await_in_greenlet(fail()))


async def test_context_variables_pass_in_both_directions() -> None:
    def change() -> str:
        seen = variable.get()
        await_in_greenlet(later(""))
        variable.set("inside")
        return seen

    variable.set("outside")
    assert await run_in_greenlet(change) == "outside"
    assert variable.get() == "inside"


async def test_cancellation_is_raised_where_the_code_waits() -> None:
    cleaned = []

    def work() -> None:
        try:
            await_in_greenlet(asyncio.sleep(60))
        finally:
            await_in_greenlet(later(""))  # cleaning up may wait
            cleaned.append(True)

    task = asyncio.create_task(run_in_greenlet(work))
    await asyncio.sleep(0)  # it runs until it waits
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]


async def test_cancellation_outlives_a_failure_to_clean_up() -> None:
    def work() -> None:
        try:
            await_in_greenlet(asyncio.sleep(60))
        finally:
            raise ValueError("clean-up failed")

    task = asyncio.create_task(run_in_greenlet(work))
    await asyncio.sleep(0)  # it runs until it waits
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_timeouts_work() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run_in_greenlet(lambda: await_in_greenlet(asyncio.sleep(60)))


async def test_timeouts_inside_are_no_cancellation() -> None:
    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    def work() -> None:
        try:
            await_in_greenlet(impatient())
        except TimeoutError as error:
            raise ValueError("too slow") from error

    with pytest.raises(ValueError, match="too slow"):
        await run_in_greenlet(work)


async def test_what_must_be_finished_is() -> None:
    finished, may_finish = [], asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def work(must_wait: bool) -> None:
        if must_wait:
            await may_finish.wait()
            await asyncio.sleep(0)
        finished.append(must_wait)

    await run_in_greenlet(lambda: finish(work(must_wait=False), tasks))
    assert (finished, tasks) == ([False], set())
    task = asyncio.create_task(run_in_greenlet(lambda: finish(work(must_wait=True), tasks)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_finish.set()
    await asyncio.gather(*tasks)
    assert finished == [False, True]


async def test_closed_coroutines_clean_up_without_waiting() -> None:
    seen: list[type[BaseException]] = []

    def work() -> None:
        try:
            await_in_greenlet(asyncio.sleep(60))
        except BaseException as error:
            seen.append(type(error))
            try:
                await_in_greenlet(later(""))
            except BaseException as failure:
                seen.append(type(failure))
            raise

    call = run_in_greenlet(work)
    call.send(None)
    call.close()
    assert seen == [GeneratorExit, asyncio.CancelledError]


async def test_crossings_nest() -> None:
    def inner() -> str:
        return await_in_greenlet(later("inner"))

    def outer() -> str:
        return await_in_greenlet(run_in_greenlet(inner)) + await_in_greenlet(later(" outer"))

    assert await run_in_greenlet(outer) == "inner outer"


def test_waiting_elsewhere_is_refused() -> None:
    with pytest.raises(SynchronousOnlyOperation, match="only inside"):
        await_in_greenlet(later("never"))


async def test_waiting_on_the_loop_is_refused() -> None:
    with pytest.raises(SynchronousOnlyOperation, match="only inside"):
        await_in_greenlet(later("never"))


async def test_another_may_drive_a_call_than_the_one_that_began_it() -> None:
    """As with `eager_task_factory`: a task begins in the greenlet of the call that starts it."""
    ready = asyncio.get_running_loop().create_future()
    child = run_in_greenlet(lambda: await_in_greenlet(ready))

    def begin() -> str:
        child.send(None)
        return await_in_greenlet(later("outer"))

    async def drive() -> str:
        ready.set_result("inner")
        with pytest.raises(StopIteration) as end:
            child.send(None)
        return str(end.value.value)

    outer = asyncio.create_task(run_in_greenlet(begin))
    await asyncio.sleep(0)
    assert await drive() == "inner"
    assert await outer == "outer"
