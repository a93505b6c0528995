"""Figures as a reader wants them: few digits, with their spread, in Markdown."""

from collections.abc import Iterable, Sequence

from benchmarks.results import Record

NONE = "-"


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


def ratio(a: float, b: float) -> str:
    """How many times `b` fits into `a`, with two digits."""
    return f"{float(f'{a / b:.2g}'):,g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(sentences: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"* {sentence}" for sentence in sentences)


def as_fast(a: float, b: float) -> str:
    """How something that does `a` a second compares with what does `b`."""
    if 0.9 <= a / b <= 1.1:
        return "as fast as"
    return f"{ratio(a, b)} times as fast as"
