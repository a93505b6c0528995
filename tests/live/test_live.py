"""Sharing under every interleaving: of joins, leaves, changes, errors and ends."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app import background as module
from app.live import Live
from tests.live.steps import Steps
from tests.live.world import FAILURES, FatalError, Member, TransientError, World

pytestmark = pytest.mark.once

KEYS = st.sampled_from(["a", "b"])
ROUNDS = st.integers(0, 6)


@pytest.fixture(autouse=True, scope="module")
def _no_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_PAUSE_SECONDS", 0)
        yield


class Play:
    """A `Live` on a stepped loop in a fake world, and what is promised of it."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.world = World()
        self.live = Live(FAILURES)
        self.subscribers: list[Member] = []
        self.steps.run(self.live.__aenter__())

    def join(self, key: str) -> Member:
        """A new member."""
        member = Member(key)

        def join() -> None:
            others = [list(each.results) for each in self.active(key)]
            self.subscribers.append(member)
            member.operation = self.live.join(key, lambda: self.world.source(key), member)
            # The current result comes at once, if anybody has had one.
            current = next((results[-1:] for results in others if results), [])
            assert member.results == current

        self.steps.call(join)
        return member

    def active(self, key: str | None = None) -> list[Member]:
        """The members who may still be told something."""
        return [m for m in self.subscribers if m.is_active and key in (None, m.key)]

    def check_members(self) -> None:
        """See that nobody was told what they must not be told."""
        assert not [member.fault for member in self.subscribers if member.fault]

    def settle(self) -> None:
        """Turn until nothing moves, then see that everybody is up to date and nothing left."""
        self.steps.turn()
        self.check_members()
        for key in ("a", "b"):
            active = self.active(key)
            is_failing = isinstance(self.world.error.get(key), TransientError)
            assert self.world.running[key] == (1 if active else 0) or is_failing
            if not is_failing:
                for member in active:
                    assert member.results[-1] == f"{key} {self.world.stored[key]}"
        assert set(self.live.operations) == {member.key for member in self.active()}
        if not self.world.error:
            assert self.world.connections == 0

    def close(self) -> None:
        """End everything; nothing may stay."""
        self.check_members()
        try:
            self.steps.run(self.live.__aexit__(None, None, None))
            self.steps.turn()
            assert self.world.connections == 0
            assert not any(self.world.running.values())
        finally:
            self.steps.close()


class Sharing(RuleBasedStateMachine):
    """Anything in any order, with any number of turns of the event loop in between."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Play()

    @rule(key=KEYS, rounds=ROUNDS)
    def join(self, key: str, rounds: int) -> None:
        self.play.join(key)
        self.play.steps.turn(rounds)

    @precondition(lambda self: self.play.active())
    @rule(data=st.data(), rounds=ROUNDS)
    def leave(self, data: st.DataObject, rounds: int) -> None:
        data.draw(st.sampled_from(self.play.active())).leave()
        self.play.steps.turn(rounds)

    @precondition(lambda self: self.play.active())
    @rule(key=KEYS, rounds=ROUNDS)
    def all_leave_and_one_joins(self, key: str, rounds: int) -> None:
        for member in self.play.active(key):
            member.leave()
        self.play.join(key)
        self.play.steps.turn(rounds)

    @precondition(lambda self: any(not member.is_active for member in self.play.subscribers))
    @rule(data=st.data(), rounds=ROUNDS)
    def leave_again(self, data: st.DataObject, rounds: int) -> None:
        gone = [member for member in self.play.subscribers if not member.is_active]
        member = data.draw(st.sampled_from(gone))
        assert member.operation is not None
        member.operation.leave(member)
        self.play.steps.turn(rounds)

    @rule(key=KEYS, rounds=ROUNDS)
    def change(self, key: str, rounds: int) -> None:
        self.play.world.change(key)
        self.play.steps.turn(rounds)

    @rule(key=KEYS, rounds=ROUNDS)
    def change_something_else(self, key: str, rounds: int) -> None:
        self.play.world.touch(key)
        self.play.steps.turn(rounds)

    @rule(key=KEYS, rounds=ROUNDS)
    def database_goes(self, key: str, rounds: int) -> None:
        self.play.world.fail(key, TransientError("away"))
        self.play.steps.turn(rounds)

    @rule(key=KEYS, rounds=ROUNDS)
    def database_is_back(self, key: str, rounds: int) -> None:
        self.play.world.fail(key, None)
        self.play.steps.turn(rounds)

    @rule(key=KEYS, rounds=ROUNDS, is_cancelled=st.booleans())
    def source_breaks(self, key: str, rounds: int, is_cancelled: bool) -> None:
        """A mistake in the source: whoever is there is told, and who comes later starts afresh."""
        self.play.world.fail(key, None)
        self.play.settle()
        error = asyncio.CancelledError() if is_cancelled else FatalError("mistake")
        self.play.world.fail(key, error)
        there = self.play.active(key)
        self.play.steps.turn()
        for member in there:
            assert "mistake" in member.end or "cancelled" in member.end
        assert key not in self.play.live.operations
        self.play.world.fail(key, None)
        self.play.steps.turn(rounds)

    @rule(key=KEYS, rounds=ROUNDS)
    def source_ends(self, key: str, rounds: int) -> None:
        """The source returns: whoever is there is told, and who comes later starts afresh."""
        self.play.world.fail(key, None)
        self.play.steps.turn()
        there = self.play.active(key)
        self.play.world.ended.add(key)
        self.play.world.touch(key)
        self.play.steps.turn()
        assert [member.end for member in there] == ["complete"] * len(there)
        assert key not in self.play.live.operations
        self.play.world.ended.discard(key)
        self.play.steps.turn(rounds)

    @rule()
    def settle(self) -> None:
        self.play.settle()

    @rule(key=KEYS)
    def one_query_a_change(self, key: str) -> None:
        """Once all is quiet, a change costs one query, and nothing else does."""
        self.play.world.fail(key, None)
        self.play.settle()
        before = self.play.world.queries[key]
        self.play.steps.turn()
        assert self.play.world.queries[key] == before
        self.play.world.change(key)
        self.play.settle()
        assert self.play.world.queries[key] == before + (1 if self.play.active(key) else 0)

    @invariant()
    def at_most_one_operation_a_key(self) -> None:
        for key, operation in self.play.live.operations.items():
            assert operation.subscribers
            assert operation.subscribers.keys() <= set(self.play.active(str(key)))

    def teardown(self) -> None:
        for key in ("a", "b"):
            self.play.world.fail(key, None)
        try:
            self.play.settle()
        finally:
            self.play.close()


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("first", ["join", "leave", "change", "outage", "recovery"])
def test_every_short_story_ends_well(first: str) -> None:
    """All sequences of three actions, with every number of turns up to 3 after each."""
    actions = ("join", "leave", "change", "outage", "recovery")
    for story, pauses in product(product(actions, repeat=2), product(range(4), repeat=3)):
        play = Play()
        play.join("a")
        for action, rounds in zip((first, *story), pauses, strict=True):
            match action:
                case "join":
                    play.join("a")
                case "leave" if active := play.active():
                    active[0].leave()
                case "change":
                    play.world.change("a")
                case "outage":
                    play.world.fail("a", TransientError("away"))
                case "recovery":
                    play.world.fail("a", None)
            play.steps.turn(rounds)
        play.world.fail("a", None)
        play.settle()
        play.close()


def test_error_before_the_first_result_ends_even_if_transient() -> None:
    play = Play()
    play.world.fail("a", TransientError("away"))
    member = play.join("a")
    play.steps.turn()
    assert member.end == "TransientError('away')"
    play.world.fail("a", None)
    again = play.join("a")
    play.settle()
    assert again.results == ["a 0"]
    again.leave()
    play.close()


def test_outage_of_any_length_is_survived() -> None:
    play = Play()
    member = play.join("a")
    play.settle()
    play.world.fail("a", TransientError("away"))
    play.steps.turn(20_000)  # beyond 2 ** 1024, where floats end
    play.world.change("a")
    late = play.join("a")
    assert late.results == ["a 0"]
    play.world.fail("a", None)
    play.settle()
    assert member.results == late.results == ["a 0", "a 1"]
    for each in (member, late):
        each.leave()
    play.close()


def test_pauses_between_attempts_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await turn(0)

    play = Play()
    member = play.join("a")
    play.settle()
    monkeypatch.setattr(module, "MAX_PAUSE_SECONDS", 5.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    play.world.fail("a", TransientError("away"))
    play.steps.turn(100)
    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5 for pause in pauses[7:])
    assert len(pauses) > 8
    # After a recovery they begin anew.
    play.world.fail("a", None)
    play.world.change("a")
    play.settle()
    pauses.clear()
    play.world.fail("a", TransientError("away again"))
    play.steps.turn(100)
    assert 0.05 <= pauses[0] <= 0.1
    monkeypatch.undo()
    play.world.fail("a", None)
    play.settle()
    member.leave()
    play.close()


def test_failing_operation_ends_no_other() -> None:
    play = Play()
    good, bad = play.join("a"), play.join("b")
    play.settle()
    play.world.fail("b", FatalError("mistake"))
    play.steps.turn()
    assert bad.end == "FatalError('mistake')"
    play.world.fail("b", None)
    play.world.change("a")
    play.settle()
    assert good.results == ["a 0", "a 1"]
    good.leave()
    play.close()


def test_leaving_twice_does_not_disturb_how_the_source_ends() -> None:
    ended: list[str] = []

    async def source() -> AsyncGenerator[str, None]:
        try:
            yield "1"
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append("whole")

    steps, live, member = Steps(), Live(FAILURES), Member("a")
    steps.run(live.__aenter__())
    operation = member.operation = steps.call(lambda: live.join("a", source, member))
    steps.turn()
    for _ in range(3):
        steps.call(lambda: operation.leave(member))
    steps.turn()
    assert ended == ["whole"]
    steps.run(live.__aexit__(None, None, None))
    steps.close()


@pytest.mark.parametrize("error", [None, FatalError("mistake")], ids=["end", "error"])
def test_members_may_leave_when_they_are_told_of_the_end(error: Exception | None) -> None:
    class Leaver(Member):
        def complete(self) -> None:
            super().complete()
            self.leave()

        def error(self, errors: str) -> None:
            super().error(errors)
            self.leave()

    async def source() -> AsyncGenerator[str, None]:
        yield "1"
        if error is not None:
            raise error

    steps, live = Steps(), Live(FAILURES)
    steps.run(live.__aenter__())
    members = [Leaver("a"), Leaver("a"), Leaver("a")]

    def join() -> None:
        for member in members:
            member.operation = live.join("a", source, member)

    steps.call(join)
    steps.turn()
    assert [member.end for member in members] == ["left"] * 3
    steps.run(live.__aexit__(None, None, None))
    steps.close()


def test_source_that_fails_while_ending_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def source() -> AsyncGenerator[str, None]:
        try:
            yield "1"
            await asyncio.Event().wait()
        finally:
            raise FatalError("cleaning up")

    steps, live, member = Steps(), Live(FAILURES), Member("a")
    steps.run(live.__aenter__())
    member.operation = steps.call(lambda: live.join("a", source, member))
    steps.turn()
    member.leave()
    steps.turn()
    assert "failed while ending: FatalError('cleaning up')" in caplog.text
    assert not live.operations
    steps.run(live.__aexit__(None, None, None))
    steps.close()


def test_source_sees_no_context_of_who_asked_first() -> None:
    from contextvars import ContextVar

    secret: ContextVar[str] = ContextVar("secret", default="nobody's")

    async def source() -> AsyncGenerator[str, None]:
        yield secret.get()

    async def play() -> list[str]:
        async with Live(FAILURES) as live:
            secret.set("mine")
            member = Member("a")
            member.operation = live.join("a", source, member)
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            assert member.end == "complete"
            return member.results

    assert asyncio.run(play()) == ["nobody's"]


def test_transient_error_is_told_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    member = play.join("a")
    play.settle()
    with caplog.at_level(logging.INFO):
        play.world.fail("a", TransientError("away"))
        play.steps.turn(500)
    assert len(caplog.records) == 1
    play.world.fail("a", None)
    play.settle()
    member.leave()
    play.close()
