"""The model of many hosts: it finds the costs that figures came from, and asks for no less."""

from dataclasses import astuple, replace

import pytest

from benchmarks.workers.measuring import Load, Point, loads
from benchmarks.workers.model import Costs, Population, demand, fit, foretold, is_fitted

pytestmark = pytest.mark.once

COSTS = Costs(
    worker_message=0.01,
    worker_change=1.5,
    database_change=0.8,
    database_write=0.3,
    worker_own=1.2,
    database_own=0.9,
    worker_looks=12.0,
    database_looks=9.0,
    worker_follow=0.02,
    database_follow=0.03,
    equal_kb=27.0,
    own_kb=50.0,
)


def point(load: Load) -> Point:
    """What a load would take if the costs were these."""
    blank = Point(
        kind=load.kind,
        workers=load.workers,
        subscribers=load.subscribers,
        changes_a_second=load.changes_a_second,
        change_ms=0,
        database_ms=0,
        idle_share=0,
        memory_kb=COSTS.equal_kb if load.kind == "equal" else COSTS.own_kb,
        p50_ms=0,
        p99_ms=0,
        last_ms=0,
        lost=0,
    )
    said = foretold(COSTS, blank) or (0.0, 0.0)
    return replace(blank, change_ms=said[0], database_ms=said[1])


def test_costs_are_found_in_what_they_cause() -> None:
    points = [point(load) for load in loads(is_quick=False)]
    assert astuple(fit(points)) == pytest.approx(astuple(COSTS))


def test_model_is_tested_by_points_that_it_is_not_made_from() -> None:
    points = [point(load) for load in loads(is_quick=False)]
    others = [each for each in points if not is_fitted(each) and foretold(COSTS, each)]
    assert {each.kind for each in others} == {"equal", "own"}
    # They are larger than the ones that it is made from.
    assert min(each.subscribers for each in others) >= max(
        each.subscribers for each in points if is_fitted(each)
    )
    spoilt = [replace(each, change_ms=1e6) if each in others else each for each in points]
    assert fit(spoilt) == fit(points)


def test_million_needs_workers_by_connections_and_by_work() -> None:
    few = demand(COSTS, Population(1_000_000))
    assert few.workers == 100
    assert few.hosts == 13
    assert few.database_connections == 1700
    # 900,000 messages, 1,000 changes of a viewer's row, and 100 workers that follow it all.
    assert few.worker_cores == pytest.approx(9 + 1.2 + 100 * (1.5 + 12 + 20) / 1e3)
    assert few.feed_cores == pytest.approx(100 * (9 + 1000 * 0.03) / 1e3)
    assert few.query_cores == pytest.approx((100 * 0.8 + 0.3 + 1000 * 0.9) / 1e3)
    # Twenty times as many changes are work for more than these hundred.
    many = demand(COSTS, Population(1_000_000, own_changes_a_second=0.2))
    assert many.workers > 100
    room = 0.5 - (1.5 + 12 + 20_000 * 0.02) / 1e3
    assert many.workers * room >= 9 + 24 > (many.workers - 1) * room


def test_more_changes_than_a_worker_can_follow_are_refused() -> None:
    with pytest.raises(ValueError, match="more than a worker can do"):
        demand(COSTS, Population(1_000_000, own_changes_a_second=1))
