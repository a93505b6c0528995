"""Random writers, and replicas that lag, pause, die and come back at random, by a seed."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from tests.items.models import Item
from tests.postgresql import PostgreSQL
from tests.replicas.conftest import Follower, aliases, following, until
from tests.replication import Standby, standby

pytestmark = pytest.mark.only("postgresql")

SECONDS = 4.0
FOLLOWERS = 8


@pytest.fixture
def replicas(
    postgresql: PostgreSQL, owner: User, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> Iterator[list[Standby]]:
    """Two in the settings, and little patience with them."""
    settings.LIVE_REPLICA_SECONDS = 0.5
    with (
        standby(postgresql) as first,
        standby(postgresql) as second,
        aliases(settings, first, second),
        django_db_blocker.unblock(),
    ):
        yield [first, second]


def write(chance: random.Random, owner: User) -> None:
    """One transaction, in one of the ways in which rows are written."""
    with transaction.atomic():
        items = Item.objects.filter(owner=owner)
        match chance.randrange(4):
            case 0:
                items.update(name=f"{chance.random()}")
            case 1:
                items.filter(pk__in=items.values("pk")[:2]).delete()
            case _:
                Item.objects.create(owner=owner, name=f"{chance.random()}")
        transaction.set_rollback(chance.random() < 0.2)


async def disturb(chance: random.Random, replica: Standby) -> None:
    """Let the replica be late, each time in another way."""
    while True:
        match chance.randrange(4):
            case 0:
                replica.set(recovery_min_apply_delay=f"{chance.choice([0, 30, 200, 700])}ms")
                await asyncio.to_thread(replica.reload)
            case 1:
                await asyncio.to_thread(replica.execute, "SELECT pg_wal_replay_pause()")
                await asyncio.sleep(chance.choice([0.1, 0.8]))
                await asyncio.to_thread(replica.resume)
            case 2:
                await asyncio.to_thread(replica.kill)
                await asyncio.to_thread(replica.start)
        await asyncio.sleep(chance.uniform(0, 0.3))


@pytest.mark.parametrize("seed", [1])
async def test_every_source_ends_with_what_the_primary_holds(
    seed: int, replicas: list[Standby], owner: User
) -> None:
    loop = asyncio.get_running_loop()
    async with following(owner, FOLLOWERS) as (feed, followers), asyncio.TaskGroup() as group:
        disturbing = [
            group.create_task(disturb(random.Random(f"{seed} {number}"), each))
            for number, each in enumerate(replicas)
        ]
        chance, writes, end = random.Random(seed), 0, loop.time() + SECONDS
        while loop.time() < end:
            await sync_to_async(write)(chance, owner)
            writes += 1
            await asyncio.sleep(chance.choice([0, 0, 0.01, 0.1]))
            if chance.random() < 0.1:
                late = Follower(feed, owner)
                followers.append(late)
                disturbing.append(group.create_task(late.follow()))
        assert writes > 10
        names = [each.name async for each in Item.objects.filter(owner=owner).order_by("pk")]
        await until(lambda: all(each.names == names for each in followers))
        servers = {server for each in followers for server in each.servers}
        assert servers == {"replica1", "replica2", None}
        for task in disturbing:
            task.cancel()
