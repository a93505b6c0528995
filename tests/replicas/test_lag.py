"""However late a replica is, sources end with what the primary holds."""

import pytest
from django.contrib.auth.models import User

from tests.replicas.conftest import following, write
from tests.replication import Standby

pytestmark = pytest.mark.only("postgresql")


async def test_sources_read_from_the_replica(replica: Standby, owner: User) -> None:
    async with following(owner) as (_, [follower]):
        await write(owner, "first")
        await follower.sees("first")
        assert set(follower.servers) == {"replica1"}


async def test_replica_that_lags_delays_its_sources_and_nothing_is_lost(
    replica: Standby, owner: User
) -> None:
    replica.set(recovery_min_apply_delay="500ms")
    replica.reload()
    async with following(owner) as (_, [follower]):
        for number in range(3):
            await write(owner, f"{number}")
            await follower.sees(*(f"{each}" for each in range(number + 1)))
        assert set(follower.servers) == {"replica1"}
