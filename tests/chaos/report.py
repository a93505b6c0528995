"""What a run tells at its end, in figures."""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Report:
    """The figures of a run."""

    seed: str
    seconds: float
    database: str
    right_again: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By kind of fault: seconds from its end until every client was right."""
    counts: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    """The lines in the servers' logs, by what they say."""
    latest_seconds: float = 0.0
    """How long after the end of a right the last row came by it, excused time left out."""
    excused_seconds: float = 0.0
    """How long one of the programs waited for a processor."""
    notes: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    """What the end was compared by."""

    def text(self) -> str:
        """Return all of it as Markdown."""
        faults = sum(map(len, self.right_again.values()))
        rows = [
            f"| {kind} | {len(times)} | {statistics.median(times):.1f} s | {max(times):.1f} s |"
            for kind, times in sorted(self.right_again.items())
        ]
        everything = sorted(time for times in self.right_again.values() for time in times)
        if everything:
            median = statistics.median(everything)
            rows.append(f"| **all** | {faults} | {median:.1f} s | {everything[-1]:.1f} s |")
        parts = [
            f"Seed {self.seed}, {self.seconds:.0f} s on {self.database}: {faults} faults.",
            "",
            "| fault | times | all right again: median | longest |",
            "|---|--:|--:|--:|",
            *rows,
            "",
            *(f"* {name}: {count}" for name, count in sorted(self.counts.items())),
            f"* latest row after its right had ended: {self.latest_seconds:.2f} s",
            f"* waited for a processor: {self.excused_seconds:.0f} s, which is left out",
            *(f"* {note}" for note in (*self.left_behind, *self.notes)),
            "",
            f"{sum(self.lines.values())} lines of log, by what they say:",
            "",
            *(f"{count:6} {line}" for line, count in self.lines.most_common(40)),
        ]
        return "\n".join(parts)
