"""The tables of the report, one section for each question."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from benchmarks import writers
from benchmarks.arms import ARMS, Arm
from benchmarks.attack_tables import attacks
from benchmarks.orm import ARMS as ORM_ARMS
from benchmarks.queries import QUERIES, VIEWER_QUERIES
from benchmarks.results import Record, Results
from benchmarks.titles import TITLES, arm_title, in_order
from benchmarks.viewer_tables import own_changes, shared_changes, viewers
from benchmarks.wording import NONE, middle, number, spread, table

DATABASES: Final = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


def tables(results: Results) -> str:
    """All sections, as far as they were measured."""
    sections = (
        _delivery,
        _subscribers,
        _changes,
        _distinct,
        viewers,
        own_changes,
        shared_changes,
        _orm,
        _queries,
        _viewer_queries,
        _writers,
        attacks,
    )
    return "\n\n".join(part for section in sections for part in section(results))


def _delivery(results: Results) -> Iterator[str]:
    for database, title in DATABASES.items():
        records = list(results.of("delivery", database=database, is_main=1))
        if not records:
            continue
        case = records[0].case
        yield f"## {number(float(case['subscribers']))} subscribers on {title}"
        yield (
            f"{case['changes_a_second']:g} changes a second; all subscribers ask for the newest "
            "order with its user."
        )
        if database == "postgresql":
            yield _plot("message", "Server CPU for each delivered message, by arm")
        yield table(
            [
                "",
                "CPU a message, µs",
                "CPU while changing, %",
                "CPU while idle, %",
                "connect, µs",
                "memory, KB",
                "the client's CPU a message, µs",
            ],
            (
                [
                    arm_title(str(record.case["arm"])),
                    spread(record, "message_us"),
                    _percent(record, "busy_share"),
                    _percent(record, "idle_share"),
                    middle(record, "connect_us"),
                    middle(record, "memory_kb"),
                    middle(record, "client_us"),
                ]
                for record in in_order(records)
            ),
        )
        yield table(
            [
                "",
                "p50, ms",
                "p95, ms",
                "p99, ms",
                "last client, ms",
                "queries a change",
                "statements a second while idle",
                "lost",
            ],
            (
                [
                    arm_title(str(record.case["arm"])),
                    middle(record, "p50_ms"),
                    middle(record, "p95_ms"),
                    spread(record, "p99_ms"),
                    middle(record, "last_ms"),
                    middle(record, "queries_a_change"),
                    middle(record, "idle_statements_a_second"),
                    middle(record, "lost"),
                ]
                for record in in_order(records)
            ),
        )


def _subscribers(results: Results) -> Iterator[str]:
    records = [
        record
        for record in results.of("delivery", database="postgresql", changes_a_second=1)
        if not record.case.get("is_distinct")
    ]
    if not records:
        return
    yield "## More subscribers"
    yield "One change a second, PostgreSQL: the 99th percentile of the latency, in ms."
    yield _plot("subscribers", "99th percentile of the latency by number of subscribers")
    yield _grid(records, "subscribers", lambda record: spread(record, "p99_ms"))
    yield "Server CPU for each message, in µs:"
    yield _grid(records, "subscribers", lambda record: middle(record, "message_us"))
    yield (
        "The largest of these numbers that was held, which is to say that nothing was lost and "
        "the 99th percentile stayed below one second in the middle of the rounds:"
    )
    yield table(
        ["", "subscribers held"],
        ([arm_title(arm.name), _held(records, arm)] for arm in ARMS if _of(records, arm)),
    )


def held(records: Iterable[Record], arm: str) -> int:
    """The largest number of subscribers that an arm has held; 0 if it was none."""
    return max(
        (
            int(record.case["subscribers"])
            for record in records
            if record.case["arm"] == arm and record.median("is_held") == 1
        ),
        default=0,
    )


def _held(records: Sequence[Record], arm: Arm) -> str:
    most = held(records, arm.name)
    is_open = most == max(int(record.case["subscribers"]) for record in records)
    return f"{'at least ' if is_open else ''}{number(most)}"


def _changes(results: Results) -> Iterator[str]:
    records = list(results.of("delivery", database="postgresql", subscribers=1000))
    records = [record for record in records if not record.case.get("is_distinct")]
    if len({record.case["changes_a_second"] for record in records}) < 2:
        return
    yield "## More changes"
    yield (
        "1,000 subscribers, PostgreSQL: the processor time that the server takes, in per cent of "
        "one processor."
    )
    yield _plot("changes", "Server CPU by changes a second")
    yield _grid(records, "changes_a_second", lambda record: _percent(record, "busy_share"))
    yield "The 99th percentile of the latency, in ms:"
    yield _grid(records, "changes_a_second", lambda record: spread(record, "p99_ms"))
    yield (
        "Messages for each change and subscriber; below one, states were skipped that a newer "
        "one had replaced:"
    )
    yield _grid(records, "changes_a_second", _messages_a_change)


def _distinct(results: Results) -> Iterator[str]:
    records = list(results.of("delivery", is_distinct=1))
    if not records:
        return
    case = records[0].case
    yield "## Nobody asks the same"
    yield (
        f"{number(float(case['subscribers']))} subscribers, each with an operation of its own, "
        f"{case['changes_a_second']:g} change a second, PostgreSQL: nothing can be shared."
    )
    yield table(
        ["", "CPU a message, µs", "p99, ms", "queries a change", "lost"],
        (
            [
                arm_title(str(record.case["arm"])),
                spread(record, "message_us"),
                spread(record, "p99_ms"),
                middle(record, "queries_a_change"),
                middle(record, "lost"),
            ]
            for record in in_order(records)
        ),
    )


def _orm(results: Results) -> Iterator[str]:
    records = list(results.of("orm"))
    if not records:
        return
    yield "## The ORM from a coroutine"
    yield (
        "The newest order with its user, asked by many tasks at once, on PostgreSQL with "
        f"{results.about.get('connections', 8)} connections where there is a pool: queries a "
        "second."
    )
    yield _plot("orm", "Queries a second by number of callers")
    for latency in sorted({int(record.case["latency_ms"]) for record in records}):
        chosen = [record for record in records if record.case["latency_ms"] == latency]
        yield f"With {latency} ms to the database:"
        yield orm_paces(chosen)
    yield "CPU of the process for each query, in µs, and its threads, with the database near:"
    most = max(int(record.case["callers"]) for record in records)
    yield table(
        ["", "CPU a query, µs", "threads"],
        (
            [arm_title(arm), spread(record, "query_us"), middle(record, "threads")]
            for arm in ORM_ARMS
            if (record := results.one("orm", arm=arm, latency_ms=0, callers=most))
        ),
    )


def orm_paces(records: Sequence[Record]) -> str:
    """The queries a second of each way to ask the ORM, by number of callers."""
    return _grid(
        records, "callers", lambda record: spread(record, "queries_a_second"), list(ORM_ARMS)
    )


def _queries(results: Results) -> Iterator[str]:
    records = list(results.of(QUERIES))
    if not records:
        return
    yield "## Queries over HTTP"
    yield "`getOrders` on PostgreSQL, as fast as the clients get their answers: requests a second."
    for orders in sorted({int(record.case["orders"]) for record in records}):
        chosen = [record for record in records if record.case["orders"] == orders]
        yield f"{orders} {'order' if orders == 1 else 'orders'} a request, by number of clients:"
        yield from _query_grids(chosen)


def _viewer_queries(results: Results) -> Iterator[str]:
    records = list(results.of(VIEWER_QUERIES))
    if not records:
        return
    yield "## Queries over HTTP of viewers who have signed in"
    yield (
        "Each client is a viewer, and asks for the newest order of their own. Here a request "
        "comes with the cookie of a session, while the other arms believe who its address says "
        "it is. Requests a second, by number of clients:"
    )
    yield from _query_grids(records)


def _query_grids(records: Sequence[Record]) -> Iterator[str]:
    yield _grid(records, "clients", lambda record: spread(record, "requests_a_second"))
    yield "The median of the latency, and its 99th percentile, in ms:"
    yield _grid(
        records, "clients", lambda each: f"{middle(each, 'p50_ms')}, {middle(each, 'p99_ms')}"
    )
    yield "Server CPU for each request, in µs:"
    yield _grid(records, "clients", lambda record: spread(record, "request_us"))


def _writers(results: Results) -> Iterator[str]:
    records = list(results.of("writers"))
    if not records:
        return
    yield "## What writers pay"
    yield (
        "Commits a second of one inserted row each, by number of connections that write without "
        "a pause, from pgbench on both processors:"
    )
    yield _plot("writers", "Commits a second with and without the change feed")
    feeds = list(dict.fromkeys(str(record.case["feed"]) for record in records))
    yield _grid(
        records, "writers", lambda record: spread(record, "commits_a_second"), feeds, key="feed"
    )
    found = {
        (str(each.case["feed"]), str(each.case["statement"])): each
        for each in results.of("statements")
    }
    if found:
        yield f"One statement that writes {number(writers.ROWS)} rows, in ms:"
        names = list(dict.fromkeys(statement for _, statement in found))
        yield table(
            ["", *names],
            (
                [feed, *(spread(found[feed, name], "duration_ms") for name in names)]
                for feed in dict.fromkeys(feed for feed, _ in found)
            ),
        )


def _grid(
    records: Sequence[Record],
    column: str,
    cell: Callable[[Record], str],
    names: Sequence[str] = tuple(TITLES),
    key: str = "arm",
) -> str:
    """A table with a row for each arm and a column for each value of `column`."""
    values = sorted({float(record.case[column]) for record in records})
    found = {(str(each.case[key]), float(each.case[column])): each for each in records}
    rows = []
    for name in names:
        cells = [found.get((name, value)) for value in values]
        if any(cells):
            rows.append([arm_title(name), *(cell(each) if each else NONE for each in cells)])
    return table(["", *map(number, values)], rows)


def _of(records: Iterable[Record], arm: Arm) -> list[Record]:
    return [record for record in records if record.case["arm"] == arm.name]


def _percent(record: Record, figure: str) -> str:
    return f"{record.median(figure) * 100:.1f}" if record.has(figure) else NONE


def _messages_a_change(record: Record) -> str:
    if not record.has("messages_a_change"):
        return NONE
    return f"{record.median('messages_a_change'):.2f}"


def _plot(name: str, description: str) -> str:
    return f"![{description}](results/{name}.svg)"
