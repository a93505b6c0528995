"""What metrics may read of a pool."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """A pool of connections or threads at one moment; the second group counts since it opened."""

    name: str
    max_size: int
    size: int
    idle: int
    waiting: int

    requests: int = 0
    queued: int = 0
    errors: int = 0
    wait_seconds: float = 0.0
    opened: int = 0
    lost: int = 0
