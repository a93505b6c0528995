"""The pool on PostgreSQL: who holds a connection, for how long, and what goes wrong."""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import nullcontext, suppress
from itertools import count
from time import monotonic
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import (
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.models.signals import post_save
from django.db.transaction import TransactionManagementError

from app.database import adapter, scope
from app.database.base import GreenletDatabaseWrapper
from app.database.calls import run
from app.database.fairness import CONSUMER, SYSTEM, Consumer
from app.database.lifespan import opened, statistics
from app.database.limiter import Statistics
from app.database.pools import pools
from app.database.transaction import atomic
from tests.database.conftest import Script
from tests.database.library.models import Author, Book
from tests.postgresql import PostgreSQL

pytestmark = pytest.mark.only("postgresql")

Sizes = dict[str, object]


@pytest.fixture
def pool_options() -> Iterator[Sizes]:
    """The sizes of the pool, to be changed before it is opened."""
    options: Sizes = connections.settings["default"]["OPTIONS"]["pool"]
    before = dict(options)
    yield options
    options.clear()
    options.update(before)


def pool() -> Statistics:
    """The statistics of the one pool."""
    (only,) = statistics()
    return only


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds: for what happens in the background."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_whole() -> None:
    """Wait until every connection is back, and lost ones are replaced."""
    await until(lambda: pool().idle == pool().size and not pool().waiting)


def sleep(seconds: float) -> None:
    """Be a slow query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def running(marker: str) -> int:
    """How many other sessions run a statement with `marker` in it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s "
            "AND pid != pg_backend_pid()",
            [f"%{marker}%"],
        )
        return int(cursor.fetchone()[0])


async def test_no_thread_is_started(author: Author) -> None:
    async with asyncio.timeout(20):
        await asyncio.gather(*(Book.objects.acount() for _ in range(8)))
        before = {thread.ident for thread in threading.enumerate()}
        callers = {await run(threading.get_ident)}
        async with atomic():
            await asyncio.gather(
                *(Book.objects.select_related("author").alast() for _ in range(40))
            )
        async for book in Book.objects.prefetch_related("tags").aiterator(chunk_size=1):
            callers.add(await run(threading.get_ident))
            await book.asave()
    assert {thread.ident for thread in threading.enumerate()} == before
    assert callers == {threading.get_ident()}


async def test_calls_leave_no_wrapper_to_the_garbage_collector(author: Author) -> None:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await Book.objects.acount()
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, GreenletDatabaseWrapper)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_connections_are_held_only_in_use(author: Author) -> None:
    await Book.objects.acount()
    assert (pool().size, pool().idle) == (1, 1)
    async with atomic():
        assert pool().idle == 0
        await Book.objects.acount()
        assert pool().idle == 0
    assert pool().idle == 1
    rows = Book.objects.aiterator(chunk_size=1)
    await anext(rows)
    assert pool().idle == 0
    await rows.aclose()  # type: ignore[attr-defined]  # the stubs promise too little
    assert pool().idle == 1


async def test_server_side_cursors_fetch_by_chunk(author: Author) -> None:
    rows = Book.objects.aiterator(chunk_size=1)
    await anext(rows)
    open_cursors = await run(_count, "SELECT count(*) FROM pg_cursors")
    assert open_cursors == 0  # on a connection of its own
    async with atomic():
        inside = Book.objects.aiterator(chunk_size=1)
        await anext(inside)
        assert await run(_count, "SELECT count(*) FROM pg_cursors WHERE name LIKE '_django%%'") == 1
        assert [book.title async for book in inside] == ["Second", "Third"]
        assert await run(_count, "SELECT count(*) FROM pg_cursors WHERE name LIKE '_django%%'") == 0
    assert [book.title async for book in rows] == ["Second", "Third"]


def _count(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


async def test_connections_kept_beyond_their_call_are_refused(author: Author) -> None:
    kept = await run(lambda: connections["default"])
    with pytest.raises(ProgrammingError, match="has ended"):
        await run(kept.ensure_connection)
    async with atomic():
        kept = connections["default"]
    with pytest.raises(ProgrammingError, match="has ended"):
        await run(kept.ensure_connection)
    assert (pool().size, pool().idle) == (1, 1)


async def test_siblings_have_connections_of_their_own(author: Author) -> None:
    barrier = asyncio.Barrier(6)

    async def work() -> int:
        async with atomic():
            pid = await run(_count, "SELECT pg_backend_pid()")
            await barrier.wait()
            return pid

    assert len(set(await asyncio.gather(*(work() for _ in range(6))))) == 6
    assert pool().idle == pool().size


async def test_a_full_pool_has_a_deadline(library: Author, pool_options: Sizes) -> None:
    pool_options.update(max_size=2, timeout=0.2)
    async with opened():
        stuck = [asyncio.create_task(run(sleep, 60)) for _ in range(2)]
        await until(lambda: (pool().size, pool().idle) == (2, 0))
        with pytest.raises(OperationalError, match="all 2 are in use, 0 others"):
            await Book.objects.acount()
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        assert await Book.objects.acount() == 3
        assert (pool().size, pool().idle, pool().waiting, pool().errors) == (2, 2, 0, 1)


async def test_a_line_has_a_greatest_length(library: Author, pool_options: Sizes) -> None:
    pool_options.update(max_size=1, max_waiting=2)
    async with opened():
        await Book.objects.acount()
        results = await asyncio.gather(
            *(Book.objects.acount() for _ in range(5)), return_exceptions=True
        )
        assert results[:3] == [3, 3, 3]
        for error in results[3:]:
            assert isinstance(error, OperationalError)
            assert "all 1 are in use, 2 others wait" in str(error)
        assert (pool().requests, pool().waiting, pool().errors) == (6, 0, 2)


async def test_the_line_is_counted(library: Author, pool_options: Sizes) -> None:
    pool_options.update(max_size=2)
    async with opened():
        await asyncio.gather(*(run(sleep, 0.02) for _ in range(4)))
        await until(lambda: pool().idle == 2)
        before = pool()
        await asyncio.gather(*(run(sleep, 0.01) for _ in range(6)))
        assert pool().requests - before.requests == 6
        assert pool().queued - before.queued == 4
        assert pool().wait_seconds - before.wait_seconds > 0.03
        assert (pool().errors, pool().waiting, pool().idle) == (0, 0, 2)


async def test_cancellation_ends_the_query_on_the_server(author: Author) -> None:
    task = asyncio.create_task(run(sleep, 61))
    async with asyncio.timeout(10):
        while not await run(running, "pg_sleep(61"):
            pass
    begun = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert monotonic() - begun < 2
    assert await run(running, "pg_sleep(61") == 0
    assert pool().idle == pool().size
    assert pool().lost == 0


async def test_a_block_left_while_a_task_uses_it_is_rolled_back(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "LOCK_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(TransactionManagementError, match="run one at a time"):
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            stuck = asyncio.create_task(run(sleep, 0.5))
            await asyncio.sleep(0)  # it begins, and waits for the server
    with pytest.raises(OperationalError, match="has ended"):
        await stuck
    await until_whole()
    assert await Author.objects.acount() == 1


async def test_a_transaction_left_open_is_rolled_back(author: Author) -> None:
    def forget() -> None:
        from django.db import transaction

        transaction.atomic().__enter__()
        Author.objects.create(name="Nobody")

    await run(forget)
    assert await Author.objects.acount() == 1
    await until_whole()


async def query(_: int) -> None:
    """Ask what subscriptions ask."""
    await Book.objects.select_related("author").alast()


async def transact(number: int) -> None:
    """Begin what can only be cancelled."""
    async with atomic():
        await Author.objects.acreate(name=f"Nobody {number}")
        async with atomic():
            await Author.objects.acount()
        await asyncio.sleep(60)


async def iterate(_: int) -> None:
    """Use a cursor on the server."""
    async for _book in Book.objects.prefetch_related("tags").aiterator(chunk_size=1):
        pass


async def wait_for_the_server(_: int) -> None:
    """Be likely to be cancelled in mid-query."""
    await run(sleep, 0.002)


JOBS = [query, transact, iterate, wait_for_the_server]


@pytest.mark.parametrize("rounds", [300, pytest.param(5000, marks=pytest.mark.long)])
async def test_random_cancellations_leave_the_pool_whole(author: Author, rounds: int) -> None:
    chance = random.Random(rounds)
    for first in range(0, rounds, 50):
        tasks = [
            asyncio.create_task(JOBS[number % 4](number)) for number in range(first, first + 50)
        ]
        for task in tasks:
            await asyncio.sleep(chance.random() / 500)
            task.cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
                task.cancel()  # also while it cleans up
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
    await until_whole()
    assert await Author.objects.acount() == 1
    assert await run(running, "pg_sleep") == 0


class CancelledAt:
    """Awaits `work`, whose task is cancelled when it suspends for the `point`-th time and after."""

    def __init__(self, work: Coroutine[Any, Any, None], point: int, times: int) -> None:
        self._work = work
        self._points = range(point, point + times)
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, None]:
        value: Any = None
        resume: Callable[[Any], Any] = self._work.send
        while True:
            try:
                future = resume(value)
            except StopIteration:
                return
            self.suspended += 1
            if self.suspended in self._points and (task := asyncio.current_task()):
                task.cancel()
            try:
                value, resume = (yield future), self._work.send
            except BaseException as error:
                value, resume = error, self._work.throw

    async def run(self) -> None:
        """What a task needs."""
        await self


async def save_twice(_: int) -> None:
    """Begin, nest and end transactions."""
    async with atomic():
        await Author.objects.aupdate(name="Ursula")
        async with atomic():
            await Author.objects.aupdate(name="Ursula")


@pytest.mark.parametrize("job", [query, save_twice, iterate])
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancellation_at_any_point_loses_no_connection(
    library: Author, pool_options: Sizes, job: Callable[[int], Any], times: int
) -> None:
    pool_options.update(max_size=1)  # so that there is a line to wait in, and nothing to spare
    async with opened():
        for point in count(1):
            rival = asyncio.create_task(Book.objects.acount())
            await asyncio.sleep(0)
            work = CancelledAt(job(point), point, times)
            (result,) = await asyncio.gather(work.run(), return_exceptions=True)
            assert await rival == 3
            assert await asyncio.gather(*(Book.objects.acount() for _ in range(2))) == [3, 3]
            await until_whole()
            assert (pool().size, pool().idle) == (1, 1)
            if work.suspended < point:
                break
            assert isinstance(result, asyncio.CancelledError), result
        assert result is None
        assert point > 2


async def test_a_dead_connection_is_not_lent(author: Author) -> None:
    await asyncio.gather(*(run(sleep, 0.02) for _ in range(4)))
    assert pool().idle >= 2
    await run(_kill_others)
    assert await asyncio.gather(*(Book.objects.acount() for _ in range(20))) == [3] * 20


def _kill_others() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )


async def test_a_lone_caller_survives_a_restart(author: Author, postgresql: PostgreSQL) -> None:
    await asyncio.gather(*(run(sleep, 0.02) for _ in range(6)))
    await asyncio.to_thread(postgresql.crash)
    async with asyncio.timeout(5):  # the pool alone would find the six dead one by one
        for _ in range(10):
            assert await Book.objects.acount() == 3


@pytest.mark.parametrize("seconds", [1, pytest.param(15, marks=pytest.mark.long)])
async def test_after_a_restart_under_load_no_query_fails(
    author: Author, postgresql: PostgreSQL, seconds: float
) -> None:
    is_over = asyncio.Event()
    failed: list[tuple[float, OperationalError]] = []

    async def ask() -> None:
        while not is_over.is_set():
            begun = monotonic()
            try:
                await Book.objects.acount()
            except OperationalError as error:
                failed.append((begun, error))

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(ask())
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(postgresql.crash)
        restarted = monotonic()
        await asyncio.sleep(seconds)
        is_over.set()
    assert [error for begun, error in failed if begun > restarted] == []
    assert len(failed) <= 8, failed  # what was under way, one on each connection
    assert await asyncio.gather(*(Book.objects.acount() for _ in range(20))) == [3] * 20


async def test_after_an_outage_nobody_waits_for_long(
    author: Author, postgresql: PostgreSQL
) -> None:
    await asyncio.gather(*(run(sleep, 0.02) for _ in range(4)))
    await asyncio.to_thread(postgresql.stop)
    try:
        patient = asyncio.create_task(Book.objects.acount())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):  # in which the pauses of the pool would have grown
                await asyncio.shield(patient)
    finally:
        await asyncio.to_thread(postgresql.start)
    async with asyncio.timeout(1.5):
        assert await patient == 3
        assert await asyncio.gather(*(Book.objects.acount() for _ in range(20))) == [3] * 20


async def test_long_idle_connections_are_asked(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    execute = psycopg.AsyncConnection.execute

    async def note(self: object, query: str, *args: object, **kwargs: object) -> object:
        asked.append(query)
        return await execute(self, query, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", note)
    await Book.objects.acount()
    await Book.objects.acount()
    assert asked == []
    monkeypatch.setattr(adapter, "TRUSTED_SECONDS", 0)
    await Book.objects.acount()
    assert asked == [""]


async def test_all_is_closed_at_the_end(library: Author) -> None:
    pids = []

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])
            cursor.execute("SELECT pg_sleep(0.3)")

    async with opened():
        idle = await run(_count, "SELECT pg_backend_pid()")
        await asyncio.gather(run(hold), run(hold))  # two connections
        held = asyncio.create_task(run(hold))
        while len(pids) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await held  # What was under way ends, and nothing keeps its connection.
    assert statistics() == []
    listed = ", ".join(map(str, {idle, *pids}))
    assert await run(_count, f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({listed})") == 0


async def test_tasks_that_a_hook_starts_are_outside(author: Author) -> None:
    tasks: list[asyncio.Task[int]] = []
    async with atomic():
        transaction.on_commit(lambda: tasks.append(asyncio.ensure_future(acount())))
        transaction.on_commit(lambda: sleep(0.01))  # while the task begins
    assert await tasks[0] == 1


async def acount() -> int:
    """A coroutine, where the methods of managers only return one."""
    return await Author.objects.acount()


async def test_tasks_that_outlive_a_receiver_are_outside(author: Author) -> None:
    tasks: list[asyncio.Task[object]] = []
    may_go_on = asyncio.Event()

    async def receive(**_: object) -> None:
        tasks.append(asyncio.create_task(work()))

    async def work() -> tuple[int, int, int]:
        await may_go_on.wait()
        async with atomic():
            inside = await Author.objects.acount()
        return inside, await run(Author.objects.count), await sync_to_async(lambda: 7)()

    post_save.connect(receive, sender=Author)
    try:
        await Author.objects.acreate(name="Octavia")
    finally:
        post_save.disconnect(receive, sender=Author)
    may_go_on.set()
    assert await tasks[0] == (2, 2, 7)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 has brought eager tasks")
async def test_eager_tasks(author: Author) -> None:
    def begin() -> int:
        tasks.append(asyncio.create_task(acount()))
        return Author.objects.count()

    tasks: list[asyncio.Task[int]] = []
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        assert await asyncio.gather(*(run(begin) for _ in range(20))) == [1] * 20
        assert await asyncio.gather(*tasks) == [1] * 20
        async with atomic():
            await Author.objects.acreate(name="Octavia")
            assert await asyncio.gather(*(acount() for _ in range(20))) == [2] * 20
            transaction.on_commit(lambda: tasks.append(asyncio.create_task(acount())))
    finally:
        loop.set_task_factory(None)
    assert await tasks[-1] == 2
    await until_whole()


async def test_a_cancelled_statement_that_a_block_swallows_is_told(author: Author) -> None:
    with pytest.raises(TransactionManagementError, match="failed or was cancelled"):
        async with atomic():
            await Author.objects.acreate(name="Nobody")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await run(sleep, 60)
    assert await Author.objects.acount() == 1
    await until_whole()


async def test_a_server_that_hangs_is_given_up(
    library: Author, pool_options: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_options.update(timeout=1)
    monkeypatch.setattr(adapter, "TRUSTED_SECONDS", 0)
    async with opened():
        pid = await run(_count, "SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(0.95):  # by another connection
                assert await Book.objects.acount() == 3
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_another_role_is_assumed(
    library: Author, pool_options: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections.settings["default"]["OPTIONS"]
    monkeypatch.setitem(options, "assume_role", "pg_read_all_data")
    assert await run(_read, "SELECT current_user") == "pg_read_all_data"
    async with opened():
        assert await run(_read, "SELECT current_user") == "pg_read_all_data"
        assert await Book.objects.acount() == 3


def _read(query: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return str(cursor.fetchone()[0])


async def test_without_a_lifespan_a_loop_has_a_pool_of_its_own(
    library: Author, pool_options: Sizes
) -> None:
    pool_options.update(max_size=3)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(_count, "SELECT pg_backend_pid()")) for _ in range(300)]
    pids = {task.result() for task in tasks}
    assert len(pids) == 3
    assert await run(_count, "SELECT pg_backend_pid()") in pids


@pytest.mark.parametrize(
    "under_way",
    [
        "pass",
        "await anext(Book.objects.aiterator(chunk_size=1))",
        "global rows; rows = Book.objects.aiterator(chunk_size=1); await anext(rows)",
        "task = create_task(count()); await sleep(0)",
        "await create_task(atomic().__aenter__())",
    ],
)
def test_a_plain_script_leaves_nothing_open(
    library: Author, script: Script, under_way: str
) -> None:
    assert script(f"""
        async def count():
            return await Book.objects.acount()

        async def main():
            print(sum(await gather(*(count() for _ in range(300)))))
            {under_way}

        def others():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE application_name = 'script' AND pid != pg_backend_pid()"
                )
                return cursor.fetchone()[0]

        run(main())
        end = monotonic() + 5
        while others() and monotonic() < end:
            pass
        print(others())
    """) == ["900", "0"]


def test_generators_may_clean_up_when_a_script_ends(library: Author, script: Script) -> None:
    assert script("""
        async def lease(name):
            await Author.objects.acreate(name=name)
            try:
                yield
            finally:
                await sleep(0.01)
                await Author.objects.filter(name=name).adelete()

        async def main():
            global leases  # so that they are still there at the end
            leases = [lease(str(number)) for number in range(10)]
            for each in leases:
                await anext(each)

        run(main())
        print(*Author.objects.values_list("name", flat=True))
    """) == ["Ursula"]


async def test_a_pool_without_a_size_is_refused(library: Author, pool_options: Sizes) -> None:
    pool_options.clear()
    pool_options["min_size"] = 0
    with pytest.raises(ImproperlyConfigured, match="needs a max_size"):
        await Author.objects.acount()


def test_a_block_on_another_engine_leaves_the_calls_of_the_outer_one(
    library: Author, script: Script
) -> None:
    assert script("""
        from tempfile import mkdtemp

        from django.db import connections

        lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{mkdtemp()}/lite"}
        connections.settings["lite"] = connections.configure_settings(
            {"default": {}, "lite": lite}
        )["lite"]

        async def main():
            try:
                async with atomic():
                    await Author.objects.acreate(name="Nobody")
                    async with atomic("lite"):
                        print(await Author.objects.filter(name="Nobody").aexists())
                        await Author.objects.acreate(name="Nobody else")
                    raise KeyError
            except KeyError:
                print(await Author.objects.acount())

        run(main())
    """) == ["True", "1"]


async def test_a_server_that_is_down_is_named(
    library: Author, pool_options: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_options.update(timeout=0.2)
    monkeypatch.setitem(connections.settings["default"], "HOST", "/nowhere")
    async with opened():
        with pytest.raises(OperationalError, match="0 are in use, no other could be opened"):
            await Book.objects.acount()


async def test_several_event_loops_have_pools_of_their_own(author: Author) -> None:
    async def ask() -> list[int]:
        return await asyncio.gather(*(Book.objects.acount() for _ in range(10)))

    async def ask_opened() -> list[int]:
        async with opened():
            return await ask()

    loops = (asyncio.to_thread(asyncio.run, each()) for each in (ask, ask_opened))
    assert await asyncio.gather(*loops, ask()) == [[3] * 10] * 3
    await until_whole()


@pytest.mark.parametrize("is_in_transaction", [False, True])
async def test_forgotten_iterators_give_their_connection_back(
    author: Author, is_in_transaction: bool
) -> None:
    async def forget() -> None:
        await anext(Book.objects.aiterator(chunk_size=1))

    async with atomic() if is_in_transaction else nullcontext():
        await forget()
        gc.collect()
        assert await Book.objects.acount() == 3
    await until_whole()


async def test_cursors_do_not_outlive_their_call(author: Author) -> None:
    def begin() -> Iterator[Book]:
        rows = Book.objects.iterator(chunk_size=1)
        next(rows)
        return rows

    async with atomic():
        rows = Book.objects.aiterator(chunk_size=1)
        await anext(rows)
    with pytest.raises(TransactionManagementError, match="has ended"):
        await anext(rows)
    escaped = await run(begin)
    with pytest.raises(OperationalError, match="closed"):
        await run(next, escaped)
    await until_whole()
    assert await Book.objects.acount() == 3


async def test_threads_started_in_a_call_have_connections_of_their_own(author: Author) -> None:
    def count() -> list[int]:
        inside: list[int] = []

        def count_there() -> None:
            inside.append(Author.objects.count())
            connection.close()

        with transaction.atomic():
            Author.objects.create(name="Octavia")
            thread = threading.Thread(target=count_there)
            thread.start()
            thread.join()
        return inside

    assert await run(count) == [1]
    await until_whole()


async def test_each_slot_is_given_back_by_whom_it_was_taken(
    library: Author, pool_options: Sizes
) -> None:
    """Also when the next one has the connection before the pool is done with it."""
    pool_options |= {"min_size": 0, "max_size": 8}
    chance = random.Random(1)

    async def ask(number: int) -> None:
        CONSUMER.set(Consumer("viewers", number % 7) if number % 8 else SYSTEM)
        for _ in range(5):
            await Book.objects.acount()

    async with opened():
        tasks = [asyncio.create_task(ask(number)) for number in range(200)]
        for task in chance.sample(tasks, 60):
            await asyncio.sleep(0.001)
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in found if isinstance(each, Exception)]
        await until_whole()
        (only,) = pools()
        assert only._limiter._slots._held == {}
