"""Below `async_to_sync`, as in commands and Django's TestCase, where all share one connection."""

from tests.database.conftest import Script
from tests.database.library.models import Author


def test_blocks_side_by_side_lose_nothing(library: Author, script: Script) -> None:
    assert script("""
        from asgiref.sync import async_to_sync

        async def write(number):
            async with atomic():
                await Author.objects.acreate(name=f"first {number}")
                await sleep(0)
                await Author.objects.acreate(name=f"second {number}")
                if number == 1:
                    raise KeyError

        async def main():
            print(await gather(*map(write, range(3)), return_exceptions=True))
            print(sorted([author.name async for author in Author.objects.exclude(name="Ursula")]))
            await Author.objects.exclude(name="Ursula").adelete()

        async_to_sync(main)()
        connection.close()
    """) == ["[None, KeyError(), None]", "['first 0', 'first 2', 'second 0', 'second 2']"]


def test_others_do_not_see_what_a_block_has_not_committed(library: Author, script: Script) -> None:
    assert script("""
        from asyncio import Event
        from asgiref.sync import async_to_sync

        async def write(has_written):
            async with atomic():
                await Author.objects.acreate(name="Octavia")
                has_written.set()
                await sleep(0.01)
                raise KeyError

        async def count(has_written):
            await has_written.wait()
            return await Author.objects.acount()

        async def main():
            has_written = Event()
            print(await gather(count(has_written), write(has_written), return_exceptions=True))

        async_to_sync(main)()
        connection.close()
    """) == ["[1, KeyError()]"]


def test_blocks_side_by_side_are_savepoints_of_a_block_around_them(
    library: Author, script: Script
) -> None:
    assert script("""
        from asgiref.sync import async_to_sync
        from django.db import transaction

        async def write(number):
            async with atomic():
                await Author.objects.acreate(name=f"{number}")
                await sleep(0)
                if number == 1:
                    raise KeyError

        async def main():
            async with atomic():
                await gather(*map(write, range(3)), return_exceptions=True)
            print(sorted([author.name async for author in Author.objects.all()]))

        with transaction.atomic():
            async_to_sync(main)()
            transaction.set_rollback(True)
        connection.close()
    """) == ["['0', '2', 'Ursula']"]
