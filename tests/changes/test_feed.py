"""A change wakes those whom it concerns, and nobody else."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import Model

from app import turns
from app.activity import EVERYTHING
from app.changes.change import Change
from app.changes.conditions import Dependency
from app.changes.feed import MANY, SOURCES_AT_ONCE, Feed, Waiter, Watch, backend_for
from app.changes.index import MAX_ENTRIES, Index
from app.changes.keys import keys_of
from app.database.lifespan import opened
from app.database.models import QuerySet
from app.graphql.engine import FAILURES
from app.live import Live
from tests.clients import PATIENCE_SECONDS
from tests.items.models import Item, Part

Membership = User.groups.through
Ticket = Group.permissions.through
MODELS: list[type[Model]] = [Item, Part, Membership]


def random_dependency(chance: random.Random) -> Dependency:
    model = chance.choice(MODELS)
    columns = [key.column for key in keys_of(model)]
    chosen = chance.sample(columns, chance.randint(0, len(columns)))
    values = [str(number) for number in range(6)]
    conditions = {name: frozenset(chance.sample(values, chance.randint(1, 3))) for name in chosen}
    return Dependency(model, conditions)


def random_change(chance: random.Random) -> Change:
    model = chance.choice(MODELS)
    columns = tuple(key.column for key in keys_of(model))
    told = columns[: chance.choice([0, 1, len(columns), len(columns)])]
    return Change(model._meta.db_table, told, tuple(str(chance.randrange(6)) for _ in told))


@pytest.mark.once
def test_index_finds_exactly_whom_a_change_concerns() -> None:
    chance = random.Random(1)
    index: Index[int] = Index()
    waiting: dict[int, list[Dependency]] = {}
    for number in range(3000):
        if waiting and chance.random() < 0.45:
            gone = chance.choice(list(waiting))
            index.discard(gone, waiting.pop(gone))
        else:
            waiting[number] = [random_dependency(chance) for _ in range(chance.randint(0, 3))]
            index.add(number, waiting[number])
        change = random_change(chance)
        expected = {
            each for each, them in waiting.items() if any(one.concerns(change) for one in them)
        }
        found = set(index.find(change))
        assert found >= expected
        if len(change.columns) != 1:  # else a trigger of another version, and some wake in vain
            assert found == expected
    for number, dependencies in waiting.items():
        index.discard(number, dependencies)
    assert index.waiting_for_every_change() == {}
    assert index.is_empty


@pytest.mark.once
def test_index_of_many_combinations_looks_at_fewer_columns() -> None:
    many = frozenset(str(number) for number in range(MAX_ENTRIES))
    dependency = Dependency(Item, {"id": many, "owner_id": frozenset(["1", "2"])})
    index: Index[str] = Index()
    index.add("somebody", [dependency])
    columns = ("id", "owner_id")
    assert set(index.find(Change("items_item", columns, ("1", "1")))) == {"somebody"}
    assert set(index.find(Change("items_item", columns, ("1", "3")))) == set()
    index.discard("somebody", [dependency])
    assert index.is_empty


class Followers:
    """Many who each follow a query of their own, and how often each was woken."""

    def __init__(self) -> None:
        self.woken: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []

    def follow(self, name: str, watch: Watch) -> None:
        async def count() -> None:
            async for _ in watch:
                self.woken[name] += 1

        self.tasks.append(asyncio.create_task(count()))

    async def stop(self) -> None:
        """End them all, and keep nothing of them."""
        tasks, self.tasks = self.tasks, []
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def followers() -> AsyncIterator[Followers]:
    """Nobody yet; afterwards all of them end."""
    found = Followers()
    yield found
    await found.stop()


@pytest.fixture
def users(transactional_db: None) -> list[User]:
    """Three users, each with one item."""
    users = [User.objects.create_user(name) for name in ("ada", "bob", "eve")]
    for user in users:
        Item.objects.create(owner=user)
    return users


async def settled(feed: Feed) -> None:
    """Return when everything that was committed before has been announced."""
    seen = asyncio.Event()
    key = None

    def observe(changes: list[Change] | None) -> None:
        if any(each.table == "auth_user" and key in each.values for each in changes or ()):
            seen.set()

    feed.observers.append(observe)
    user = await sync_to_async(User.objects.create_user)(f"end {random.random()}")
    key = str(user.pk)
    await sync_to_async(User.objects.filter(pk=user.pk).update)(last_name="x")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await seen.wait()
    feed.observers.remove(observe)
    await asyncio.sleep(0)


async def connected(feed: Feed) -> None:
    """Return when the feed follows the database, and what that has woken has run."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not feed.is_connected:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    await settled(feed)


@pytest.mark.only("postgresql")
async def test_change_of_a_row_wakes_those_who_may_see_it(
    users: list[User], followers: Followers
) -> None:
    ada, bob, eve = users
    async with Feed(backend_for("default")) as feed:
        for user in users:
            own: QuerySet[Item] = Item.objects.filter(owner=user).select_related("owner")
            followers.follow(user.username, feed.watch(own))
        followers.follow("all", feed.watch(Item))
        await connected(feed)

        async def woken_by(function: Callable[..., object], *arguments: object) -> set[str]:
            followers.woken.clear()
            await sync_to_async(function)(*arguments)
            await settled(feed)
            return set(followers.woken)

        def give_to_eve() -> None:
            Item.objects.filter(owner=bob).update(owner=eve)

        def rename(user: User) -> None:
            User.objects.filter(pk=user.pk).update(first_name="x")

        def raw() -> None:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM items_item WHERE owner_id = %s", [ada.pk])

        assert await woken_by(lambda: Item.objects.create(owner=ada)) == {"ada", "all"}
        assert await woken_by(give_to_eve) == {"bob", "eve", "all"}
        assert await woken_by(rename, bob) == {"bob"}
        assert await woken_by(raw) == {"ada", "all"}
        assert await woken_by(lambda: Group.objects.create(name="g")) == set()


@pytest.mark.only("postgresql")
async def test_thousand_members_of_a_hundred_teams_are_woken_by_tickets_of_their_teams(
    transactional_db: None, followers: Followers
) -> None:
    """As in docs/own-domain.md: first the teams that somebody is in, then the tickets of these."""
    permissions = await sync_to_async(lambda: list(Permission.objects.all()[:3]))()

    @sync_to_async
    def create() -> tuple[list[User], list[Group]]:
        users = User.objects.bulk_create(User(username=f"user{n}") for n in range(1000))
        teams = Group.objects.bulk_create(Group(name=f"team{n}") for n in range(100))
        Membership.objects.bulk_create(
            Membership(user=user, group=teams[n % 100]) for n, user in enumerate(users)
        )
        return users, teams

    users, teams = await create()
    seen: dict[int, int] = {}
    few = asyncio.Semaphore(20)  # else the pool's patience ends

    async def follow(feed: Feed, viewer: User) -> None:
        memberships: QuerySet[Model] = QuerySet(Membership).filter(user=viewer)
        watch = feed.watch(memberships)
        async for _ in watch:
            async with few:
                mine = [each async for each in memberships.values_list("group_id", flat=True)]
                tickets: QuerySet[Model] = QuerySet(Ticket).filter(group_id__in=mine)
                watch.also(tickets)
                seen[viewer.pk] = await tickets.acount()
            followers.woken[viewer.username] += 1

    async with opened(threads=8), Feed(backend_for("default")) as feed:
        await connected(feed)
        followers.tasks += [asyncio.create_task(follow(feed, user)) for user in users]
        async with asyncio.timeout(60):
            while len(seen) < 1000:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.02)

        async def woken_by(function: Callable[..., object], *arguments: object) -> set[str]:
            await settled(feed)
            followers.woken.clear()
            await sync_to_async(function)(*arguments)
            await settled(feed)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not followers.woken:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            return set(followers.woken)

        of_seven = {f"user{n}" for n in range(7, 1000, 100)}
        assert await woken_by(teams[7].permissions.add, permissions[0]) == of_seven
        assert seen[users[7].pk] == 1
        assert await woken_by(users[8].groups.add, teams[7]) == {"user8"}
        assert await woken_by(teams[7].permissions.add, permissions[1]) == of_seven | {"user8"}
        assert await woken_by(users[7].groups.remove, teams[7]) == {"user7"}
        assert seen[users[7].pk] == 0
        assert await woken_by(teams[7].permissions.clear) == (of_seven | {"user8"}) - {"user7"}
        causes = feed.index.waiting_for_every_change()
        assert causes == {}
    await followers.stop()


class Leaver:
    """A subscriber who waits for the first result."""

    def __init__(self) -> None:
        self.had_one = asyncio.Event()

    def next(self, _: bytes) -> None:
        self.had_one.set()

    def error(self, errors: str) -> None:
        raise AssertionError(errors)

    def complete(self) -> None:
        raise AssertionError("It has no end.")


@pytest.mark.once
async def test_when_the_last_subscriber_leaves_nobody_waits_any_more(
    transactional_db: None,
) -> None:
    feed = Feed(backend_for("default"))

    async def results() -> AsyncGenerator[str, None]:
        watch = feed.watch(Item.objects.filter(owner=5))
        async for _ in watch:
            watch.also(Part.objects.filter(item__in=[1, 2]))
            yield "{}"

    async with Live(FAILURES) as live:
        subscribers = [Leaver() for _ in range(3)]
        shared = [live.join(number, results, each) for number, each in enumerate(subscribers)]
        for each in subscribers:
            await each.had_one.wait()
        assert len(feed.waiters) == 3
        for operation, each in zip(shared, subscribers, strict=True):
            operation.leave(each)
        await asyncio.wait([operation.task for operation in shared if operation.task])
    await asyncio.sleep(0)
    del operation, shared
    assert feed.waiters == set()
    assert feed.index.is_empty


@pytest.mark.once
async def test_those_who_are_woken_at_once_work_in_turns(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, followers: Followers
) -> None:
    monkeypatch.setattr(turns, "LONGEST_TURN_SECONDS", 0.05)
    feed = Feed(backend_for("default"))
    at_work, most, done = 0, 0, asyncio.Event()

    async def work(number: int) -> None:
        nonlocal at_work, most
        async for _ in feed.watch(Item):
            at_work += 1
            most = max(most, at_work)
            if number < SOURCES_AT_ONCE + 3:
                await asyncio.Event().wait()  # some never end, and keep nobody else
            await asyncio.sleep(0)
            at_work -= 1
            followers.woken[str(number)] += 1
            if len(followers.woken) == 100:
                done.set()

    stuck = SOURCES_AT_ONCE + 3
    followers.tasks += [asyncio.create_task(work(number)) for number in range(stuck + 100)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()
    assert most <= stuck + SOURCES_AT_ONCE
    followers.woken.clear()
    done.clear()
    feed.announce(None)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()
    assert at_work == stuck
    assert feed.turns.cheap.is_open()


@pytest.mark.once
async def test_watched_queryset_that_is_iterated_itself_is_read_anew(item_of_ada: User) -> None:
    own: QuerySet[Item] = Item.objects.filter(owner=item_of_ada).prefetch_related("parts")
    feed = Feed(backend_for("default"))
    watch = feed.watch(own)
    async with asyncio.timeout(PATIENCE_SECONDS):
        for count in (1, 2, 3):
            await anext(watch)
            assert len([each async for each in own]) == count
            await sync_to_async(Item.objects.create)(owner=item_of_ada)
            feed.announce(None)


@pytest.fixture
def item_of_ada(transactional_db: None) -> User:
    """A user with an item."""
    user = User.objects.create_user("ada")
    Item.objects.create(owner=user)
    return user


@pytest.fixture
def debugging(settings: object, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The log of the feed, with all that it says."""
    with caplog.at_level(logging.DEBUG, "app.changes.feed"):
        yield


@pytest.mark.only("postgresql")
async def test_log_tells_what_wakes_and_warns_of_many_that_everything_wakes(
    postgresql: object, transactional_db: None, caplog: pytest.LogCaptureFixture, debugging: None
) -> None:
    feed = Feed(backend_for("default"))
    own = feed.watch(Item.objects.filter(owner=5).select_related("owner"))
    line = "A subscription is woken by: items_item where owner_id = 5; auth_user where id = 5."
    assert line in caplog.messages
    watches = [feed.watch(Item.objects.filter(name="x")) for _ in range(MANY - 1)]
    assert "woken by every change of" not in caplog.text.replace("by: every", "")
    watches += [feed.watch(Item.objects.filter(name="x")) for _ in range(5)]
    warning = f"{MANY} subscriptions are woken by every change of items_item"
    assert caplog.text.count(warning) == 1
    assert len(feed.waiters) == len([own, *watches])
    own.also(Part.objects.filter(item=7))
    assert caplog.messages[-1].endswith("auth_user where id = 5; items_part where item_id = 7.")
    for number in range(MANY):
        watches[number % 9].also(Part.objects.filter(name=str(number)))


@pytest.mark.once
def test_waiter_knows_since_when_it_is_due_and_by_what() -> None:
    waiter = Waiter(turns.Turns(1))
    items, parts = frozenset({"items_item"}), frozenset({"items_part"})

    def begin() -> tuple[float | None, frozenset[str]]:
        waiter.is_due = False
        return waiter.take_cause()

    assert begin()[0] is None
    waiter.wake(1, items)
    waiter.wake(2, parts)
    assert waiter.take_cause() == begin() == (1, items | parts)  # due until it has begun
    for tables in (EVERYTHING, items):
        waiter.wake(3, tables)
        waiter.wake(4, parts)
        waiter.wake(5, EVERYTHING)
        assert begin() == (3, EVERYTHING)
    assert begin()[0] is None
