"""Figures as a reader wants them: few digits, with their spread, in Markdown."""

from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.results import Record

NONE = "-"
# Less is no difference that a reader should count on.
BETTER = 1.1


def number(value: float) -> str:
    """Two or three digits, with commas between thousands."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    if value >= 10 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def middle(record: Record | None, figure: str) -> str:
    """The median of a figure, or a dash."""
    return number(record.median(figure)) if record and record.has(figure) else NONE


def spread(record: Record | None, figure: str) -> str:
    """The median, and between which values the rounds were."""
    if record is None or not record.has(figure):
        return NONE
    least, most = record.spread(figure)
    return f"{number(record.median(figure))} ({number(least)} to {number(most)})"


def ratio(values: Sequence[float]) -> str:
    """The median of what was a ratio in each round, with two digits."""
    return _two_digits(median(values))


def ratio_spread(values: Sequence[float]) -> str:
    """The same, and between which values the rounds were."""
    least, most = _two_digits(min(values)), _two_digits(max(values))
    return f"{ratio(values)} ({least} to {most})"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(parts: Sequence[str]) -> str:
    """The parts in a sentence."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def bullets(sentences: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"* {sentence}" for sentence in sentences)


def as_much(values: Sequence[float]) -> str:
    """How much something costs compared with another, if it was so many times as much."""
    times = ratio(values)
    return "as much as" if times == "1" else f"{times} times as much as"


def as_fast(values: Sequence[float]) -> str:
    """How fast something is compared with another, if it did so many times as much a second."""
    if 0.9 <= median(values) <= 1.1:
        return "as fast as"
    return f"{ratio(values)} times as fast as"
