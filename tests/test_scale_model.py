"""The model of many hosts: it finds the costs that figures came from, and asks for no less."""

from dataclasses import astuple, replace
from math import exp

import pytest

from benchmarks.workers.measuring import Load, Point, loads
from benchmarks.workers.model import (
    Costs,
    Model,
    Population,
    TooManyChangesError,
    demand,
    fit,
    foretold,
    is_fitted,
    is_foretold,
)

pytestmark = pytest.mark.once

MODEL = Model(
    workers=Costs(
        shared_change=1.5,
        shared_write=0,
        message=0.01,
        look=0.4,
        follow=0.02,
        busy_look=1.2,
        own_change=0.6,
        write=0,
    ),
    database=Costs(
        shared_change=0.8,
        shared_write=0.3,
        message=0,
        look=0.3,
        follow=0.03,
        busy_look=0.7,
        own_change=0.4,
        write=0.1,
    ),
    equal_kb=27,
    own_kb=50,
)


def point(load: Load) -> Point:
    """What a load would take if this were true."""
    blank = Point(
        kind=load.kind,
        workers=load.workers,
        subscribers=load.subscribers,
        changes_a_second=load.changes_a_second,
        change_ms=0,
        database_ms=0,
        idle_share=0,
        memory_kb=MODEL.equal_kb if load.kind == "equal" else MODEL.own_kb,
        p50_ms=0,
        p99_ms=0,
        last_ms=0,
        lost=0,
    )
    if not is_foretold(blank):
        return blank
    return replace(
        blank,
        change_ms=foretold(MODEL.workers, blank),
        database_ms=foretold(MODEL.database, blank),
    )


POINTS = [point(load) for load in loads(is_quick=False)]


def test_costs_are_found_in_what_they_cause() -> None:
    found = fit(POINTS)
    for one, other in ((found.workers, MODEL.workers), (found.database, MODEL.database)):
        assert astuple(one) == pytest.approx(astuple(other), rel=1e-6)
    assert (found.equal_kb, found.own_kb) == (27, 50)


def test_costs_are_never_below_nothing() -> None:
    """As they would be where noise is greater than what something costs."""
    noisy = [
        replace(each, change_ms=each.change_ms * (0.9 if each.workers == 4 else 1.1))
        for each in POINTS
    ]
    assert min(astuple(fit(noisy).workers)) >= 0


def test_too_few_points_are_no_model() -> None:
    with pytest.raises(ValueError, match="fewer points than costs"):
        fit([point(load) for load in loads(is_quick=True)])


def test_model_is_tested_by_points_that_it_is_not_made_from() -> None:
    others = [each for each in POINTS if not is_fitted(each) and is_foretold(each)]
    assert {each.kind for each in others} == {"equal", "own"}
    for one in others:
        # They are larger than all of their kind that it is made from.
        fitted = [each for each in POINTS if is_fitted(each) and each.kind == one.kind]
        assert one.subscribers > max(each.subscribers for each in fitted)
    spoilt = [replace(each, change_ms=1e6) if each in others else each for each in POINTS]
    assert fit(spoilt) == fit(POINTS)


def test_million_needs_workers_by_connections_and_by_work() -> None:
    few = demand(MODEL, Population(1_000_000))
    assert (few.workers, few.hosts, few.database_connections) == (100, 13, 1700)
    busy_looks = 100 * 50 * (1 - exp(-10 / 50))
    # 900,000 messages, 1,000 changes of a viewer's row, and 100 workers that follow it all.
    following = 100 * (50 * 0.4 + 1000 * 0.02)
    worked = 100 * 1.5 + 900_000 * 0.01 + following + busy_looks * 1.2 + 1000 * 0.6
    assert few.worker_cores == pytest.approx(worked / 1e3)
    assert few.feed_cores == pytest.approx(100 * (50 * 0.3 + 1000 * 0.03) / 1e3)
    queried = 100 * 0.8 + 0.3 + busy_looks * 0.7 + 1000 * (0.4 + 0.1)
    assert few.query_cores == pytest.approx(queried / 1e3)
    # Twenty times as many changes are work for more than these hundred.
    many = demand(MODEL, Population(1_000_000, own_changes_a_second=0.2))
    assert many.workers > 100
    assert many.worker_cores <= many.workers * 0.5


def test_more_changes_than_a_worker_can_follow_are_refused() -> None:
    with pytest.raises(TooManyChangesError):
        demand(MODEL, Population(1_000_000, own_changes_a_second=1))
