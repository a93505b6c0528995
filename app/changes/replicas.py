"""Let sources read from replicas that know of all that the sources were woken for."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

from ..background import BackgroundTask
from .postgresql import PostgreSQLBackend
from .replica import Replica


class Replicas:
    """The read replicas of the database that `primary` follows.

    A source that was woken by a change, or has just begun, and reads what a replica showed before
    that change would never be woken again. So each of its rounds begins once a replica shows
    everything that the feed had announced by then; or it reads from the primary.
    """

    def __init__(self, primary: PostgreSQLBackend, on_loss: Callable[[Replica], object]) -> None:
        self.all: Final = [Replica(alias, primary, on_loss) for alias in settings.LIVE_REPLICAS]
        self._primary = primary
        self._tasks: list[BackgroundTask] = []

    @property
    def position(self) -> int:
        """Where the primary's WAL stood, at least, at the last change that was announced."""
        return self._primary.position

    def begin_term(self) -> None:
        """Trust none until it was seen to follow the database that the feed now follows."""
        for each in self.all:
            each.begin_term()

    async def choose(self, number: int) -> Replica | None:
        """Return the one for watch `number`, once it shows all that was announced by now.

        None if no replica does so in time: then the primary has to be read.
        """
        while serving := [each for each in self.all if each.serves]:
            # Always the same as long as none comes or goes, so that results do not step back.
            replica = serving[number % len(serving)]
            if await replica.reach(self.position):
                return replica
        return None

    def start(self) -> None:
        """Begin to follow them. Whoever starts them must `stop` them."""
        self._tasks = [
            BackgroundTask(each.follow(), name=f"replica {each.alias}") for each in self.all
        ]

    async def stop(self) -> None:
        """Follow them no more."""
        for each in self._tasks:
            await each.stop()


def replicas_of(
    backend: object, using: str, on_loss: Callable[[Replica], object]
) -> Replicas | None:
    """The replicas of the database `using` that the settings name, if any."""
    has_replicas = settings.LIVE_REPLICAS and using == DEFAULT_DB_ALIAS
    if has_replicas and isinstance(backend, PostgreSQLBackend):
        return Replicas(backend, on_loss)
    return None
