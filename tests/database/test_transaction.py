"""`async with atomic()`: the same promises on either database."""

import asyncio

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
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


async def test_blocks_are_left_where_they_were_entered(author: Author) -> None:
    block = atomic()
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with block:
            has_begun.set()
            await may_end.wait()

    task = asyncio.create_task(work())
    await has_begun.wait()
    with pytest.raises(RuntimeError, match="left in the task"):
        await block.__aexit__(None, None, None)
    may_end.set()
    await task
