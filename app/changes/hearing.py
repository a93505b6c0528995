"""How well the feed hears: what its back end notes on the way, for `/metrics`."""

from time import monotonic
from typing import Final

from ..histogram import Histogram

LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Hearing:
    """What a back end has heard, and how late."""

    def __init__(self) -> None:
        self.is_measured = False
        """Whether somebody wants to know what takes a query."""
        self.heard_at = monotonic()
        """When the database was last heard of, changed or not."""
        self.lag: Final = Histogram(*LAG_BOUNDS)
        """Seconds from a commit until all whom it concerns were woken."""
        self.rows: int | None = None
        """In the table of changes, by PostgreSQL's statistics; None where there is none."""
        self.dead_rows: int | None = None
        """Deleted, and not vacuumed."""

    @property
    def silence_seconds(self) -> float:
        """How long ago the database was last heard of."""
        return monotonic() - self.heard_at
