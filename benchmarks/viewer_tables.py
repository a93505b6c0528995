"""The tables of the report on viewers who each see only their own."""

from collections.abc import Iterable, Iterator

from benchmarks.results import Record, Results
from benchmarks.titles import arm_title, in_order
from benchmarks.viewing import BACK, OWN, SHARED
from benchmarks.wording import middle, number, spread, table


def viewers(results: Results) -> Iterator[str]:
    """What each of them costs, whatever changes."""
    records = first_of_each(results.of(OWN))
    if not records:
        return
    yield "## A viewer who has signed in"
    yield (
        "Each viewer is a user of their own, and subscribes to their own newest order, which "
        "nobody else may see; PostgreSQL. Here a connection comes with the cookie of a session, "
        "while the other arms believe who its address says it is."
    )
    for number_of_viewers, chosen in _by_viewers(records):
        yield f"{number(number_of_viewers)} viewers:"
        yield table(
            [
                "",
                "connect, µs",
                "memory, KB",
                "CPU while idle, %",
                "a sign-in elsewhere, ms",
                "all back after a restart, s",
                "CPU a viewer meanwhile, µs",
            ],
            (
                [
                    arm_title(str(record.case["arm"])),
                    spread(record, "connect_us"),
                    middle(record, "memory_kb"),
                    f"{record.median('idle_share') * 100:.1f}",
                    middle(record, "sign_in_ms"),
                    spread(back, "back_seconds"),
                    middle(back, "back_us"),
                ]
                for record in in_order(chosen)
                for back in [_back(results, record)]
            ),
        )


def own_changes(results: Results) -> Iterator[str]:
    """What changes cost that concern one viewer each."""
    records = list(results.of(OWN))
    if not records:
        return
    yield "## A change that concerns one viewer"
    yield (
        "The same viewers. Each change is an order for one of them, chosen by chance, PostgreSQL."
    )
    yield "![Server CPU for each change that concerns one viewer, by arm](results/viewers.svg)"
    for viewers, chosen in _by_viewers(records):
        yield f"{number(viewers)} viewers:"
        yield table(
            [
                "",
                "changes a second",
                "CPU a change, ms",
                "the same without idle CPU, ms",
                "p50, ms",
                "p99, ms",
                "queries a change",
                "executions a change",
                "messages to others",
                "lost",
            ],
            (
                [
                    arm_title(str(record.case["arm"])),
                    number(float(record.case["changes_a_second"])),
                    spread(record, "change_ms"),
                    spread(record, "net_change_ms"),
                    middle(record, "p50_ms"),
                    spread(record, "p99_ms"),
                    middle(record, "queries_a_change"),
                    middle(record, "executions_a_change"),
                    middle(record, "to_others"),
                    middle(record, "lost"),
                ]
                for record in in_order(_by_pace(chosen))
            ),
        )


def shared_changes(results: Results) -> Iterator[str]:
    """What a change costs that concerns all of them."""
    records = list(results.of(SHARED))
    if not records:
        return
    yield "## A change that concerns all viewers at once"
    yield (
        "The same viewers, of whose orders one statement changes all, as a price does that all "
        "read. Nothing can be shared, since each still gets their own order."
    )
    for viewers, chosen in _by_viewers(records):
        yield f"{number(viewers)} viewers:"
        yield table(
            [
                "",
                "until the last viewer has it, ms",
                "CPU a viewer, µs",
                "queries a viewer",
                "a query over HTTP, ms",
                "the longest meanwhile, ms",
                "errors meanwhile",
                "messages to others",
                "lost",
            ],
            (
                [
                    arm_title(str(record.case["arm"])),
                    spread(record, "last_ms"),
                    spread(record, "viewer_us"),
                    middle(record, "queries_a_viewer"),
                    middle(record, "probe_ms"),
                    spread(record, "longest_probe_ms"),
                    middle(record, "probe_errors"),
                    middle(record, "to_others"),
                    middle(record, "lost"),
                ]
                for record in in_order(chosen)
            ),
        )


def first_of_each(records: Iterable[Record]) -> list[Record]:
    """One record for each arm and number of viewers: what does not depend on the pace."""
    found: dict[tuple[object, object], Record] = {}
    for record in records:
        found.setdefault((record.case["arm"], record.case["viewers"]), record)
    return list(found.values())


def _back(results: Results, record: Record) -> Record | None:
    return results.one(BACK, arm=record.case["arm"], viewers=record.case["viewers"])


def _by_viewers(records: list[Record]) -> Iterator[tuple[int, list[Record]]]:
    for viewers in sorted({int(record.case["viewers"]) for record in records}):
        yield viewers, [record for record in records if record.case["viewers"] == viewers]


def _by_pace(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda record: float(record.case["changes_a_second"]))
