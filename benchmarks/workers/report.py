"""Write what several workers take, and what the model makes of it, into docs/scale.md."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.database import ROOT
from benchmarks.wording import NONE, number, table
from benchmarks.workers.measuring import Point
from benchmarks.workers.model import (
    KINDS,
    Model,
    Population,
    TooManyChangesError,
    demand,
    fit,
    foretold,
    is_fitted,
    is_foretold,
)

FILE: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs" / "scale.md"
POPULATIONS: Final = (1_000, 10_000, 100_000, 1_000_000)
BUSY: Final = 0.1
"""Changes a second for each viewer, where ten times as much changes as usual."""


def read() -> list[Point]:
    """Return what the last full run has measured."""
    return [Point(**each) for each in json.loads(FILE.read_text())]


def write(points: Sequence[Point]) -> None:
    """Keep the points, and show them and the model on the page."""
    FILE.write_text(json.dumps([asdict(each) for each in points], indent=1) + "\n")
    PAGE.write_text(filled(PAGE.read_text(), points))


def filled(document: str, points: Sequence[Point]) -> str:
    """Return the page with the tables of these points."""
    for name, text in (("measured", measured(points)), ("model", model(points))):
        place = re.search(rf"<!--{name}-->\n\n(.*)\n\n<!--/{name}-->", document, re.DOTALL)
        if place is None:
            raise ValueError(f"The page has no place for the table {name!r}.")
        document = document[: place.start(1)] + text + document[place.end(1) :]
    return document


def measured(points: Sequence[Point]) -> str:
    """Return the table of the points, with what the model says of each."""
    try:
        made: Model | None = fit(points)
    except ValueError:  # Too few points: a quick run.
        made = None
    head = [
        "a change concerns",
        "workers",
        "subscribers",
        "changes a second",
        "CPU of all workers a change, ms",
        "by the model",
        "CPU of PostgreSQL a change, ms",
        "by the model",
        "last subscriber, ms",
        "idle, % of a core",
        "memory each, KB",
        "lost",
    ]
    return table(head, (_row(made, point) for point in points))


def _row(made: Model | None, point: Point) -> list[str]:
    texts = [NONE, NONE]
    if made and is_foretold(point):
        texts = [number(foretold(each, point)) for each in (made.workers, made.database)]
        if is_fitted(point):
            texts = [f"({text})" for text in texts]
    return [
        KINDS[point.kind],
        str(point.workers),
        f"{point.subscribers:,}",
        f"{point.changes_a_second:g}",
        number(point.change_ms),
        texts[0],
        number(point.database_ms),
        texts[1],
        number(point.last_ms),
        number(point.idle_share * 100),
        number(point.memory_kb),
        str(point.lost),
    ]


def model(points: Sequence[Point]) -> str:
    """Return the table of what populations need."""
    made = fit(points)
    head = [
        "subscribers",
        "with own rows",
        "own changes a second",
        "workers",
        "hosts of 8 cores",
        "cores in use",
        "memory, GB",
        "database connections, at most",
        "PostgreSQL: cores for the feed",
        "cores for writes and queries",
    ]
    return table(head, _needs(made))


def _needs(made: Model) -> Iterator[list[str]]:
    usual = [Population(each) for each in POPULATIONS]
    for population in (*usual, Population(POPULATIONS[-1], own_changes_a_second=BUSY)):
        who = [
            f"{population.subscribers:,}",
            f"{population.own:,}",
            number(population.changes_a_second),
        ]
        try:
            needs = demand(made, population)
        except TooManyChangesError:
            yield [*who, "more than a worker can follow", *[NONE] * 6]
            continue
        yield [
            *who,
            str(needs.workers),
            str(needs.hosts),
            number(needs.worker_cores),
            number(needs.memory_gb),
            f"{needs.database_connections:,}",
            number(needs.feed_cores),
            number(needs.query_cores),
        ]
