"""The table of the report on attacks."""

from collections.abc import Iterator
from typing import Final

from benchmarks.attacks import ATTACKS, SCENES
from benchmarks.results import Record, Results
from benchmarks.unread import ANSWERS, UNREAD
from benchmarks.wording import NONE, listed, middle, number, table

_REFUSED: Final = "refused "


def attacks(results: Results) -> Iterator[str]:
    """How somebody else fares while the server is attacked."""
    if results.one(ATTACKS) is None:
        return
    yield "## Attacks"
    yield (
        "How long another viewer's query over HTTP takes, each over a new connection, while "
        "somebody asks for as much as they can, with the default limits; and what was refused, by "
        "the error's code or HTTP's."
    )
    yield table(
        [
            "",
            "database",
            "another's query, ms",
            "the longest, ms",
            "queries",
            "errors",
            "server's CPU, s",
            "of s",
            "memory grown, MB",
            "results",
            "refused",
        ],
        (
            [title, database, *_figures(record), _refused(record)]
            for scene in SCENES
            for title, name in [(scene.title, scene.name)]
            for vendor, database in (("postgresql", "PostgreSQL"), ("sqlite", "SQLite"))
            if (record := results.one(ATTACKS, scene=name, database=vendor))
        ),
    )
    yield from _bytes(results)


def _figures(record: Record) -> list[str]:
    return [
        middle(record, "probe_ms"),
        number(max(record.figures["longest_probe_ms"])),
        *(middle(record, name) for name in ("probes", "probe_errors")),
        *(f"{record.median(name):.1f}" for name in ("cpu_seconds", "seconds", "memory_mb")),
        middle(record, "results"),
    ]


def _refused(record: Record) -> str:
    names = sorted(name for name in record.figures if name.startswith(_REFUSED))
    parts = (f"{name.removeprefix(_REFUSED)} {middle(record, name)}" for name in names)
    return ", ".join(parts) or NONE


def _bytes(results: Results) -> Iterator[str]:
    answers = [
        f"{number(record.median('answer_mb') * 1024)} KB to {record.case['request']}"
        for record in results.of(ANSWERS)
    ]
    if answers:
        yield f"The answers to the largest requests, or what refuses them: {listed(answers)}."
    unread = [
        f"{record.median('memory_mb'):.1f} MB with {record.case['messages']} over "
        f"{record.case['transport']}"
        for record in results.of(UNREAD)
    ]
    if unread:
        yield (
            "Of one client that sends queries with the longest answers and reads none, the "
            f"server's memory grows by {listed(unread)}; over HTTP each has a connection of its "
            "own."
        )
