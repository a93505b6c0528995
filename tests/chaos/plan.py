"""What a seed stands for: who follows what, who writes what, which fault comes when.

All choices are made here, ahead of time. How far a run gets in its plan depends on the machine.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SELECTIONS = (
    "id owner { username }",
    "id state owner { username }",
    "id name state owner { username } parts { name }",
)
"""Each names the owner, by whom the oracle knows who may see an item."""
STATES = ("", "OPEN", "DONE")
MAX_NUMBER = 1 << 30
# Some pages more often have the same question than others.
FIRSTS = (3, 10, 50)


@dataclass(frozen=True, slots=True)
class Asked:
    """One subscription: the newest item, or a page of items."""

    first: int
    """How many items; 0 is the newest one alone."""
    state: str
    selection: str

    @property
    def document(self) -> str:
        """The document of the subscription."""
        if not self.first:
            return f"subscription {{ item {{ {self.selection} }} }}"
        state = f", state: {self.state}" if self.state else ""
        return f"subscription {{ items(first: {self.first}{state}) {{ {self.selection} }} }}"


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client: who, over what, by which way, and how it behaves."""

    name: str
    viewer: int
    transport: str
    """graphql-transport-ws, graphql-ws, sse, or node: the npm client of the first."""
    is_proxied: bool
    """Whether it comes through nginx."""
    manner: str
    """patient, restless (leaves and comes back), or slow (reads slowly)."""
    asked: tuple[Asked, ...]
    stays: tuple[float, ...]
    """How long a restless client stays each time, in seconds."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write by one route; `number` chooses the rows."""

    pause: float
    route: str
    number: int


@dataclass(frozen=True, slots=True)
class RightsChange:
    """One change of what a viewer may see."""

    pause: float
    kind: str
    viewer: int
    number: int


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault, after some seconds of calm."""

    calm: float
    kind: str
    seconds: float
    number: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will happen."""

    viewers: int
    clients: tuple[ClientPlan, ...]
    writers: tuple[tuple[Write, ...], ...]
    rights: tuple[RightsChange, ...]
    faults: tuple[PlannedFault, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """How many take part."""

    viewers: int
    clients: int
    node_clients: int
    writers: int


SMALL = Size(viewers=4, clients=9, node_clients=0, writers=3)
LARGE = Size(viewers=8, clients=24, node_clients=3, writers=4)
RIGHTS = ("permission", "group", "move", "move", "sign-out", "deactivate", "password")
TRANSPORTS = ("graphql-transport-ws", "graphql-ws", "sse")
MANNERS = ("patient", "patient", "restless", "slow")


def make_plan(
    seed: str, seconds: float, routes: Sequence[str], kinds: Sequence[str], size: Size
) -> Plan:
    """Return the plan of this seed; more than can be done in so many seconds."""

    def chance(about: str) -> random.Random:
        # One stream of numbers for each, so that none depends on how much another has taken.
        return random.Random(f"{seed} {about}")

    return Plan(
        size.viewers,
        tuple(_clients(chance("clients"), size)),
        tuple(tuple(_writes(chance(f"writer {n}"), seconds, routes)) for n in range(size.writers)),
        tuple(_rights(chance("rights"), seconds, size)),
        tuple(_faults(chance("faults"), seconds, kinds)),
    )


def _clients(chance: random.Random, size: Size) -> Iterator[ClientPlan]:
    for number in range(size.clients + size.node_clients):
        is_node = number >= size.clients
        transport = "node" if is_node else TRANSPORTS[number % len(TRANSPORTS)]
        asked = [_asked(chance) for _ in range(1 if transport == "sse" else chance.randint(2, 4))]
        yield ClientPlan(
            name=f"client {number}",
            viewer=number % size.viewers,
            transport=transport,
            is_proxied=not is_node and number // len(TRANSPORTS) % 2 == 1,
            manner="patient" if is_node else chance.choice(MANNERS),
            asked=tuple(dict.fromkeys(asked)),
            stays=tuple(chance.uniform(1, 12) for _ in range(50)),
        )


def _asked(chance: random.Random) -> Asked:
    first = chance.choice((0, *FIRSTS))
    return Asked(first, chance.choice(STATES) if first else "", chance.choice(SELECTIONS))


def _writes(chance: random.Random, seconds: float, routes: Sequence[str]) -> Iterator[Write]:
    planned = 0.0
    while planned < seconds:
        pause = chance.uniform(0.05, 0.5)
        planned += pause
        yield Write(pause, chance.choice(routes), chance.randrange(MAX_NUMBER))


def _rights(chance: random.Random, seconds: float, size: Size) -> Iterator[RightsChange]:
    planned = 0.0
    while planned < seconds:
        pause = chance.uniform(0.2, 1.5)
        planned += pause
        kind, viewer = chance.choice(RIGHTS), chance.randrange(size.viewers)
        yield RightsChange(pause, kind, viewer, chance.randrange(MAX_NUMBER))


def _faults(chance: random.Random, seconds: float, kinds: Sequence[str]) -> Iterator[PlannedFault]:
    """Deal all kinds like cards, then again, so that each comes about as often."""
    planned = 0.0
    while planned < seconds and kinds:
        for kind in chance.sample(kinds, len(kinds)):
            fault = PlannedFault(
                calm=chance.uniform(0.5, 3),
                kind=kind,
                seconds=chance.uniform(0.5, 7),
                number=chance.randrange(MAX_NUMBER),
            )
            planned += fault.calm + fault.seconds
            yield fault
