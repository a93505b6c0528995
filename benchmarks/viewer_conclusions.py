"""What a reader should conclude about viewers who each see only their own."""

from collections.abc import Iterator
from typing import Final

from benchmarks.results import Results, Situation
from benchmarks.viewing import OWN, SHARED
from benchmarks.wording import BETTER, listed, number

PEERS: Final = {
    "graphql-ws-topics": "graphql-ws on Node",
    "postgraphile-topics": "PostGraphile",
    "strawberry-topics": "Strawberry",
    "channels-groups": "Strawberry on Channels",
}
OWN_FIGURES: Final = ("change_ms", "net_change_ms", "p50_ms", "p99_ms", "connect_us")
SHARED_FIGURES: Final = ("last_ms", "viewer_us", "longest_probe_ms")
ONE: Final = (
    "A change that concerns one of 1,000 viewers, of whom each sees only their own, costs the "
    "server {} of processor time here. Where each change is published by hand to a topic for its "
    "user, and a connection says whose it is and is believed, it costs {}."
)
ALL: Final = (
    "A change that concerns 1,000 such viewers at once costs the server {} of processor time for "
    "each of them here, and {}."
)


def viewers(results: Results) -> Iterator[tuple[bool, str]]:
    """Whether this project is better, and the sentence that says so or not."""
    main: Situation = {"viewers": 1000, "changes_a_second": 10}
    yield from _compare(results, OWN, main, "change_ms", "ms", ONE)
    yield from _compare(results, SHARED, {"viewers": 1000}, "viewer_us", "µs", ALL)


def quotable_of_viewers(results: Results) -> Iterator[tuple[str, str]]:
    """The figures that other documents may quote, with their names."""
    for number_of_viewers, pace in ((1000, 10), (10_000, 100)):
        case: Situation = {"viewers": number_of_viewers}
        found = [
            (results.of(OWN, **case, changes_a_second=pace), "", OWN_FIGURES),
            (results.of(SHARED, **case), "at-once-", SHARED_FIGURES),
        ]
        for records, infix, figures in found:
            for record in records:
                for figure in filter(record.has, figures):
                    name = f"{number_of_viewers}-viewers-{infix}{figure}-{record.case['arm']}"
                    yield name.replace("_", "-"), number(record.median(figure))


def _compare(
    results: Results, section: str, case: Situation, figure: str, unit: str, words: str
) -> Iterator[tuple[bool, str]]:
    ours = results.one(section, arm="ours", **case)
    others = {
        title: record.median(figure)
        for name, title in PEERS.items()
        if (record := results.one(section, arm=name, **case)) and record.has(figure)
    }
    if ours and ours.has(figure) and others:
        mine = ours.median(figure)
        parts = [f"{number(value)} {unit} with {title}" for title, value in others.items()]
        yield (
            BETTER * mine < min(others.values()),
            words.format(f"{number(mine)} {unit}", listed(parts)),
        )
