"""What a reader should conclude about attacks, and what this project has set itself to bear."""

from collections.abc import Iterator
from typing import Final

from benchmarks.attacks import ATTACKS, SCENES
from benchmarks.results import Record, Results
from benchmarks.unread import ANSWERS, UNREAD
from benchmarks.wording import number

BOTH: Final = ("postgresql", "sqlite")
LONGEST: Final = (
    ("costly", "costly subscriptions", BOTH, 0.3),
    ("introspection", "introspection, which is off", BOTH, 0.3),
    ("introspection-on", "introspection, which is on", BOTH, 0.3),
    ("invalid", "invalid documents", BOTH, 0.3),
    ("mutations", "mutations on SQLite", ("sqlite",), 0.5),
)
"""Of these attacks, on these databases, how many seconds another's query may take."""
UNREAD_MB: Final = 4
BEARABLE_MS: Final = 500
"""Who waits no longer does not think that a server is down."""


def attack_targets(results: Results) -> Iterator[tuple[str, str, bool]]:
    """Each in words, what was measured, and whether that meets it."""
    for scene, attack, vendors, most in LONGEST:
        records = [r for r in results.of(ATTACKS, scene=scene) if r.case["database"] in vendors]
        if records:
            seconds = max(map(_longest_ms, records)) / 1e3
            words = f"another's query under a flood of {attack}: at most {most} s"
            yield words, f"{seconds:.2f} s", seconds <= most
    if sizes := [max(record.figures["answer_mb"]) for record in results.of(ANSWERS)]:
        words = "the largest answer to one request: at most 1 MB"
        yield words, f"{max(sizes):.2f} MB", max(sizes) <= 1
    for transport in ("WebSocket", "HTTP"):
        records = list(results.of(UNREAD, transport=transport))
        if records:
            growth = max(max(record.figures["memory_mb"]) for record in records)
            words = f"a client over {transport} that does not read: at most {UNREAD_MB} MB"
            yield words, f"{growth:.1f} MB", growth <= UNREAD_MB


def attacks(results: Results) -> Iterator[tuple[bool, str]]:
    """Whether others hardly notice, and the sentence that says so or not."""
    idle = [record.median("probe_ms") for record in results.of(ATTACKS, scene="idle")]
    records = [each for each in results.of(ATTACKS) if each.case["scene"] != "idle"]
    if not (idle and records):
        return
    worst = max(records, key=_longest_ms)
    titles = {scene.name: scene.title for scene in SCENES}
    usual = max(record.median("probe_ms") for record in records)
    sentence = (
        "While somebody asks one process for as much as the default limits let them, another "
        f"viewer's query over a new connection takes {number(usual)} ms on average at most, and "
        f"never more than {number(_longest_ms(worst))} ms (attack: "
        f"{titles[str(worst.case['scene'])]}); otherwise it takes {number(max(idle))} ms."
    )
    yield _longest_ms(worst) <= BEARABLE_MS, sentence


def quotable_of_attacks(results: Results) -> Iterator[tuple[str, str]]:
    """The figures that other documents may quote, with their names."""
    for record in results.of(ATTACKS):
        name = f"attack-{record.case['scene']}-{record.case['database']}"
        yield f"{name}-ms", number(record.median("probe_ms"))
        yield f"{name}-longest-ms", number(_longest_ms(record))


def _longest_ms(record: Record) -> float:
    return max(record.figures["longest_probe_ms"])
