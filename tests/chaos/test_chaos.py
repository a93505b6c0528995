"""The short form of the run, and what makes its verdict one that can be believed."""

import asyncio
import math
import re
import socket
import subprocess
import sys

import pytest

from tests.chaos.forwarder import Forwarder
from tests.chaos.ledger import Excuses, Ledger
from tests.chaos.logs import complaint
from tests.chaos.oracle import Inbox, Oracle, wrong
from tests.chaos.plan import LARGE, SMALL, Asked, ClientPlan, make_plan
from tests.chaos.truth import Truth
from tests.chaos.world import Viewer, World, now
from tests.server import ROOT

KINDS = ("backend-killed", "worker-killed", "feed-cut")
PAGE = Asked(10, "", "id owner { username }")

pytestmark = pytest.mark.once


@pytest.mark.usefixtures("nginx")
def test_short_run_finds_nothing_wrong() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seed", "short", "--seconds", "5"]
    done = subprocess.run(
        [*command, "--kinds", ",".join(KINDS)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"on postgresql: [1-9]\d* faults", done.stdout), done.stdout
    assert re.search(r"\* messages: \d{2,}", done.stdout), done.stdout


def test_seed_stands_for_one_plan() -> None:
    def plan(seed: str) -> object:
        return make_plan(seed, 60, ["orm", "sql"], KINDS, LARGE)

    assert plan("1") == plan("1")
    assert plan("1") != plan("2")


def test_every_kind_of_fault_comes_as_often_as_the_others() -> None:
    plan = make_plan("1", 60, ["orm"], KINDS, SMALL)
    dealt = [fault.kind for fault in plan.faults]
    assert len(dealt) >= 2 * len(KINDS)
    for start in range(0, len(dealt), len(KINDS)):
        assert set(dealt[start : start + len(KINDS)]) == set(KINDS)


# The oracle, who must find wrong what is wrong ----------------------------------------------------


def client(manner: str = "patient") -> tuple[Oracle, Inbox]:
    """Ada, who is signed in, and who judges what she gets."""
    world = World()
    plan = ClientPlan("client", 0, "sse", False, manner, (PAGE,), ())
    inbox = Inbox(plan, Viewer("ada", 1, "sessionid=key"))
    world.ledger.begin(("session", "key"), now())
    world.ledger.begin(("active", "ada"), now())
    inbox.begin("key")
    return Oracle(world, is_precise=True), inbox


def page(owner: str) -> dict[str, object]:
    return {"data": {"items": [{"id": "1", "owner": {"username": owner}}]}}


def violation(oracle: Oracle) -> str:
    return str(oracle.world.violation or "")


def test_own_item_is_right() -> None:
    oracle, inbox = client()
    oracle.take(inbox, PAGE, page("ada"))
    assert not violation(oracle)


def test_item_of_another_is_wrong() -> None:
    oracle, inbox = client()
    oracle.take(inbox, PAGE, page("bob"))
    assert "which is bob's" in violation(oracle)


@pytest.mark.parametrize(("seconds_ago", "is_wrong"), [(1, False), (60, True)])
def test_right_that_has_ended_counts_for_a_moment(seconds_ago: float, is_wrong: bool) -> None:
    oracle, inbox = client()
    oracle.world.ledger.begin(("sees", "ada", "group"), -math.inf)
    oracle.world.ledger.end(("sees", "ada", "group"), now() - seconds_ago)
    oracle.take(inbox, PAGE, page("bob"))
    assert bool(violation(oracle)) == is_wrong


def test_time_without_a_database_does_not_count() -> None:
    oracle, inbox = client()
    oracle.world.ledger.end(("owner", "1", "ada"), now() - 60)
    oracle.world.database_trouble.add(now() - 61, now() - 1)
    oracle.take(inbox, PAGE, page("ada"))
    assert not violation(oracle)


def test_item_that_was_given_away_is_wrong() -> None:
    oracle, inbox = client()
    oracle.world.ledger.end(("owner", "1", "ada"), now() - 60)
    oracle.take(inbox, PAGE, page("ada"))
    assert "their own no more" in violation(oracle)


def test_result_after_signing_out_is_wrong() -> None:
    oracle, inbox = client()
    oracle.world.ledger.end(("session", "key"), now() - 60)
    oracle.take(inbox, PAGE, page("ada"))
    assert "after signing out" in violation(oracle)


def test_same_result_twice_is_wrong() -> None:
    oracle, inbox = client()
    for _ in range(2):
        oracle.take(inbox, PAGE, page("ada"))
    assert "the same twice" in violation(oracle)


def test_error_in_calm_is_wrong() -> None:
    error = {"message": "away", "extensions": {"code": "SERVICE_UNAVAILABLE"}}
    oracle, inbox = client()
    oracle.world.trouble.begin(now())
    oracle.refuse(inbox, [error])
    assert not violation(oracle)
    oracle, inbox = client()
    oracle.refuse(inbox, [error])
    assert "nothing was wrong" in violation(oracle)


def test_refusal_of_who_was_just_active_again_is_right() -> None:
    error = {"message": "ended", "extensions": {"code": "UNAUTHENTICATED"}}
    oracle, inbox = client()
    oracle.refuse(inbox, [error])
    assert not violation(oracle)  # since a moment ago nobody had signed in
    oracle.world.ledger = Ledger()
    for fact in (("session", "key"), ("active", "ada")):
        oracle.world.ledger.begin(fact, -math.inf)
    oracle.refuse(inbox, [error])
    assert "nothing was wrong" in violation(oracle)


def test_who_holds_something_old_is_found() -> None:
    _, inbox = client()
    row = {"id": "1", "owner": {"username": "ada"}}
    truth = Truth((row,), frozenset())
    inbox.latest[PAGE] = {"items": []}
    assert len(wrong([inbox], truth)) == 1
    inbox.latest[PAGE] = {"items": [row]}
    assert wrong([inbox], truth) == []
    inbox.viewer.cookie = ""
    assert wrong([inbox], truth) == [f"{inbox.name} is connected without a right to be"]


# What it stands on --------------------------------------------------------------------------------


def test_fact_may_be_true_from_its_sending_to_the_acknowledgement_of_its_end() -> None:
    ledger = Ledger()
    ledger.begin("fact", 10)
    assert ledger.ended_at("fact", 1000) == math.inf
    ledger.end("fact", 20)
    assert ledger.ended_at("fact", 19) == 20
    assert ledger.ended_at("fact", 21) is None
    ledger.begin("fact", 30)
    assert ledger.is_open("fact")


def test_excused_time_is_left_out() -> None:
    excuses = Excuses()
    excuses.add(10, 20)
    excuses.add(15, 30)
    assert excuses.back(32, 1) == 31
    assert excuses.back(32, 5) == 7
    assert excuses.length(0, 25) == 15
    period = excuses.begin(40)
    assert excuses.overlaps(50, 60)
    period.until = 45
    assert not excuses.overlaps(50, 60)


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("Traceback (most recent call last):", True),
        ("2026-01-01 ERROR app.graphql.errors: A resolver failed: KeyError()", True),
        ("2026-01-01 ERROR app.graphql.errors: The database did not answer: gone", False),
        ("INFO:     Shutting down", False),
    ],
)
def test_log_is_read(line: str, is_wrong: bool) -> None:
    assert (complaint(f"before\n{line}\nafter") is not None) == is_wrong


async def test_forwarder_lets_packets_vanish_and_serves_others() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(10):
            writer.write(chunk)
        writer.close()

    echoing = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with echoing, Forwarder(echoing.sockets[0].getsockname()[1]) as forwarder:
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        writer.write(b"a")
        assert await reader.read(10) == b"a"
        assert forwarder.go_silent() == 1
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
        writer.write(b"b")
        with pytest.raises(TimeoutError):  # of TCP itself: nothing was acknowledged
            await reader.read(10)
        assert forwarder.open_at_target == 1
        other, to_other = await asyncio.open_connection("127.0.0.1", forwarder.port)
        to_other.write(b"c")
        assert await other.read(10) == b"c"
        to_other.close()
        writer.close()
