"""Count durations by their length, at a price that a hot path can pay."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final


class Histogram:
    """How many observations fall below each bound, and how much they are together."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, *bounds: float) -> None:
        self.bounds: Final[Sequence[float]] = bounds
        """Ascending; each belongs to what is below it."""
        self.counts = [0] * (len(bounds) + 1)
        """Of each bound alone, not of smaller ones; the last is of all that is above."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
