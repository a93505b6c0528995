"""Judges each message that a client gets, and whether all clients hold what the database says."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.plan import Asked, ClientPlan
from tests.chaos.truth import Truth
from tests.chaos.world import Viewer, World, now

REVOCATION_SECONDS: Final = 2.0
"""How long the documents let a change of rights take (docs/protocols.md, When rights change)."""
PAUSE_SECONDS: Final = 5.0
"""Of SQLite each commit may concern everybody, so there reviews have pauses between them."""
MARGIN_SECONDS: Final = 2.0
"""For loading the viewers anew, and for the way of a message, where a dozen processes share two
processors."""
TRANSIENT: Final = {"SERVICE_UNAVAILABLE"}
"""Codes of errors that may come while something is in trouble."""
SIGNED_OUT: Final = {"UNAUTHENTICATED"}


@dataclass
class Inbox:
    """What one client holds, over all of its connections."""

    plan: ClientPlan
    viewer: Viewer
    session: str = ""
    """The session of the present connection."""
    is_connected: bool = False
    latest: dict[Asked, Any] = field(default_factory=dict)
    """The `data` of the last result of each subscription on the present connection."""

    @property
    def name(self) -> str:
        """Who it is, for reports."""
        plan = self.plan
        way = "nginx" if plan.is_proxied else "direct"
        return f"{plan.name} ({self.viewer.name}, {plan.transport}, {way}, {plan.manner})"

    def begin(self, session: str) -> None:
        """A connection has been made."""
        self.session, self.is_connected = session, True
        self.latest.clear()

    def end(self) -> None:
        """The connection is over."""
        self.is_connected = False
        self.latest.clear()


class Oracle:
    """Knows what must not happen."""

    def __init__(self, world: World, *, is_precise: bool) -> None:
        self.world = world
        self._allowed = REVOCATION_SECONDS + MARGIN_SECONDS + (0 if is_precise else PAUSE_SECONDS)
        self.latest_seconds = 0.0
        """How long after a right had ended a row was seen by it, excused time left out."""

    def take(self, inbox: Inbox, asked: Asked, result: Mapping[str, Any]) -> None:
        """Judge the result of a subscription at the moment of its arrival."""
        self.world.counts["messages"] += 1
        if errors := result.get("errors"):
            self.refuse(inbox, errors)
            return
        data = result["data"]
        if asked in inbox.latest and inbox.latest[asked] == data:
            self.world.violate(f"{inbox.name} was told the same twice: {data}")
        inbox.latest[asked] = data
        # What a slow client reads was sent before, at a moment that nobody knows.
        since = -math.inf if inbox.plan.manner == "slow" else self._since()
        self._check_session(inbox, since)
        for item in _items(data):
            self._check_item(inbox, item, since)

    def refuse(self, inbox: Inbox, errors: Iterable[Mapping[str, Any]]) -> None:
        """Judge errors that came in place of a result."""
        for error in errors:
            code = error.get("extensions", {}).get("code", "")
            self.world.counts[f"errors {code}"] += 1
            if code in TRANSIENT and self._is_troubled():
                continue
            if code in SIGNED_OUT and not self._has_held(inbox, self._since()):
                continue
            self.world.violate(f"{inbox.name} was told {error}, though nothing was wrong")

    def _is_troubled(self) -> bool:
        return self.world.trouble.overlaps(now() - MARGIN_SECONDS, math.inf)

    def _since(self) -> float:
        return self.world.database_trouble.back(now(), self._allowed)

    def _has_held(self, inbox: Inbox, since: float) -> bool:
        """Whether the session of the present connection has been valid ever since."""
        session, active = ("session", inbox.session), ("active", inbox.viewer.name)
        return self.world.ledger.has_held(session, since) and self.world.ledger.has_held(
            active, since
        )

    def _holds(self, inbox: Inbox, since: float) -> bool:
        """Whether the session of the present connection may have been valid at `since` or later."""
        session, active = ("session", inbox.session), ("active", inbox.viewer.name)
        return self._may(session, since) and self._may(active, since)

    def _check_session(self, inbox: Inbox, since: float) -> None:
        if not self._holds(inbox, since):
            self.world.violate(f"{inbox.name} got a result after signing out or losing access")

    def _check_item(self, inbox: Inbox, item: Mapping[str, Any], since: float) -> None:
        name, owner = inbox.viewer.name, item["owner"]["username"]
        own = ("owner", item["id"], name)
        if owner == name and (not self.world.ledger.is_known(own) or self._may(own, since)):
            return
        if any(self._may(("sees", name, way), since) for way in ("permission", "group")):
            return
        whose = "their own no more" if owner == name else f"{owner}'s"
        self.world.violate(f"{inbox.name} got the item {item}, which is {whose}")

    def _may(self, fact: tuple[str, ...], since: float) -> bool:
        ended_at = self.world.ledger.ended_at(fact, since)
        if ended_at is None:
            return False
        if since != -math.inf and ended_at < now():
            late = now() - ended_at - self.world.database_trouble.length(ended_at, now())
            self.latest_seconds = max(self.latest_seconds, late)
        return True


def wrong(inboxes: Iterable[Inbox], truth: Truth) -> list[str]:
    """Tell who does not hold what the database says, and what they hold."""
    found = []
    for inbox in inboxes:
        viewer = inbox.viewer
        if not viewer.may_connect:
            if inbox.is_connected:
                found.append(f"{inbox.name} is connected without a right to be")
            continue
        if not inbox.is_connected:
            found.append(f"{inbox.name} is not connected")
            continue
        for asked in inbox.plan.asked:
            wanted = truth.result(viewer.name, asked)
            held = inbox.latest.get(asked)
            if held != wanted:
                found.append(f"{inbox.name} asked {asked.document}\n  holds {held}\n  not {wanted}")
    return found


def _items(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "item" in data:
        return [data["item"]] if data["item"] else []
    return list(data["items"])
