"""What a reader should conclude from the figures, including where this project is not better."""

from collections.abc import Iterator
from statistics import median
from typing import Final

from benchmarks import writers
from benchmarks.attack_conclusions import attacks, quotable_of_attacks
from benchmarks.results import Record, Results, Situation
from benchmarks.tables import held, orm_paces
from benchmarks.viewer_conclusions import quotable_of_viewers, viewers
from benchmarks.wording import BETTER, as_fast, as_much, bullets, listed, number, ratio

NEAR: Final[Situation] = {"latency_ms": 0}
FAR: Final[Situation] = {"latency_ms": 5}
ORM_PAIR: Final = ("ours", "django_alast")
QUERY_PEERS: Final = {"polling": "Ariadne's own handler", "strawberry": "Strawberry-Django"}


def conclusions(results: Results) -> str:
    """Two lists: what is gained, and what is not."""
    gains = [*_gains_of_sharing(results), *_gains_of_pushing(results)]
    limits = list(_limits(results))
    for is_better, sentence in (
        *viewers(results),
        *_orm(results),
        *_queries(results),
        *attacks(results),
    ):
        (gains if is_better else limits).append(sentence)
    limits += _writers(results)
    return "\n\n".join(
        [bullets(gains), "Where this project is not better, and why:", bullets(limits)]
    )


def quotable(results: Results) -> dict[str, str]:
    """The figures that other documents may quote, by name."""
    figures = {}
    for record in results.of("delivery", database="postgresql", is_main=1):
        arm = str(record.case["arm"])
        for figure in ("message_us", "memory_kb", "connect_us", "p99_ms", "last_ms"):
            if record.has(figure):
                figures[f"{figure}-{arm}".replace("_", "-")] = number(record.median(figure))
    for arm in ("bare", "ours", "published", "graphql-ws", "mercurius", "strawberry"):
        most = held(results.of("delivery", database="postgresql", is_distinct=0), arm)
        figures[f"held-{arm}"] = number(most)
    for latency in (0, 5):
        if records := list(results.of("orm", latency_ms=latency)):
            figures[f"orm-table-{latency}-ms"] = f"\n\n{orm_paces(records)}\n\n"
    figures |= dict(_ratios(results)) | dict(quotable_of_viewers(results))
    return figures | dict(quotable_of_attacks(results))


def _ratios(results: Results) -> Iterator[tuple[str, str]]:
    ours = _main(results, "ours")
    if ours is None:
        return
    for name in ("bare", "published", "graphql-ws", "mercurius", "strawberry", "polling", "seed"):
        if other := _main(results, name):
            yield f"as-much-as-{name}", as_much(ours.times(other, "message_us"))
            yield f"times-less-than-{name}", ratio(other.times(ours, "message_us"))
    for case in (NEAR, FAR):
        django = results.one("orm", arm="django_alast", callers=100, **case)
        native = results.one("orm", arm="ours", callers=100, **case)
        if django and native:
            times = native.times(django, "queries_a_second")
            yield f"orm-times-django-at-{case['latency_ms']}-ms", ratio(times)


def _main(results: Results, arm: str) -> Record | None:
    return results.one("delivery", arm=arm, database="postgresql", is_main=1)


def _gains_of_sharing(results: Results) -> Iterator[str]:
    ours, bare = _main(results, "ours"), _main(results, "bare")
    if not (ours and bare):
        return
    subscribers = number(float(ours.case["subscribers"]))
    mine = ours.median("message_us")
    yield (
        f"With {subscribers} equal subscribers, a delivered message costs the server "
        f"{number(mine)} µs of processor time, {as_much(ours.times(bare, 'message_us'))} the "
        "same bytes without any GraphQL. For each change the database gets "
        f"{_queries_in_words(ours.median('queries_a_change'))}, whatever the number of "
        "subscribers."
    )
    others = [
        f"{ratio(other.times(ours, 'message_us'))} times as much with {title}"
        for name, title in (
            ("published", "Ariadne's own handler"),
            ("strawberry", "Strawberry"),
            ("graphql-ws", "graphql-ws on Node"),
            ("mercurius", "Mercurius on Node"),
        )
        if (other := _main(results, name))
    ]
    if others:
        yield (
            f"Where each subscriber executes, the same message costs {listed(others)}, although "
            "there, too, the order was read once for everybody."
        )
    records = list(results.of("delivery", database="postgresql", changes_a_second=1))
    if records:
        most = max(int(record.case["subscribers"]) for record in records)
        best = held(records, "ours")
        yield (
            f"One process holds {'at least ' if best == most else ''}{number(best)} subscribers "
            "with one change a second, nothing lost and the 99th percentile of the latency below "
            f"one second; Ariadne's own handler holds {number(held(records, 'published'))} of "
            "the numbers tried."
        )


def _gains_of_pushing(results: Results) -> Iterator[str]:
    ours, seed = _main(results, "ours"), _main(results, "seed")
    if not (ours and seed):
        return
    subscribers = number(float(ours.case["subscribers"]))
    yield (
        f"The article's server, asked by {subscribers} subscribers, shows a change after "
        f"{number(seed.median('p50_ms'))} ms in the middle and {number(seed.median('p99_ms'))} ms "
        f"at the 99th percentile, this project's after {number(ours.median('p50_ms'))} and "
        f"{number(ours.median('p99_ms'))} ms."
    )
    yield (
        "While nothing changes, the article's server takes "
        f"{number(seed.median('idle_share') * 100)} % of a processor and sends "
        f"{number(seed.median('idle_statements_a_second'))} statements a second to the database; "
        f"this project's takes {number(ours.median('idle_share') * 100)} % and sends "
        f"{number(ours.median('idle_statements_a_second'))}."
    )


def _orm(results: Results) -> Iterator[tuple[bool, str]]:
    most = max((int(record.case["callers"]) for record in results.of("orm")), default=0)
    pace = "queries_a_second"
    for case, where, why in (
        (FAR, "With a database 5 ms away", "which waits for it in one thread"),
        (NEAR, "With the database on the same machine", "whose code does the same work there"),
    ):
        ours, django = (results.one("orm", arm=arm, callers=most, **case) for arm in ORM_PAIR)
        if ours and django:
            times = ours.times(django, pace)
            sentence = (
                f"{where} and {most} callers, the async ORM is {as_fast(times)} Django's own "
                f"`alast()`, {why}."
            )
            yield median(times) > BETTER, sentence
        peer = results.one("orm", arm="async_backend", callers=most, **case)
        if ours and peer and (times := peer.times(ours, pace)) and median(times) > BETTER:
            sentence = (
                f"{where} and {most} callers, django-async-backend's `alast()` is "
                f"{as_fast(times)} this project's: it is a copy of Django's ORM, made of "
                "coroutines, where this project runs Django's own code in a greenlet."
            )
            yield False, sentence


def _limits(results: Results) -> Iterator[str]:
    if distinct := {
        str(record.case["arm"]): record for record in results.of("delivery", is_distinct=1)
    }:
        parts = [
            f"{number(record.median('message_us'))} µs {title}"
            for name, title in (
                ("ours", "here"),
                ("executing", "with Ariadne's own handler on the same schema"),
                ("graphql-ws", "with graphql-ws, which reads the order once for everybody"),
            )
            if (record := distinct.get(name)) and record.has("message_us")
        ]
        yield (
            "Sharing helps those who ask the same. Where each subscriber asks something of its "
            "own, each change is one query and one execution for each. A message then costs "
            f"{listed(parts)}."
        )
    yield (
        "An application that knows what each change means can send just that, without asking the "
        "database. This project asks again after each change, since that is how it sees every "
        "writer and always converges."
    )


def _queries(results: Results) -> Iterator[tuple[bool, str]]:
    clients = max((int(record.case["clients"]) for record in results.of("queries")), default=0)
    for orders in (1, 50):
        case: Situation = {"orders": orders, "clients": clients}
        ours = results.one("queries", arm="ours", **case)
        others = {
            title: record.median("request_us")
            for name, title in QUERY_PEERS.items()
            if (record := results.one("queries", arm=name, **case))
        }
        if ours and others:
            mine = ours.median("request_us")
            parts = [f"{number(value)} µs with {title}" for title, value in others.items()]
            sentence = (
                f"A plain query over HTTP for {orders} order{'s' * (orders > 1)} shares nothing. "
                f"It costs the server {number(mine)} µs of processor time, {listed(parts)}."
            )
            yield BETTER * mine < min(others.values()), sentence


def _writers(results: Results) -> Iterator[str]:
    parts = []
    for number_of_writers in sorted({int(each.case["writers"]) for each in results.of("writers")}):
        without = results.one("writers", feed=writers.NO_TRIGGER, writers=number_of_writers)
        listened = results.one("writers", feed=writers.OURS, writers=number_of_writers)
        if without and listened:
            share = listened.median("commits_a_second") / without.median("commits_a_second")
            plural = "s" * (number_of_writers > 1)
            parts.append(f"{share * 100:.0f} % with {number_of_writers} writer{plural}")
    if parts:
        yield (
            "Who writes without a pause pays for the change feed, which notes the keys of each "
            f"row: of the commits a second without it remain {listed(parts)}."
        )


def _queries_in_words(count: float) -> str:
    return "one query" if count == 1 else f"{number(count)} queries"
