"""What may have been true when: who owned what, who had which right, by those who changed it."""

import math
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

MAX_PERIODS: Final = 1000
REMEMBERED_SECONDS: Final = 300.0


@dataclass(slots=True)
class Period:
    """Since when at the earliest, and until when at the latest, in monotonic seconds."""

    since: float
    until: float = math.inf


class Ledger:
    """Facts with the periods in which they may have been true.

    A fact begins when the statement that makes it true is sent, and ends when the one that ends it
    is acknowledged. Who does not know whether a statement was carried out, ends nothing.
    """

    def __init__(self) -> None:
        self._periods: defaultdict[Hashable, list[Period]] = defaultdict(list)

    def begin(self, fact: Hashable, at: float) -> None:
        """The fact may be true from now on."""
        if not self.is_open(fact):
            self._periods[fact].append(Period(at))

    def end(self, fact: Hashable, at: float) -> None:
        """The fact is not true any more."""
        periods = self._periods[fact]
        if not periods:
            periods.append(Period(-math.inf))
        for period in periods:
            period.until = min(period.until, at)

    def is_open(self, fact: Hashable) -> bool:
        """Whether it may be true now."""
        return any(period.until == math.inf for period in self._periods.get(fact, ()))

    def has_held(self, fact: Hashable, since: float) -> bool:
        """Whether it has been true all the time."""
        periods = self._periods.get(fact, ())
        return any(period.since <= since and period.until == math.inf for period in periods)

    def is_known(self, fact: Hashable) -> bool:
        """Whether anything was ever said of it."""
        return bool(self._periods.get(fact))

    def ended_at(self, fact: Hashable, since: float) -> float | None:
        """When it ended at the latest, if that was not before `since`; infinity if it has not.

        None if it cannot have been true then.
        """
        ends = [p.until for p in self._periods.get(fact, ()) if p.until >= since]
        return max(ends, default=None)


class Excuses:
    """The periods that do not count when it is asked how late something is."""

    def __init__(self) -> None:
        self._periods: list[Period] = []

    def begin(self, at: float) -> Period:
        """Excuse all from then on, until somebody sets the end of the returned period."""
        period = Period(at)
        self._periods.append(period)
        return period

    def add(self, since: float, until: float) -> None:
        """Excuse a period that is over; what was long before does not matter any more."""
        if len(self._periods) > MAX_PERIODS:
            self._periods = [p for p in self._periods if p.until > since - REMEMBERED_SECONDS]
        self._periods.append(Period(since, until))

    def back(self, at: float, seconds: float) -> float:
        """The moment from which, without excused time, so many seconds have passed until `at`."""
        for since, until in reversed(self._joined(at)):
            if at - until >= seconds:
                break
            seconds -= at - until
            at = since
        return at - seconds

    def overlaps(self, since: float, until: float) -> bool:
        """Whether any of this time is excused."""
        return any(p.since < until and p.until > since for p in self._periods)

    def length(self, since: float, until: float) -> float:
        """How many seconds of this time are excused."""
        return sum(end - max(begin, since) for begin, end in self._joined(until) if end > since)

    def _joined(self, at: float) -> list[tuple[float, float]]:
        joined: list[tuple[float, float]] = []
        for period in sorted(self._periods, key=lambda p: p.since):
            since, until = period.since, min(period.until, at)
            if since >= at:
                continue
            if joined and since <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], until))
            else:
                joined.append((since, until))
        return joined
