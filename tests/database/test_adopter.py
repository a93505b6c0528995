"""The tests of a project that has copied the package: pytest-django, pytest-asyncio, TestCase."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import app.database
from tests.postgresql import PostgreSQL

pytestmark = pytest.mark.only("postgresql")

DATABASE = "test_adopter"

SETTINGS = """
    SECRET_KEY = "only for tests"
    ALLOWED_HOSTS = ["*"]
    INSTALLED_APPS = ["shop"]
    ROOT_URLCONF = "shop.urls"
    STATIC_URL = "/static/"
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    DATABASES = {{
        "default": {database!r} | {{
            "ENGINE": "copied",
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {{"pool": {{"min_size": 0, "max_size": 4, "timeout": 5}}}},
            "TEST": {{"NAME": {test_name!r}}},
        }}
    }}
"""

MODELS = """
    from django.db import models

    from copied.models import Model


    class Customer(Model):
        name = models.CharField(max_length=30, unique=True)
"""

URLS = """
    from django.http import JsonResponse
    from django.urls import path

    from copied.transaction import atomic
    from shop.models import Customer


    async def count(request):
        return JsonResponse({"n": await Customer.objects.acount()})


    async def create(request):
        async with atomic():
            await Customer.objects.acreate(name=request.GET["name"])
        return JsonResponse({"n": await Customer.objects.acount()})


    def count_synchronously(request):
        return JsonResponse({"n": Customer.objects.count()})


    urlpatterns = [
        path("count", count), path("create", create), path("synchronous", count_synchronously)
    ]
"""

CONFTEST = """
    import pytest
    from asgiref.sync import SyncToAsync
    from django.db import connections


    @pytest.fixture(scope="session")
    def django_db_setup(django_db_setup):
        yield
        # A connection that a synchronous view has left there, as with any engine.
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
"""

PYTEST = """
    import asyncio
    import json
    import urllib.request

    import pytest
    from django.db import transaction

    from copied.calls import run
    from copied.lifespan import opened
    from copied.transaction import atomic
    from shop.models import Customer

    pytestmark = pytest.mark.django_db(transaction=True)

    ANSWERS = [("/count", 1), ("/synchronous", 1), ("/create?name=Bob", 2), ("/synchronous", 2)]


    @pytest.fixture
    def customer(transactional_db):
        return Customer.objects.create(name="Ada")


    @pytest.fixture
    async def open_database(transactional_db):
        async with opened():
            yield


    @pytest.mark.parametrize("_", range(3))
    async def test_each_begins_with_what_its_fixtures_wrote(customer, _):
        assert await Customer.objects.acount() == await run(Customer.objects.count) == 1
        async with atomic():
            await Customer.objects.acreate(name="Bob")
        async with asyncio.timeout(5):
            customer.name = "Eve"
            await customer.asave()


    async def test_callers_side_by_side(customer):
        await asyncio.gather(*(Customer.objects.acreate(name=f"{n}") for n in range(20)))
        assert await Customer.objects.acount() == 21


    async def test_callers_side_by_side_in_the_lifespan(customer, open_database):
        await asyncio.gather(*(Customer.objects.acreate(name=f"{n}") for n in range(20)))
        assert await Customer.objects.acount() == 21


    async def test_an_iterator_left_open(customer):
        assert (await anext(Customer.objects.aiterator(chunk_size=1))).name == "Ada"


    async def test_hooks_run_after_the_commit(customer, django_capture_on_commit_callbacks):
        ran = []
        async with atomic():
            transaction.on_commit(lambda: ran.append(True))
            assert not ran
        assert ran


    async def test_the_async_client(customer, async_client):
        for path, number in ANSWERS:
            assert (await async_client.get(path)).json() == {"n": number}


    def test_the_client(customer, client):
        for path, number in ANSWERS:
            assert client.get(path).json() == {"n": number}


    async def test_the_live_server(customer, live_server):
        def get(path):
            with urllib.request.urlopen(live_server.url + path) as answer:
                return json.load(answer)

        for path, number in ANSWERS:
            assert await asyncio.to_thread(get, path) == {"n": number}
        assert await Customer.objects.acount() == 2
"""

UNITTEST = """
    import asyncio

    from django.test import TestCase, TransactionTestCase

    from copied.calls import run
    from copied.lifespan import opened
    from copied.transaction import atomic
    from shop.models import Customer


    class InOneTransaction(TestCase):
        @classmethod
        def setUpTestData(cls):
            Customer.objects.create(name="Ada")

        async def check(self):
            self.assertEqual(await Customer.objects.acount(), 1)
            async with atomic():
                await Customer.objects.acreate(name="Bob")
                await asyncio.gather(*(Customer.objects.acreate(name=f"{n}") for n in range(5)))
            self.assertEqual(await run(Customer.objects.count), 7)
            self.assertEqual(len([each async for each in Customer.objects.aiterator()]), 7)

        async def test_1(self):
            await self.check()

        async def test_2(self):
            await self.check()

        async def test_in_the_lifespan(self):
            async with opened():
                await self.check()

        async def test_client(self):
            answers = [
                (await self.async_client.get(path)).json()
                for path in ["/count", "/synchronous", "/create?name=Bob", "/synchronous"]
            ]
            self.assertEqual(answers, [{"n": 1}, {"n": 1}, {"n": 2}, {"n": 2}])


    class InTransactions(TransactionTestCase):
        setUp = lambda self: Customer.objects.create(name="Ada")
        check, test_1, test_2, test_in_the_lifespan, test_client = (
            InOneTransaction.check, InOneTransaction.test_1, InOneTransaction.test_2,
            InOneTransaction.test_in_the_lifespan, InOneTransaction.test_client,
        )
"""

Adopter = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def adopter(tmp_path: Path, postgresql: PostgreSQL) -> Adopter:
    """A function that runs Python in a new project, which has the package as `copied`."""
    given = conninfo_to_dict(postgresql.url("postgres"))
    names = {
        "dbname": "NAME",
        "user": "USER",
        "password": "PASSWORD",
        "host": "HOST",
        "port": "PORT",
    }
    database = {name: given[key] for key, name in names.items() if given.get(key)}
    package = Path(app.database.__file__).parent
    files = {f"copied/{path.name}": path.read_text() for path in package.glob("*.py")} | {
        "settings.py": SETTINGS.format(database=database, test_name=DATABASE),
        "conftest.py": CONFTEST,
        "shop/__init__.py": "",
        "shop/models.py": MODELS,
        "shop/urls.py": URLS,
    }

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (path := tmp_path / name).parent.mkdir(exist_ok=True)
            path.write_text(dedent(text))

    def execute(*arguments: str, **tests: str) -> subprocess.CompletedProcess[str]:
        write({f"{name}.py": text for name, text in tests.items()})
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )

    write(files)
    return execute


def pytest_arguments(loop_scope: str) -> list[str]:
    """What runs the project's tests, with each warning as an error."""
    return [
        *("pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        *("-o", "asyncio_mode=auto", "-o", f"asyncio_default_test_loop_scope={loop_scope}"),
        *("-o", f"asyncio_default_fixture_loop_scope={loop_scope}"),
    ]


def databases(postgresql: PostgreSQL) -> int:
    """How many databases the project's tests have left."""
    with psycopg.connect(postgresql.url("postgres")) as connection:
        cursor = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        return len(cursor.fetchall())


@pytest.mark.parametrize("loop_scope", ["function", "session"])
def test_its_tests_pass_and_the_database_is_dropped(
    adopter: Adopter, postgresql: PostgreSQL, loop_scope: str
) -> None:
    arguments = pytest_arguments(loop_scope)
    tests = {"test_pytest": PYTEST, "test_unittest": UNITTEST}
    for reuse in (["--create-db", "--reuse-db"], ["--reuse-db"], ["--create-db"]):
        done = adopter(*arguments, *reuse, **tests)
        assert done.returncode == 0, done.stdout
        assert databases(postgresql) == ("--reuse-db" in reuse)


def test_djangos_runner_runs_them_too(adopter: Adopter, postgresql: PostgreSQL) -> None:
    done = adopter("django", "test", "--noinput", "test_unittest", test_unittest=UNITTEST)
    assert done.returncode == 0, done.stdout
    assert "Ran 8 tests" in done.stdout
    assert databases(postgresql) == 0


ROLLED_BACK = """
    import pytest
    from django.db import transaction

    from copied.transaction import atomic
    from shop.models import Customer


    @pytest.fixture
    async def rolled_back(transactional_db):
        async with atomic():
            yield
            transaction.set_rollback(True)


    @pytest.mark.parametrize("_", range(2))
    async def test_a_block_around_a_test(rolled_back, async_client, _):
        assert await Customer.objects.acount() == 0
        await Customer.objects.acreate(name="Ada")
        assert (await async_client.get("/create?name=Bob")).json() == {"n": 2}
"""


def test_a_fixture_may_be_a_block_around_its_test(adopter: Adopter) -> None:
    done = adopter(*pytest_arguments("function"), test_rolled_back=ROLLED_BACK)
    assert done.returncode == 0, done.stdout
