"""`async with atomic()`: the same promises on either database."""

import asyncio
import gc
import random
import unittest
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models.signals import post_save, pre_delete
from django.db.transaction import TransactionManagementError
from django.test import TestCase
from django.utils.connection import ConnectionDoesNotExist

from app.database import scope
from app.database.calls import run
from app.database.transaction import atomic
from tests.database.library.models import Author, Book


class ExpectedError(Exception):
    """What these tests raise inside transactions."""


async def names() -> list[str]:
    return [name async for name in Author.objects.values_list("name", flat=True)]


async def test_commit(author: Author) -> None:
    async with atomic():
        await Author.objects.acreate(name="Octavia")
        assert is_in_transaction()
        assert await asyncio.create_task(acount_elsewhere()) == 2
    assert not is_in_transaction()
    assert await names() == ["Ursula", "Octavia"]


def is_in_transaction() -> bool:
    """Whether Django sees a transaction in this context."""
    return connection.in_atomic_block


async def acount_elsewhere() -> int:
    """Count from a task that the transaction's block has started: it belongs to it."""
    return await Author.objects.acount()


async def test_rollback_on_error(author: Author) -> None:
    with pytest.raises(ExpectedError):
        async with atomic():
            await Author.objects.acreate(name="Octavia")
            raise ExpectedError
    assert await names() == ["Ursula"]


async def test_savepoints(author: Author) -> None:
    async with atomic():
        await Author.objects.acreate(name="Kept")
        with pytest.raises(ExpectedError):
            async with atomic():
                await Author.objects.acreate(name="Dropped")
                async with atomic(savepoint=False):
                    await Author.objects.acreate(name="Dropped too")
                raise ExpectedError
        with pytest.raises(IntegrityError):
            async with atomic():
                await Author.objects.acreate(name="Ursula")
        await Author.objects.acreate(name="Kept too")
    assert await names() == ["Ursula", "Kept", "Kept too"]


async def test_synchronous_blocks_inside(author: Author) -> None:
    def create(name: str) -> None:
        with transaction.atomic():
            Author.objects.create(name=name)

    async with atomic():
        await run(create, "Octavia")
        with pytest.raises(IntegrityError):
            await run(create, "Ursula")
    assert await names() == ["Ursula", "Octavia"]


async def test_broken_transactions_refuse_queries(author: Author) -> None:
    with pytest.raises(TransactionManagementError):
        async with atomic():
            with pytest.raises(IntegrityError):
                async with atomic(savepoint=False):
                    await Author.objects.acreate(name="Ursula")
            await Author.objects.acount()
    assert await names() == ["Ursula"]


async def test_on_commit(author: Author) -> None:
    heard = []
    async with atomic():
        transaction.on_commit(lambda: heard.append("first"))
        await run(transaction.on_commit, lambda: heard.append("second"))
        with pytest.raises(ExpectedError):
            async with atomic():
                transaction.on_commit(lambda: heard.append("never"))
                raise ExpectedError
        assert heard == []
    assert heard == ["first", "second"]
    with pytest.raises(SynchronousOnlyOperation):
        transaction.on_commit(lambda: heard.append("outside"))


async def test_set_rollback(author: Author) -> None:
    async with atomic():
        await Author.objects.acreate(name="Octavia")
        transaction.set_rollback(True)
    assert await names() == ["Ursula"]


async def test_durable(author: Author) -> None:
    async with atomic(durable=True):
        await Author.objects.acreate(name="Octavia")
        with pytest.raises(RuntimeError, match="durable"):
            async with atomic(durable=True):
                pass
    assert await names() == ["Ursula", "Octavia"]


async def test_decorator(author: Author) -> None:
    @atomic
    async def create(name: str, fail: bool = False) -> str:
        await Author.objects.acreate(name=name)
        if fail:
            raise ExpectedError
        return name

    assert await create("Octavia") == "Octavia"
    with pytest.raises(ExpectedError):
        await create("Nobody", fail=True)
    assert await names() == ["Ursula", "Octavia"]


def test_synchronous_use(library: Author) -> None:
    @atomic(savepoint=False)
    def create() -> None:
        Author.objects.create(name="Octavia")

    create()
    with pytest.raises(ExpectedError), atomic():
        Author.objects.create(name="Nobody")
        raise ExpectedError
    assert Author.objects.count() == 2


async def test_cancellation_rolls_back(author: Author) -> None:
    has_begun = asyncio.Event()

    async def work() -> None:
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            has_begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names() == ["Ursula"]
    async with atomic():
        await Author.objects.acreate(name="Octavia")
    assert await names() == ["Ursula", "Octavia"]


async def test_siblings_have_transactions_of_their_own(author: Author) -> None:
    async def work(number: int) -> None:
        async with atomic():
            await Author.objects.acreate(name=str(number))
            if number % 2:
                raise ExpectedError

    results = await asyncio.gather(*map(work, range(8)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ExpectedError] * 4
    assert sorted(await names()) == ["0", "2", "4", "6", "Ursula"]


async def test_tasks_in_a_block_take_turns(author: Author) -> None:
    async def nested(number: int) -> None:
        async with atomic():
            await Author.objects.acreate(name=str(number))
            await asyncio.sleep(0.001)
            if number % 2:
                raise ExpectedError

    with pytest.raises(KeyError):
        async with atomic():
            await asyncio.gather(*(Book.objects.acount() for _ in range(4)))
            await asyncio.gather(*map(nested, range(6)), return_exceptions=True)
            assert sorted(await names()) == ["0", "2", "4", "Ursula"]
            raise KeyError
    assert await names() == ["Ursula"]


async def test_waiting_for_an_outer_task_in_a_nested_block_ends(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "LOCK_TIMEOUT_SECONDS", 0.05)
    is_nested = asyncio.Event()

    async def count() -> int:
        await is_nested.wait()
        return await Author.objects.acount()

    async with atomic():
        task = asyncio.create_task(count())
        async with atomic():
            is_nested.set()
            with pytest.raises(TransactionManagementError, match="run one at a time"):
                await task


async def test_tasks_that_outlive_their_block_are_outside(author: Author) -> None:
    go_on = asyncio.Event()

    async def outlive() -> list[str]:
        await go_on.wait()
        assert not is_in_transaction()
        return await names()

    with pytest.raises(ExpectedError):
        async with atomic():
            task = asyncio.create_task(outlive())
            await Author.objects.acreate(name="Nobody")
            raise ExpectedError
    go_on.set()
    assert await task == ["Ursula"]


async def test_calls_that_come_after_the_end_of_their_block_fail(author: Author) -> None:
    has_begun, is_leaving = asyncio.Event(), asyncio.Event()

    async def nest() -> None:
        async with atomic():
            has_begun.set()
            await is_leaving.wait()
            for _ in range(20):
                await asyncio.sleep(0)

    async def count() -> int:
        await is_leaving.wait()
        return await Author.objects.acount()

    async with atomic():
        nesting, counting = asyncio.create_task(nest()), asyncio.create_task(count())
        await has_begun.wait()
        is_leaving.set()
    await nesting
    with pytest.raises(TransactionManagementError, match="has ended"):
        await counting


async def test_nested_blocks_that_outlive_their_transaction_fail(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "LOCK_TIMEOUT_SECONDS", 0.05)
    has_begun, go_on = asyncio.Event(), asyncio.Event()

    async def nest() -> None:
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            has_begun.set()
            await go_on.wait()
            with pytest.raises(TransactionManagementError, match="has ended"):
                await Author.objects.acreate(name="Nobody else")

    with pytest.raises(TransactionManagementError, match="run one at a time"):
        async with atomic():
            nesting = asyncio.create_task(nest())
            await has_begun.wait()
    go_on.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await nesting
    assert await names() == ["Ursula"]


async def test_iteration_in_a_transaction(author: Author) -> None:
    async with atomic():
        await Book.objects.acreate(title="Fourth", author=author)
        titles = []
        async for book in Book.objects.aiterator(chunk_size=2):
            titles.append(book.title)
            await Book.objects.filter(pk=book.pk).aupdate(pages=1)
    assert titles == ["First", "Second", "Third", "Fourth"]
    assert await Book.objects.filter(pages=1).acount() == 4


async def test_before_the_lifespan(library: Author) -> None:
    async def create(name: str) -> None:
        async with atomic():
            await Author.objects.acreate(name=name)
            await asyncio.sleep(0.001)
            if name == "2":
                raise ExpectedError

    results = await asyncio.gather(*map(create, "123"), Author.objects.acount(),
                                   return_exceptions=True)  # fmt: skip
    assert isinstance(results[1], ExpectedError)
    assert sorted(await names()) == ["1", "3", "Ursula"]


async def test_a_block_that_cannot_begin_leaves_nothing_behind(author: Author) -> None:
    with pytest.raises(ConnectionDoesNotExist):
        async with atomic(using="nowhere"):
            pass
    assert await names() == ["Ursula"]


async def test_a_block_that_another_task_entered_is_rolled_back(author: Author) -> None:
    for _ in range(10):  # more than there are connections
        stack = AsyncExitStack()
        await asyncio.create_task(stack.enter_async_context(atomic()))
        with pytest.raises(RuntimeError, match="left in the task and context that entered it"):
            await stack.aclose()
    assert await names() == ["Ursula"]


async def test_a_block_that_another_task_entered_passes_on_what_was_raised(author: Author) -> None:
    with pytest.raises(ExpectedError):
        async with AsyncExitStack() as stack:
            await asyncio.create_task(stack.enter_async_context(atomic()))
            raise ExpectedError
    assert await names() == ["Ursula"]


async def test_a_block_that_another_task_leaves_is_rolled_back(author: Author) -> None:
    block = atomic()
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with block:
            await Author.objects.acreate(name="Nobody")
            has_begun.set()
            await may_end.wait()

    task = asyncio.create_task(work())
    await has_begun.wait()
    with pytest.raises(RuntimeError, match="left in the task"):
        await block.__aexit__(None, None, None)
    may_end.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task
    assert await names() == ["Ursula"]


async def test_who_has_lost_its_block_cannot_go_on(author: Author) -> None:
    stack, has_begun, may_go_on = AsyncExitStack(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with stack:
            await stack.enter_async_context(atomic())
            await Author.objects.acreate(name="Nobody")
            has_begun.set()
            await may_go_on.wait()
            await Author.objects.acreate(name="Nobody, and without a transaction")

    task = asyncio.create_task(work())
    await has_begun.wait()
    with pytest.raises(RuntimeError, match="left in the task"):
        await stack.aclose()
    may_go_on.set()
    with pytest.raises(TransactionManagementError, match="has ended"):
        await task
    assert await names() == ["Ursula"]


async def test_a_task_of_the_block_cannot_leave_it_for_its_owner(author: Author) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(atomic())
            await Author.objects.acreate(name="Nobody")
            with pytest.raises(RuntimeError, match="left in the task"):
                await asyncio.create_task(stack.aclose())
            await Author.objects.acreate(name="Nobody, and without a transaction")

    with pytest.raises(TransactionManagementError, match="has ended"):
        await asyncio.create_task(work())
    assert await names() == ["Ursula"]


@pytest.mark.only("postgresql")  # asgiref remembers the task of a thread's latest call
async def test_coroutines_that_are_thrown_away_lose_no_connection(author: Author) -> None:
    async def work(written: asyncio.Event) -> None:
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            written.set()
            await asyncio.get_running_loop().create_future()

    for _ in range(10):  # more than there are connections
        written = asyncio.Event()
        task = weakref.ref(asyncio.create_task(work(written)))
        await written.wait()
        while task() is not None:  # timers that were cancelled keep it until they were due
            await asyncio.sleep(0.01)
            gc.collect()
    assert await names() == ["Ursula"]


async def test_blocks_that_are_left_in_the_wrong_order_are_rolled_back(author: Author) -> None:
    outer, inner = AsyncExitStack(), AsyncExitStack()
    await outer.enter_async_context(atomic())
    await inner.enter_async_context(atomic())
    await Author.objects.acreate(name="Nobody")
    async with asyncio.timeout(5):  # at once, not when somebody's patience ends
        with pytest.raises(RuntimeError, match="after the blocks inside of it"):
            await outer.aclose()
        with pytest.raises(TransactionManagementError, match="has ended"):
            await inner.aclose()
    assert await names() == ["Ursula"]
    async with atomic():
        await Author.objects.acreate(name="Octavia")
    assert await names() == ["Ursula", "Octavia"]


async def test_blocks_of_tasks_in_other_threads_are_their_own(author: Author) -> None:
    async with atomic():
        await Author.objects.acreate(name="Nobody yet")
        assert await asyncio.to_thread(asyncio.run, Author.objects.acount()) == 1
        assert await Author.objects.acount() == 2


class UnitOfWork:
    """A context manager of a project's own."""

    async def __aenter__(self) -> None:
        self._block = atomic()
        await self._block.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._block.__aexit__(*error)


async def plain_generator() -> AsyncIterator[None]:
    """Yields in a block."""
    async with atomic():
        yield


async def generator_with_stack() -> AsyncIterator[None]:
    """Yields in a block that it entered by way of the standard library."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(atomic())
        yield


async def generator_with_class() -> AsyncIterator[None]:
    """Yields in a block that it entered by way of a class."""
    async with UnitOfWork():
        yield


class UnitWithHelper(UnitOfWork):
    """The same, in two steps."""

    async def __aenter__(self) -> None:
        await self.begin()

    async def begin(self) -> None:
        """Enter the block."""
        await super().__aenter__()


async def generator_with_helper() -> AsyncIterator[None]:
    """Yields in a block that it entered by way of a helper."""
    async with UnitWithHelper():
        yield


async def generator_with_manager() -> AsyncIterator[None]:
    """Yields in a block that it entered by way of a generator that may."""
    async with asynccontextmanager(plain_generator)():
        yield


@pytest.mark.parametrize(
    "generate",
    [
        plain_generator,
        generator_with_stack,
        generator_with_class,
        generator_with_helper,
        generator_with_manager,
    ],
)
async def test_what_follows_a_yield_in_a_block_is_refused(
    author: Author, generate: Callable[[], AsyncIterator[None]]
) -> None:
    """It would be rolled back, without a word, when the generator is thrown away."""
    async for _ in generate():
        with pytest.raises(TransactionManagementError, match="has yielded inside"):
            await Author.objects.acreate(name="Nobody")
        with pytest.raises(TransactionManagementError, match="has yielded inside"):
            await asyncio.create_task(names())
        break
    with pytest.raises(TransactionManagementError, match="has yielded inside"):
        await Author.objects.acreate(name="Nobody")
    await asyncio.sleep(0.1)  # Python closes the generator
    await Author.objects.acreate(name="Octavia")
    assert await names() == ["Ursula", "Octavia"]


async def test_generators_may_have_blocks_between_their_yields(author: Author) -> None:
    async def generate() -> AsyncIterator[list[str]]:
        for name in ("Octavia", "Stanislaw"):
            async with UnitOfWork():
                await asyncio.gather(Author.objects.acreate(name=name), names())
                found = await names()
            yield found

    seen = []
    async for found in generate():
        await Author.objects.acreate(name=f"after {found[-1]}")
        seen.append(found)
    assert await names() == ["Ursula", "Octavia", "after Octavia", "Stanislaw", "after Stanislaw"]
    assert seen[0] == ["Ursula", "Octavia"]


async def test_context_managers_may_yield_in_a_block(author: Author) -> None:
    @asynccontextmanager
    async def lease() -> AsyncIterator[None]:
        async with plain():
            await Author.objects.acreate(name="Lease")
        yield
        async with plain():
            await Author.objects.filter(name="Lease").adelete()

    async def generate() -> AsyncIterator[None]:
        async with lease():
            yield

    plain = asynccontextmanager(plain_generator)
    async for _ in generate():
        assert await names() == ["Ursula", "Lease"]
    with pytest.raises(ExpectedError):
        async with plain():
            await Author.objects.acreate(name="Nobody")
            raise ExpectedError
    assert await names() == ["Ursula"]


def test_generators_cannot_be_decorated() -> None:
    with pytest.raises(TypeError, match="plain_generator yields"):
        atomic(plain_generator)


async def test_errors_that_a_block_swallows_are_raised_at_its_end(author: Author) -> None:
    with pytest.raises(TransactionManagementError, match="rolled back") as failure:
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            with suppress(IntegrityError):
                await Author.objects.acreate(name="Ursula")
    assert isinstance(failure.value.__cause__, IntegrityError)
    assert await names() == ["Ursula"]


async def test_errors_that_a_savepoint_swallows_are_raised_at_its_end(author: Author) -> None:
    async with atomic():
        await Author.objects.acreate(name="Octavia")
        with pytest.raises(TransactionManagementError, match="rolled back"):
            async with atomic():
                await Author.objects.acreate(name="Nobody")
                with suppress(IntegrityError):
                    await Author.objects.acreate(name="Ursula")
    assert await names() == ["Ursula", "Octavia"]


async def test_errors_that_a_savepoint_has_undone_are_none(author: Author) -> None:
    async with atomic():
        await Author.objects.acreate(name="Octavia")
        with suppress(IntegrityError):
            async with atomic():
                await Author.objects.acreate(name="Ursula")
        assert (await Author.objects.aget_or_create(name="Ursula"))[1] is False
    assert await names() == ["Ursula", "Octavia"]


async def test_iterators_may_be_forgotten_at_the_end(
    author: Author, caplog: pytest.LogCaptureFixture
) -> None:
    async with atomic():
        async for _ in Book.objects.aiterator(chunk_size=1):
            break
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert caplog.records == []
    assert await names() == ["Ursula"]


@pytest.mark.only("postgresql")  # where two can write at once
async def test_code_in_threads_sees_its_own_transaction(author: Author) -> None:
    def work() -> int:
        try:
            with transaction.atomic():
                Author.objects.create(name="Nobody")
                counted = async_to_sync(acount_elsewhere)()
                transaction.set_rollback(True)
                return counted
        finally:
            connection.close()

    async with atomic():
        await Author.objects.abulk_create([Author(name="Octavia"), Author(name="Stanislaw")])
        assert await sync_to_async(work)() == 2  # Ursula and Nobody
    assert await names() == ["Ursula", "Octavia", "Stanislaw"]


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_one_shared_thread_is_never_left_in_a_transaction(
    library: Author, cancellations: int
) -> None:
    """Without the lifespan on SQLite; on PostgreSQL below synchronous code: see the next."""
    for round_ in range(30):
        tasks = [asyncio.create_task(_create_and_wait(round_)) for _ in range(2)]
        for _ in range(cancellations):
            await asyncio.sleep(random.random() / 200)
            tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not await run(is_in_transaction)
    await Author.objects.acreate(name="Octavia")
    assert "Octavia" in await asyncio.to_thread(_names_elsewhere)


async def _create_and_wait(number: int) -> None:
    async with atomic():
        await Author.objects.aget_or_create(name=f"Author {number}")
        await asyncio.sleep(0.001)


def _names_elsewhere() -> list[str]:
    """Read on a connection of another thread."""
    try:
        return list(Author.objects.values_list("name", flat=True))
    finally:
        connection.close()


async def test_a_block_below_synchronous_code_is_ended_whatever_cancels(library: Author) -> None:
    async def service() -> None:
        for _ in range(20):
            with suppress(TimeoutError):
                async with asyncio.timeout(random.random() / 200), atomic():
                    await Author.objects.aupdate(name="Ursula")
                    await asyncio.sleep(0.001)

    def call() -> tuple[bool, list[str]]:
        async_to_sync(service)()
        inside = connection.in_atomic_block
        Author.objects.create(name="Octavia")
        return inside, _names_elsewhere()

    assert await asyncio.to_thread(call) == (False, ["Ursula", "Octavia"])


async def _raise_in_inner_block() -> None:
    async with atomic(savepoint=False):
        raise ValueError


@pytest.mark.parametrize(
    "fail",
    [
        lambda: Author(name="Nobody", pk="no number").asave(),
        _raise_in_inner_block,
        lambda: Author.objects.filter(name="Ursula").adelete(),
    ],
)
async def test_whatever_dooms_a_block_is_told(
    author: Author, fail: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Also if no statement has failed."""

    def refuse(**_: object) -> None:
        raise ValueError

    pre_delete.connect(refuse, sender=Author)
    try:
        with pytest.raises(TransactionManagementError, match="rolled back"):
            async with atomic():
                await Author.objects.acreate(name="Nobody")
                with suppress(ValueError):
                    await fail()
    finally:
        pre_delete.disconnect(refuse, sender=Author)
    assert await names() == ["Ursula"]


async def test_a_wanted_rollback_is_silent_and_counts_for_its_block_only(author: Author) -> None:
    def roll_back_a_savepoint() -> None:
        with transaction.atomic():
            transaction.set_rollback(True)

    async with atomic():
        with suppress(IntegrityError):
            await Author.objects.acreate(name="Ursula")
        transaction.set_rollback(True)
    with pytest.raises(TransactionManagementError, match="rolled back"):
        async with atomic():
            async with atomic():
                transaction.set_rollback(True)
            await run(roll_back_a_savepoint)
            with suppress(IntegrityError):
                await Author.objects.acreate(name="Ursula")
    assert await names() == ["Ursula"]


async def test_callable_objects_can_be_decorated(author: Author) -> None:
    class Create:
        async def __call__(self) -> bool:
            return is_in_transaction()

    assert await atomic(Create())()


class Hooks(TestCase):
    """Django's own test case, within whose transaction the blocks are savepoints."""

    def runTest(self) -> None:  # noqa: N802
        async def service(fail: bool) -> None:
            async with atomic():
                transaction.on_commit(lambda: None)
                if fail:
                    raise ExpectedError

        with self.captureOnCommitCallbacks() as hooks:
            async_to_sync(service)(fail=False)
            with pytest.raises(ExpectedError):
                async_to_sync(service)(fail=True)
        assert len(hooks) == 1


def test_hooks_of_a_test_case_are_its_own(transactional_db: None) -> None:
    result = unittest.TestSuite([Hooks()]).run(unittest.TestResult())
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


async def _swallow() -> None:
    async with atomic():
        await Author.objects.acreate(name="Nobody")
        with suppress(IntegrityError):
            await Author.objects.acreate(name="Ursula")


def test_swallowed_errors_below_synchronous_code_are_told(transactional_db: None) -> None:
    def roll_back() -> None:
        with transaction.atomic():
            transaction.set_rollback(True)

    async def sleep() -> None:
        async with atomic():
            pass

    Author.objects.create(name="Ursula")
    async_to_sync(sleep)()
    for _ in range(2):
        roll_back()  # as Django's own test cases do
        with transaction.atomic():
            with pytest.raises(TransactionManagementError, match="rolled back"):
                async_to_sync(_swallow)()
            Author.objects.get()
    connection.close()


@pytest.mark.only("postgresql")  # where a failed statement is the end of a transaction
def test_swallowed_reads_below_synchronous_code_are_told(transactional_db: None) -> None:
    async def swallow() -> None:
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            with suppress(DataError):
                await Author.objects.extra(where=["1/0=1"]).acount()

    with pytest.raises(TransactionManagementError, match="rolled back"):
        async_to_sync(swallow)()
    assert not Author.objects.exists()
    connection.close()


def test_blocks_in_a_transaction_that_is_to_be_rolled_back_end_well(
    transactional_db: None,
) -> None:
    async def work() -> int:
        async with atomic(savepoint=False):
            return 1

    def call() -> int:
        try:
            with transaction.atomic():
                transaction.set_rollback(True)
                return async_to_sync(work)()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:  # which has had no block before
        assert [thread.submit(call).result() for _ in range(2)] == [1, 1]


async def test_a_cancellation_reaches_async_receivers(library: Author) -> None:
    cancelled = []

    async def receive(**_: object) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    post_save.connect(receive, sender=Author)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), atomic():
                await Author.objects.acreate(name="Nobody")
    finally:
        post_save.disconnect(receive, sender=Author)
    assert cancelled == [True]
    assert await names() == ["Ursula"]
