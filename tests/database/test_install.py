"""`install()`: models and managers of anybody belong to the async ORM."""

import pytest

from tests.database.conftest import Script
from tests.database.library.models import Author

FRESH = "User.objects.all().delete(); Group.objects.all().delete(); connection.close()"


@pytest.mark.only("postgresql")  # where a row can be locked, and another connection would wait
def test_stock_models_in_a_block_never_wait_for_themselves(library: Author, script: Script) -> None:
    assert script(f"""
        from threading import active_count

        async def main():
            user = await User.objects.acreate_user("ada", password="x")
            try:
                async with atomic(), timeout(5):
                    user = await User.objects.select_for_update().aget(pk=user.pk)
                    user.first_name = "Ada"
                    await user.asave()
                    await user.arefresh_from_db()
                    await user.groups.acreate(name="Readers")
                    group = await Group.objects.aget(name="Readers")
                    await group.user_set.aadd(user)
                    await group.permissions.aset([await Permission.objects.alast()])
                    await user.user_permissions.aset([])
                    print([each.username async for each in group.user_set.all()])
                    print([each.pk async for each in User.objects.raw("SELECT * FROM auth_user")]
                          == [user.pk])
                    print([each.name async for each in user.groups.aiterator()])
                    raise KeyError
            except KeyError:
                pass
            print((await User.objects.aget()).first_name, await Group.objects.acount())
            print(active_count() - threads)

        {FRESH}
        install()
        threads = active_count()
        run(main())
        {FRESH}
    """) == ["['ada']", "True", "['Readers']", " 0", "0"]


def test_what_was_derived_before_belongs_to_it_too(library: Author, script: Script) -> None:
    assert script(f"""
        async def main():
            user = await User.objects.acreate(username="ada")
            await user.groups.acreate(name="Readers")
            print(type(user.groups).aadd.__code__.co_filename.endswith("database/models.py"))
            print(await user.groups.acount())

        {FRESH}
        User(pk=1).groups  # Django derives the class of the manager here
        install()
        install()  # twice is once
        run(main())
        {FRESH}
    """) == ["True", "1"]


def test_django_authenticates(library: Author, script: Script) -> None:
    assert script(f"""
        from django.contrib.auth import aauthenticate, aget_user, alogin
        from django.contrib.sessions.backends.db import SessionStore
        from django.http import HttpRequest

        async def main():
            await User.objects.acreate_user("ada", password="secret")
            request = HttpRequest()
            request.session = SessionStore()
            user = await aauthenticate(request, username="ada", password="secret")
            await alogin(request, user)
            await request.session.asave()
            again = HttpRequest()
            again.session = SessionStore(request.session.session_key)
            print(await aget_user(again), await user.ahas_perm("auth.view_user"))

        {FRESH}
        install()
        run(main())
        {FRESH}
    """) == ["ada False"]
