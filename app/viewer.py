"""Who is asking, as far as access depends on it, and what they have shown of themselves."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
from types import MappingProxyType
from typing import Any, TypeAlias

from django.conf import settings
from django.http import parse_cookie
from starlette.datastructures import Headers

from .exceptions import LiveError

_MAX_COOKIE_CHARACTERS = 16 * 1024
_NOTHING: Mapping[str, Any] = MappingProxyType({})

TOKEN_NAMES = frozenset({"authorization", "token"})
"""What a token may be called in a payload, in any case."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """What access is decided by. Equal viewers share executions, so all that matters is here."""

    user_id: Any = None
    """The user's primary key; None for somebody who is not signed in."""
    is_staff: bool = False
    permissions: frozenset[str] = frozenset()
    """Django's permissions, as `"app_label.codename"`."""
    is_unrestricted: bool = False
    """Whether the setting GRAPHQL_OPEN_ACCESS lets everybody do everything."""

    def may(self, permission: str) -> bool:
        """Whether the viewer has Django's permission `"app_label.codename"`."""
        return self.is_unrestricted or permission in self.permissions


@dataclass(frozen=True, slots=True)
class Session:
    """A viewer, and for how long they are the one who asks."""

    viewer: Hashable
    """What resolvers find in `info.context.viewer`: frozen, and with all that access depends on."""
    user: Hashable | None = None
    """Whose budgets count, and whom changes of `VIEWER_MODELS` concern: the primary key of Django's
    user, if there is one. None for somebody who is not signed in, whose address counts."""
    expires_at: float = inf
    """In Unix time. Of Django's sessions, known of those in the database only."""
    key: str = ""
    """Of Django's session, if it is by one; its row's change concerns the viewer, too."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client has shown of itself."""

    headers: Headers
    """Of the HTTP request, or of the WebSocket's handshake; names in any case."""
    address: str
    """The client's, or what a trusted proxy says it is."""
    payload: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Of `connection_init`, or of the last `ping` that had one; empty before, and over HTTP."""

    @property
    def cookies(self) -> dict[str, str]:
        """By name; none if there are absurdly many."""
        text = self.headers.get("cookie", "")
        return parse_cookie(text) if 0 < len(text) <= _MAX_COOKIE_CHARACTERS else {}

    @property
    def token(self) -> str:
        """The bearer token (RFC 6750), "" if there is none.

        It comes as `Authorization: Bearer TOKEN`, or over a WebSocket, where browsers cannot set
        headers, in the payload: `{"authorization": "Bearer TOKEN"}` or `{"token": "TOKEN"}`. Raises
        InvalidCredentialError for what was meant as one and is none.
        """
        for name, value in self.payload.items():
            if value is not None and name.lower() in TOKEN_NAMES:
                return _bearer(value, is_bare_allowed=name.lower() == "token")
        return _bearer(self.headers.get("authorization", ""))


class InvalidCredentialError(LiveError):
    """A client has shown a credential that is not valid; the message is meant for the client."""

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})
        """To be sent along, such as what makes a browser drop a cookie."""


class UnknownViewerError(LiveError):
    """It cannot be found out at the moment who somebody is; the message is meant for the client.

    The client is told to try again later. Nothing is logged: who raises it knows the reason.
    """


Authenticate: TypeAlias = Callable[[Credentials], Awaitable[Session]]
"""Says who asks. Raises InvalidCredentialError and UnknownViewerError.

Who shows nothing is no error, but a viewer, too.

It is awaited for each request and operation, and again when rows of `VIEWER_MODELS` change that
concern the viewer. So it must be quick, and answer the same as long as nothing has changed.
"""


@cache
def _anonymous(is_unrestricted: bool) -> Viewer:
    return Viewer(is_unrestricted=is_unrestricted)


def anonymous_session() -> Session:
    """The session of somebody who is not signed in."""
    return Session(_anonymous(settings.GRAPHQL_OPEN_ACCESS))


def _bearer(value: object, *, is_bare_allowed: bool = False) -> str:
    text = value.strip() if isinstance(value, str) else None
    if text == "":
        return ""
    scheme, _, token = (text or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if is_bare_allowed and scheme and not token:
        return scheme
    if scheme.lower() == "basic" and token:
        return ""  # for a proxy in front
    raise InvalidCredentialError('A token comes as "Bearer TOKEN".', CHALLENGE)


CHALLENGE = {"WWW-Authenticate": "Bearer"}
"""What belongs to a refusal with 401 (RFC 9110, section 11.6.1)."""
