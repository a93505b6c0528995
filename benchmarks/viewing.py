"""The load of viewers who each see only their own, and the figures of what it costs."""

from dataclasses import dataclass
from typing import Final

from benchmarks.results import Situation

OWN: Final = "viewers"
"""The section of the results for changes that concern one viewer."""
SHARED: Final = "viewers at once"
"""And for changes that concern all."""
BACK: Final = "viewers back"
"""And for viewers who come back to a server that has been restarted."""

Found = tuple[str, Situation, dict[str, float | None]]
"""A section of the results, a situation in it, and its figures."""


@dataclass(frozen=True, slots=True)
class ViewerLoad:
    """How many viewers there are, and what is changed while they look."""

    viewers: int
    paces: tuple[float, ...] = (10, 100)
    """How many changes a second concern one viewer each."""
    seconds: float = 3.0
    """How long each of the paces is kept."""
    shared_changes: int = 2
    """How many changes concern all, besides one while somebody queries over HTTP."""
    idle_seconds: float = 3.0
    do_come_back: bool = True
    """Whether all connect at once after a restart, too."""


@dataclass(frozen=True, slots=True)
class OwnChanges:
    """What changes cost that concern one viewer each; METHOD.md explains each figure."""

    connect_us: float
    memory_kb: float
    idle_share: float
    sign_in_ms: float | None
    change_ms: float
    net_change_ms: float
    p50_ms: float
    p99_ms: float
    queries_a_change: float | None
    executions_a_change: float | None
    to_others: int
    lost: int


@dataclass(frozen=True, slots=True)
class QueriesMeanwhile:
    """How long queries over HTTP wait while a change reaches all viewers."""

    probe_ms: float
    longest_probe_ms: float
    probe_errors: int


@dataclass(frozen=True, slots=True)
class SharedChanges:
    """What a change costs that concerns all viewers at once."""

    last_ms: float | None
    """None, as the next, if somebody never got it."""
    viewer_us: float | None
    queries_a_viewer: float | None
    to_others: int
    lost: int


@dataclass(frozen=True, slots=True)
class ComingBack:
    """What it costs that all viewers connect at once to a server that has been restarted."""

    back_seconds: float
    """From the first handshake until all have their first result."""
    back_us: float
    """The processor time that the server takes for each."""
