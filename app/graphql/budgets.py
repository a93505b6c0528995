"""What one viewer, or one address of people who are not signed in, may hold and spend at once."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from ..addresses import network_of
from ..database.fairness import Consumer
from ..viewer import Session
from .errors import (
    LimitError,
    TooCostlyError,
    TooManyConnectionsError,
    TooManyOperationsError,
    TooManySubscriptionsError,
)
from .limits import Limits
from .unread import Unread

logger = logging.getLogger(__name__)

Refusal = TypeVar("Refusal", bound=LimitError)

VIEWERS: Final = "viewers"
ADDRESSES: Final = "addresses"
SILENT_SECONDS = 60.0
CHARACTERS_OF_ONE_OPERATION = 32 * 1024

MAX_UNREAD_BYTES = 256 * 1024
MAX_HELD_RESULTS = 2
"""The latest results of a consumer's sources may be as long as so many of the longest allowed."""


def consumer_of(session: Session | None, address: str) -> Consumer:
    """Whose budget it is: the user's, or that of the address of who is not signed in."""
    if session is not None and session.user is not None:
        return Consumer(VIEWERS, session.user)
    return Consumer(ADDRESSES, network_of(address) or address)


class Budgets:
    """The accounts of all who are served at the moment, and how often a limit has refused."""

    def __init__(self, limits: Limits) -> None:
        self.refused: Final = Counter[str]()
        """By the error's code."""
        self._limits = limits
        self._accounts: WeakValueDictionary[Consumer, Account] = WeakValueDictionary()

    def account(self, consumer: Consumer) -> "Account":
        """The consumer's account, which exists as long as somebody holds it."""
        account = self._accounts.get(consumer)
        if account is None:
            account = self._accounts[consumer] = Account(consumer, self._limits, self.refused)
        return account


class Account(Unread):
    """What one consumer holds and spends now."""

    def __init__(self, consumer: Consumer, limits: Limits, refused: Counter[str]) -> None:
        super().__init__()
        self.consumer: Final = consumer
        self.connections = 0
        """WebSockets and event streams. Each adds itself, after `check_connections`."""
        self.operations = 0
        """Queries, mutations, and subscriptions that begin; long ones count as several."""
        self.cost = 0
        """Of all sources together, in fields of a result."""
        self.held_bytes = 0
        """Of the latest results of the sources that this consumer was the first to follow."""
        self.unread_bytes = 0
        """Of answers over HTTP that are being sent."""
        self._limits = limits
        self._refused = refused
        self._told_at = -inf
        self._charges: dict[Hashable, Charge] = {}

    @property
    def is_of_address(self) -> bool:
        """Whether it is that of strangers, whom an address has in common."""
        return self.consumer.group == ADDRESSES

    def check_connections(self) -> None:
        """Raise TooManyConnectionsError if there may be no more."""
        if self.connections < (limit := self._limits.max_connections_per_viewer):
            return
        self._tell(f"has {limit} connections, and may have no more")
        message = f"You have {limit} connections, and may have no more. Close some."
        raise self.refusal(TooManyConnectionsError(message))

    @contextmanager
    def operation(self, size: int) -> Iterator[None]:
        """Count an operation within the block. Raise TooManyOperationsError."""
        weight = self.begin_operation(size)
        try:
            yield
        finally:
            self.end_operation(weight)

    def begin_operation(self, size: int) -> int:
        """Count an operation: what `end_operation` is to be told. Raise TooManyOperationsError.

        One that is asked for by a long request, of `size` characters, counts as several.
        """
        weight = 1 + size // CHARACTERS_OF_ONE_OPERATION
        if self.operations + weight > (limit := self._limits.max_operations_per_viewer):
            message = (
                f"You may run {limit} operations at once, of which those with long variables count "
                "as several. Wait until some have ended."
            )
            raise self.refusal(TooManyOperationsError(message))
        self.operations += weight
        return weight

    def end_operation(self, weight: int) -> None:
        """Count the operation no longer."""
        self.operations -= weight

    def charge(self, source: Hashable, cost: int) -> "Charge":
        """Let a subscriber follow a source. Equal ones are charged once.

        Raise TooManySubscriptionsError and TooCostlyError.
        """
        charge = self._charges.get(source)
        if charge is None:
            self._check(cost)
            charge = self._charges[source] = Charge(self, source, cost)
            self.cost += cost
        charge.subscribers += 1
        return charge

    def remove(self, charge: "Charge") -> None:
        """Charge for this source no longer."""
        del self._charges[charge.source]
        self.cost -= charge.cost

    def may_hold(self, more_bytes: int) -> bool:
        """Whether the sources' results may take up so many bytes more."""
        limit = MAX_HELD_RESULTS * self._limits.max_result_bytes
        return self.held_bytes + more_bytes <= limit

    @contextmanager
    def unread(self, size: int) -> Iterator[None]:
        """Count an answer of so many bytes within the block, in which it is sent."""
        self.unread_bytes += size
        try:
            yield
        finally:
            self.unread_bytes -= size
            self.wake_if_drained()

    def has_drained(self) -> bool:
        """Whether few answers are unread, and no long ones."""
        return self.unread_bytes < MAX_UNREAD_BYTES

    def refusal(self, error: Refusal) -> Refusal:
        """Return the error, and count it."""
        self._refused[error.code] += 1
        return error

    def _tell(self, what: str) -> None:
        """Log what is refused, once a minute."""
        if monotonic() - self._told_at > SILENT_SECONDS:
            self._told_at = monotonic()
            group, key = self.consumer
            who = f"Viewer {key}" if group == VIEWERS else f"Address {key}"
            hint = "" if group == VIEWERS else ". If it is a proxy, see FORWARDED_ALLOW_IPS"
            logger.warning("%s %s%s.", who, what, hint)

    def _check(self, cost: int) -> None:
        limit = self._limits.max_subscriptions_per_viewer
        if len(self._charges) >= limit:
            message = f"You may have {limit} different subscriptions. End one to begin another."
            raise self.refusal(TooManySubscriptionsError(message))
        if self.cost + cost > (limit := self._limits.max_cost_per_viewer):
            raise self.refusal(
                TooCostlyError(
                    f"Your subscriptions may have {limit} fields of results together, and have "
                    f"{self.cost}; this one may have {cost}. End one, or ask for less."
                )
            )


class Charge:
    """What a consumer is charged for one source, however many of its subscribers follow it."""

    __slots__ = ("_account", "cost", "source", "subscribers")

    def __init__(self, account: Account, source: Hashable, cost: int) -> None:
        self.source: Final = source
        self.cost: Final = cost
        self.subscribers = 0
        self._account = account

    def release(self) -> None:
        """One subscriber has left."""
        self.subscribers -= 1
        if not self.subscribers:
            self._account.remove(self)
