"""What projects test subscriptions with: it waits for what has been committed, not for time."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.core.exceptions import SynchronousOnlyOperation
from django.test import TestCase

from app.database.transaction import atomic
from app.server import LiveGraphQL
from app.testing import Client, ResponseError
from app.viewer import InvalidCredentialError, Viewer
from tests.items.models import Item
from tests.items.schema import schema

STATES = "subscription { items { state owner { username } } }"


@pytest.fixture
def server() -> LiveGraphQL:
    """What `asgi.py` makes."""
    return LiveGraphQL(schema)


def create(name: str, **values: Any) -> User:
    """A user with an item."""
    user = User.objects.create(username=name)
    Item.objects.create(owner=user, **values)
    return user


def states(*found: str, username: str = "ada") -> dict[str, Any]:
    return {"items": [{"state": each, "owner": {"username": username}} for each in found]}


async def test_results_follow_what_is_committed(
    server: LiveGraphQL, transactional_db: None
) -> None:
    ada = await sync_to_async(create)("ada")
    async with Client(server, user=ada) as client, client.subscribe(STATES) as results:
        assert await results.next() == states("OPEN")
        for state in ("DONE", "OPEN", "DONE"):
            await Item.objects.aupdate(state=state)
            assert await results.next() == states(state)
        assert await results.is_unchanged()
        await Item.objects.acreate(owner=ada)
        await Item.objects.acreate(owner=ada)
        assert await results.next() == states("OPEN", "OPEN", "DONE")
        await Item.objects.aupdate(name="another")
        assert await results.is_unchanged()
        with pytest.raises(AssertionError, match="nothing has changed"):
            await results.next()


async def test_writers_outside_of_the_process_count(
    server: LiveGraphQL, transactional_db: None
) -> None:
    ada = await sync_to_async(create)("ada")
    async with Client(server, user=ada) as client, client.subscribe(STATES) as results:
        await results.next()
        # In a thread, on a connection of its own.
        await sync_to_async(Item.objects.update)(state="DONE")
        assert await results.next() == states("DONE")


async def test_many_at_once(server: LiveGraphQL, transactional_db: None) -> None:
    users = [await sync_to_async(create)(f"user{number}") for number in range(5)]
    async with Client(server) as client:
        clients = [client.as_user(user) for user in users]
        subscriptions = [each.subscribe(STATES) for each in clients]
        results = [await each.__aenter__() for each in subscriptions]
        for each in results:
            await each.next()
        await Item.objects.filter(owner=users[3]).aupdate(state="DONE")
        changed = [not await each.is_unchanged() for each in results]
        assert changed == [False, False, False, True, False]
        for subscription in subscriptions:
            await subscription.__aexit__(None, None, None)


@pytest.fixture
def client(server: LiveGraphQL, db: None) -> Client:
    """A client in the transaction of the test."""
    return Client(server)


@pytest.fixture
def ada(db: None) -> User:
    """A user with an item."""
    return create("ada")


async def test_in_one_transaction(client: Client, ada: User) -> None:
    async with client, client.as_user(ada).subscribe(STATES) as results:
        assert await results.next() == states("OPEN")
        Item.objects.update(state="DONE")  # synchronous, in the test's transaction
        assert await results.next() == states("DONE")
        await Item.objects.acreate(owner=ada)
        assert await results.next() == states("OPEN", "DONE")
        assert await results.is_unchanged()
        async with atomic():
            await Item.objects.aupdate(name="another")
        assert await results.is_unchanged()
        data = await client.as_user(ada).execute('mutation { createItem(name: "new") { name } }')
        assert data == {"createItem": {"name": "new"}}
        assert len((await results.next())["items"]) == 3


async def test_nothing_is_left_of_a_transaction(client: Client) -> None:
    async with client:
        assert not await Item.objects.aexists()
        assert not User.objects.exists()
    with pytest.raises(SynchronousOnlyOperation):
        User.objects.exists()


class InDjangosTestCase(TestCase):
    """As Django's own tests are written."""

    async def test_subscription(self) -> None:
        ada = await sync_to_async(create)("ada")
        async with (
            Client(LiveGraphQL(schema), user=ada) as client,
            client.subscribe(STATES) as results,
        ):
            assert await results.next() == states("OPEN")
            await sync_to_async(Item.objects.update)(state="DONE")
            assert await results.next() == states("DONE")
            await Item.objects.acreate(owner=ada)
            assert len((await results.next())["items"]) == 2
            assert await results.is_unchanged()

    def test_nothing_is_left(self) -> None:
        assert not Item.objects.exists()


async def test_rights_of_the_moment_count(client: Client, ada: User) -> None:
    async with client:
        create("bob")
        asking = client.as_user(ada)
        assert len((await asking.execute("{ items { id } }"))["items"]) == 1
        ada.user_permissions.add(Permission.objects.get(codename="view_item"))
        assert len((await asking.execute("{ items { id } }"))["items"]) == 2


@pytest.fixture
def unrestricted(server: LiveGraphQL, ada: User) -> Client:
    """A client of a viewer."""
    return Client(server, viewer=Viewer(is_unrestricted=True))


async def test_a_viewer_may_be_given(unrestricted: Client) -> None:
    async with unrestricted as client:
        assert len((await client.execute("{ items { id } }"))["items"]) == 1


@pytest.fixture
def forger(server: LiveGraphQL, db: None) -> Client:
    """A client with credentials."""
    return Client(server, headers={"Authorization": "Bearer forged"})


async def test_credentials_may_be_given(forger: Client) -> None:
    async with forger as client:
        with pytest.raises(InvalidCredentialError, match="The session has ended"):
            await client.execute("{ items { id } }")


async def test_errors_are_raised(client: Client) -> None:
    async with client:
        with pytest.raises(ResponseError) as failed:
            await client.execute("{ items { id } }")
        assert failed.value.codes == ["UNAUTHENTICATED"]
        with pytest.raises(ResponseError) as failed:
            await client.execute("{ unknown }")
        assert failed.value.codes == ["GRAPHQL_VALIDATION_FAILED"]
        async with client.subscribe(STATES) as results:
            with pytest.raises(ResponseError, match="Sign in to see items"):
                await results.next()
            assert await results.is_over()


async def test_subscriptions_that_wait_for_no_change_can_be_read_one_by_one(
    client: Client,
) -> None:
    async with client, client.subscribe("subscription { countdown(from: 3) }") as results:
        assert [each["countdown"] async for each in results] == [3, 2, 1]
