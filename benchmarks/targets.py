"""What this project has set itself to reach, and whether it does."""

from collections.abc import Iterator
from statistics import median

from benchmarks.results import Record, Results
from benchmarks.viewing import OWN
from benchmarks.wording import number, ratio_spread, table

Target = tuple[str, str, bool]
"""The target in words, what was measured, and whether that meets it."""


def targets(results: Results) -> str:
    """A table of all targets that the run could check."""
    return table(
        ["target", "measured", "met"],
        (
            [words, measured, "yes" if is_met else "**no**"]
            for source in (_delivery, _crowd, _viewers, _orm)
            for words, measured, is_met in source(results)
        ),
    )


def _delivery(results: Results) -> Iterator[Target]:
    def main(arm: str) -> Record | None:
        return results.one("delivery", arm=arm, database="postgresql", is_main=1)

    if (ours := main("ours")) is None:
        return
    if bare := main("bare"):
        values = ours.times(bare, "message_us")
        words = "CPU a message at most 1.3 times bare ASGI's"
        yield words, ratio_spread(values), median(values) <= 1.3
    if published := main("published"):
        values = published.times(ours, "message_us")
        words = "CPU a message at least 6 times less than Ariadne's own handler's"
        yield words, ratio_spread(values), median(values) >= 6
    if node := main("graphql-ws"):
        values = ours.times(node, "message_us")
        words = "CPU a message at most 0.6 times graphql-ws's on Node"
        yield words, ratio_spread(values), median(values) <= 0.6
    queries = ours.median("queries_a_change")
    yield "one query for each change", number(queries), queries <= 1
    idle = ours.median("idle_statements_a_second")
    yield "no query while nothing changes, a second", number(idle), idle == 0
    memory = ours.median("memory_kb")
    yield "at most 40 KB of memory for a subscription", number(memory), memory <= 40


def _crowd(results: Results) -> Iterator[Target]:
    case = {"subscribers": 10_000, "changes_a_second": 1}
    crowd = results.one("delivery", arm="ours", database="postgresql", **case)
    if crowd and crowd.has("p99_ms"):
        p99, lost = crowd.median("p99_ms"), crowd.median("lost")
        yield (
            "10,000 subscribers, one change a second: p99 below 1,000 ms, nothing lost",
            f"{number(p99)} ms, {number(lost)} lost",
            p99 < 1000 and lost == 0,
        )


def _viewers(results: Results) -> Iterator[Target]:
    for record in results.of(OWN, arm="ours", changes_a_second=100):
        to_others, lost = max(record.figures["to_others"]), max(record.figures["lost"])
        viewers = number(float(record.case["viewers"]))
        yield (
            f"{viewers} viewers of their own orders: no message to others, nothing lost",
            f"{number(to_others)} to others, {number(lost)} lost",
            to_others == lost == 0,
        )


def _orm(results: Results) -> Iterator[Target]:
    for latency, least in ((5, 7), (0, 1)):
        case = {"latency_ms": latency, "callers": 100}
        ours, django = (results.one("orm", arm=arm, **case) for arm in ("ours", "django_alast"))
        if ours and django:
            values = ours.times(django, "queries_a_second")
            many = "as many" if least == 1 else f"{least} times as many"
            asked = f"async ORM, 100 callers, {latency} ms to the database"
            words = f"{asked}: at least {many} queries a second as Django's alast()"
            yield words, ratio_spread(values), median(values) >= least
            threads = ours.median("threads")
            yield f"{asked}: no thread besides the event loop's", number(threads - 1), threads == 1
