"""Each viewer has an account, and so has each address of those who are not signed in."""

import asyncio
import gc
from dataclasses import replace

import pytest

from app.graphql.budgets import (
    CHARACTERS_OF_ONE_OPERATION,
    MAX_UNREAD_BYTES,
    Budgets,
    consumer_of,
)
from app.graphql.errors import (
    TooCostlyError,
    TooManyConnectionsError,
    TooManyOperationsError,
    TooManySubscriptionsError,
)
from app.graphql.limits import Limits
from app.viewer import Session, Viewer

pytestmark = pytest.mark.once

ADA, BOB, NOBODY = Session(Viewer(1), 1), Session(Viewer(2), 2), Session(Viewer())


@pytest.fixture
def budgets() -> Budgets:
    """Budgets with low limits."""
    return Budgets(
        replace(
            Limits.from_settings(),
            max_connections_per_viewer=2,
            max_operations_per_viewer=2,
            max_subscriptions_per_viewer=2,
            max_cost_per_viewer=100,
            max_result_bytes=50,
        )
    )


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ((ADA, "10.0.0.1"), (ADA, "10.0.0.2"), True),
        ((Session(Viewer(1, is_staff=True), 1), "10.0.0.1"), (ADA, "10.0.0.1"), True),
        ((ADA, "10.0.0.1"), (BOB, "10.0.0.1"), False),
        ((NOBODY, "10.0.0.1"), (NOBODY, "10.0.0.1"), True),
        ((NOBODY, "10.0.0.1"), (NOBODY, "10.0.0.2"), False),
        ((NOBODY, "10.0.0.1"), (ADA, "10.0.0.1"), False),
        ((NOBODY, "2001:db8:1:2::1"), (NOBODY, "2001:db8:1:2:ffff::2"), True),
        ((NOBODY, "2001:db8:1:2::1"), (NOBODY, "2001:db8:1:3::1"), False),
        ((NOBODY, "::ffff:10.0.0.1"), (NOBODY, "::ffff:10.0.0.2"), False),
        ((NOBODY, "/a/socket"), (NOBODY, "/a/socket"), True),
    ],
)
def test_an_account_is_of_a_viewer_or_of_an_address(
    one: tuple[Session, str], other: tuple[Session, str], are_same: bool, budgets: Budgets
) -> None:
    first, second = (budgets.account(consumer_of(*who)) for who in (one, other))
    assert (first is second) is are_same


def test_connections_are_counted(budgets: Budgets, caplog: pytest.LogCaptureFixture) -> None:
    account = budgets.account(consumer_of(NOBODY, "10.0.0.1"))
    account.connections += 1
    account.check_connections()
    account.connections += 1
    for _ in range(3):
        with pytest.raises(TooManyConnectionsError, match="You have 2 connections"):
            account.check_connections()
    budgets.account(consumer_of(NOBODY, "10.0.0.2")).check_connections()
    account.connections -= 1
    account.check_connections()
    assert budgets.refused == {"TOO_MANY_CONNECTIONS": 3}
    [line] = caplog.messages
    assert line == (
        "Address 10.0.0.1 has 2 connections, and may have no more. "
        "If it is a proxy, see FORWARDED_ALLOW_IPS."
    )


def test_operations_are_counted(budgets: Budgets) -> None:
    account = budgets.account(consumer_of(ADA, "10.0.0.1"))
    with account.operation(100):
        with account.operation(100), pytest.raises(TooManyOperationsError, match="2 operations"):
            account.operation(100).__enter__()
        with account.operation(100):
            pass
    assert budgets.refused == {"TOO_MANY_OPERATIONS": 1}
    with (
        account.operation(2 * CHARACTERS_OF_ONE_OPERATION - 1),
        pytest.raises(TooManyOperationsError),
    ):
        account.operation(1).__enter__()
    assert account.operations == 0


def test_equal_sources_are_charged_once_and_until_the_last_has_left(budgets: Budgets) -> None:
    account = budgets.account(consumer_of(ADA, "10.0.0.1"))
    first = account.charge("source", 60)
    assert account.charge("source", 60) is first
    account.charge("other", 40)
    assert account.cost == 100
    with pytest.raises(TooManySubscriptionsError, match="2 different subscriptions"):
        account.charge("third", 0)
    first.release()
    with pytest.raises(TooManySubscriptionsError):
        account.charge("third", 0)
    first.release()
    assert account.cost == 40
    with pytest.raises(TooCostlyError, match="and have 40; this one may have 61"):
        account.charge("third", 61)
    account.charge("third", 60)
    assert budgets.refused == {"TOO_MANY_SUBSCRIPTIONS": 2, "SUBSCRIPTIONS_TOO_COSTLY": 1}


def test_results_are_held_up_to_a_limit(budgets: Budgets) -> None:
    account = budgets.account(consumer_of(ADA, "10.0.0.1"))
    account.held_bytes = 60
    assert account.may_hold(40)
    assert not account.may_hold(41)
    assert account.may_hold(-10)


def test_an_account_that_nobody_holds_is_forgotten(budgets: Budgets) -> None:
    for number in range(100):
        with budgets.account(consumer_of(NOBODY, f"10.0.0.{number}")).operation(1):
            pass
    gc.collect()
    assert len(budgets._accounts) == 0


async def test_long_answers_wait_until_earlier_ones_are_read(budgets: Budgets) -> None:
    account = budgets.account(consumer_of(ADA, "10.0.0.1"))
    with account.unread(MAX_UNREAD_BYTES - 1):
        await account.drain()
        with account.unread(1):
            waiting = [asyncio.create_task(account.drain()) for _ in range(3)]
            await asyncio.sleep(0)
            assert not account.has_drained()
            assert not any(task.done() for task in waiting)
        async with asyncio.timeout(1):
            await asyncio.gather(*waiting)
    assert account.unread_bytes == 0
