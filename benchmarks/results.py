"""The figures of a run, each with a value for every round, kept as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

FOLDER: Final = Path(__file__).parent / "results"
FILE: Final = FOLDER / "results.json"

Case = str | int | float
Situation = dict[str, Case]


@dataclass(slots=True)
class Record:
    """What was measured of one arm in one situation."""

    section: str
    case: Situation
    """The situation: the arm, and what else was set."""
    figures: dict[str, list[float]] = field(default_factory=dict)
    """The values of all rounds."""

    def median(self, figure: str) -> float:
        """The middle value. Raises KeyError if it was not measured."""
        return median(self.figures[figure])

    def has(self, figure: str) -> bool:
        """Whether the figure was measured here."""
        return figure in self.figures

    def times(self, other: "Record", figure: str) -> list[float]:
        """How many times the other's value it is, in each round that both were in."""
        return [a / b for a, b in zip(self.figures[figure], other.figures[figure], strict=False)]

    def spread(self, figure: str) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(self.figures[figure]), max(self.figures[figure])


class Results:
    """All records of a run."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.about = dict(about)
        """The machine, the versions, and how long it took."""
        self._records: list[Record] = []

    def add(
        self, section: str, case: Mapping[str, Case], figures: Mapping[str, float | None]
    ) -> None:
        """Keep one round's values; None is what could not be measured."""
        record = next(iter(self.of(section, **case)), None)
        if record is None:
            record = Record(section, dict(case))
            self._records.append(record)
        for name, value in figures.items():
            if value is not None:
                record.figures.setdefault(name, []).append(_rounded(value))

    def of(self, section: str, **case: Case) -> Iterator[Record]:
        """The records of a section whose situation has these values."""
        for record in self._records:
            if record.section == section and case.items() <= record.case.items():
                yield record

    def one(self, section: str, **case: Case) -> Record | None:
        """The first of them, if any."""
        return next(self.of(section, **case), None)

    def write(self, path: Path) -> None:
        """Save as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [asdict(record) for record in self._records]
        # One record a line: a new run's changes can be read.
        lines = ",\n".join(json.dumps(record) for record in records)
        about = json.dumps(self.about, indent=1)
        path.write_text(f'{{"about": {about},\n"records": [\n{lines}\n]}}\n')

    @classmethod
    def read(cls, path: Path = FILE) -> Self:
        """Load what `write` has saved."""
        document = json.loads(path.read_text())
        results = cls(document["about"])
        results._records = [Record(**record) for record in document["records"]]
        return results


def _rounded(value: float) -> float:
    # Four digits say more than the measurement does.
    return float(f"{value:.4g}")
