"""The steps of a run that attack this project's server."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks import attacks, unread
from benchmarks.attacks import ATTACKS, AttackLoad, Scene
from benchmarks.database import Database, Vendor
from benchmarks.results import Results, Situation
from benchmarks.unread import ANSWERS, UNREAD
from benchmarks.writer import Writer


class Attacking:
    """What it needs, and where its figures go."""

    def __init__(
        self,
        load: AttackLoad,
        databases: Mapping[Vendor, Database],
        writing: Mapping[Vendor, Writer],
        folder: Path,
        results: Results,
    ) -> None:
        self._load, self._databases, self._writing = load, databases, writing
        self._folder, self._results = folder, results

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """All, one after the other."""
        for vendor in self._load.vendors:
            for scene in attacks.SCENES:
                if scene.name in self._load.scenes or not self._load.scenes:
                    label = f"attacks, {vendor}: {scene.title}"
                    yield label, partial(self._attack, scene, vendor)
        database = self._databases[self._load.vendors[0]]
        yield "attacks: the largest answers", partial(self._answer, database)
        for transport in unread.TRANSPORTS:
            label = f"attacks: who does not read, over {transport}"
            yield label, partial(self._leave_unread, transport, database)

    def _attack(self, scene: Scene, vendor: Vendor) -> str:
        database, changing = self._databases[vendor], self._writing[vendor]
        found = attacks.measure(scene, database, changing, self._load, self._folder)
        self._results.add(ATTACKS, {"scene": scene.name, "database": vendor}, found)
        mean, longest = found["probe_ms"], found["longest_probe_ms"]
        return f"{mean:.0f} ms for another's query, {longest:.0f} ms the longest"

    def _answer(self, database: Database) -> str:
        found = dict(unread.measure_answers(database, self._folder))
        for request, size in found.items():
            self._results.add(ANSWERS, {"request": request}, {"answer_mb": size})
        return f"{max(found.values()):.2f} MB"

    def _leave_unread(self, transport: str, database: Database) -> str:
        seconds, growth = min(3.0, self._load.seconds), 0.0
        for number, growth in unread.measure_unread(transport, database, seconds, self._folder):
            case: Situation = {"transport": transport, "messages": number}
            self._results.add(UNREAD, case, {"memory_mb": growth})
        return f"{growth:.1f} MB"
