"""What this project has set itself to reach, and whether it does."""

from collections.abc import Iterator
from statistics import median

from benchmarks import writers
from benchmarks.attack_conclusions import attack_targets
from benchmarks.queries import VIEWER_QUERIES
from benchmarks.results import Record, Results, Situation
from benchmarks.viewer_tables import first_of_each
from benchmarks.viewing import BACK, OWN
from benchmarks.wording import number, ratio_spread, table

Target = tuple[str, str, bool]
"""The target in words, what was measured, and whether that meets it."""


def targets(results: Results) -> str:
    """A table of all targets that the run could check."""
    return table(
        ["target", "measured", "met"],
        (
            [words, measured, "yes" if is_met else "**no**"]
            for source in (
                _delivery,
                _crowd,
                _distinct,
                _viewers,
                _back,
                _queries,
                _writers,
                _orm,
                attack_targets,
            )
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


def _distinct(results: Results) -> Iterator[Target]:
    for record in results.of("delivery", arm="ours", is_distinct=1):
        if record.has("message_us"):
            cost, queries = record.median("message_us"), record.median("queries_a_change")
            words = "an execution that nobody shares, a query each: at most 450 µs of CPU a message"
            is_met = cost <= 450 and queries >= float(record.case["subscribers"])
            yield words, f"{number(cost)} µs", is_met


def _viewers(results: Results) -> Iterator[Target]:
    for record in first_of_each(results.of(OWN, arm="ours")):
        viewers = number(float(record.case["viewers"]))
        connect = record.median("connect_us") / 1e3
        yield (
            f"{viewers} viewers: at most 1.5 ms of CPU to connect one, with the first result",
            f"{number(connect)} ms",
            connect <= 1.5,
        )
        if record.has("memory_kb"):
            memory = record.median("memory_kb")
            words = f"{viewers} viewers: at most 45 KB of memory for each"
            yield words, number(memory), memory <= 45
    for record in results.of(OWN, arm="ours", changes_a_second=100):
        to_others, lost = max(record.figures["to_others"]), max(record.figures["lost"])
        viewers = number(float(record.case["viewers"]))
        change, p99 = record.median("net_change_ms"), record.median("p99_ms")
        yield (
            f"{viewers} viewers of their own orders: at most 2.5 ms of CPU a change",
            f"{number(change)} ms",
            change <= 2.5,
        )
        yield (
            f"{viewers} viewers of their own orders, 100 changes a second: p99 at most 50 ms",
            f"{number(p99)} ms",
            p99 <= 50,
        )
        if record.has("sign_in_ms"):
            sign_in = record.median("sign_in_ms")
            yield (
                f"{viewers} viewers: at most 15 ms of CPU when somebody else signs in",
                f"{number(sign_in)} ms",
                sign_in <= 15,
            )
        yield (
            f"{viewers} viewers of their own orders: no message to others, nothing lost",
            f"{number(to_others)} to others, {number(lost)} lost",
            to_others == lost == 0,
        )


def _back(results: Results) -> Iterator[Target]:
    for record in results.of(BACK, arm="ours", viewers=1000):
        seconds = record.median("back_seconds")
        words = "1,000 viewers back at once after a restart: all have their result within 3 s"
        yield words, f"{number(seconds)} s", seconds <= 3


def _queries(results: Results) -> Iterator[Target]:
    if record := results.one(VIEWER_QUERIES, arm="ours", clients=10):
        cost = record.median("request_us") / 1e3
        words = "a viewer's query over HTTP for one order: at most 1.3 ms of CPU"
        yield words, f"{number(cost)} ms", cost <= 1.3


def _writers(results: Results) -> Iterator[Target]:
    for count, least in ((1, 0.65), (8, 0.7), (64, 0.6)):
        for bare, ours in _with_and_without(results, "writers", {"writers": count}):
            values = ours.times(bare, "commits_a_second")
            asked = f"{count} writer{'s' * (count > 1)} without a pause"
            words = f"{asked}: at least {least} of the commits without a feed"
            yield words, ratio_spread(values), median(values) >= least
    rows = number(writers.ROWS)
    for statement in ("INSERT", "DELETE"):
        for bare, ours in _with_and_without(results, "statements", {"statement": statement}):
            values = ours.times(bare, "duration_ms")
            words = f"{statement} of {rows} rows: at most 1.1 times as long"
            yield words, ratio_spread(values), median(values) <= 1.1
    for bare, ours in _with_and_without(results, "statements", {"statement": "UPDATE"}):
        more = (ours.median("duration_ms") - bare.median("duration_ms")) / writers.ROWS * 1e3
        words = f"UPDATE of {rows} rows: at most 0.5 µs more for each"
        yield words, f"{more:.2f} µs", more <= 0.5


def _with_and_without(
    results: Results, section: str, case: Situation
) -> Iterator[tuple[Record, Record]]:
    """What was measured without a feed and with this one, if both were."""
    bare = results.one(section, feed=writers.NO_TRIGGER, **case)
    ours = results.one(section, feed=writers.OURS, **case)
    if bare and ours:
        yield bare, ours


def _orm(results: Results) -> Iterator[Target]:
    for latency, least in ((5, 8), (0, 2)):
        case = {"latency_ms": latency, "callers": 100}
        ours, django = (results.one("orm", arm=arm, **case) for arm in ("ours", "django_alast"))
        if ours and django:
            values = ours.times(django, "queries_a_second")
            asked = f"async ORM, 100 callers, {latency} ms to the database"
            words = f"{asked}: at least {least} times as many queries a second as Django's alast()"
            yield words, ratio_spread(values), median(values) >= least
            threads = ours.median("threads")
            yield f"{asked}: no thread besides the event loop's", number(threads - 1), threads == 1
    case = {"latency_ms": 0, "callers": 100}
    ours, peer = (results.one("orm", arm=arm, **case) for arm in ("ours", "async_backend"))
    if ours and peer:
        values = ours.times(peer, "queries_a_second")
        words = (
            "async ORM, 100 callers, 0 ms to the database: at least 1.5 times as many queries a "
            "second as django-async-backend"
        )
        yield words, ratio_spread(values), median(values) >= 1.5
