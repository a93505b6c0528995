"""Who is asking: taken from Django's session cookie, the same on every transport."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie


@dataclass(frozen=True, slots=True)
class Viewer:
    """What access is decided by. Equal viewers share executions, so all that matters is here."""

    user_id: Any = None
    """The user's primary key; None for somebody who is not signed in."""
    is_staff: bool = False
    permissions: frozenset[str] = frozenset()
    """Django's permissions, as `"app_label.codename"`."""
    is_unrestricted: bool = False
    """Whether the setting OPEN_ACCESS lets everybody do everything."""

    def may(self, permission: str) -> bool:
        """Whether the viewer has Django's permission `"app_label.codename"`."""
        return self.is_unrestricted or permission in self.permissions


def has_session(cookies: str) -> bool:
    """Whether the `Cookie` header names a session, so that `load_viewer` will ask the database."""
    return bool(_session_key(cookies))


def load_viewer(cookies: str) -> Viewer:
    """The viewer that the `Cookie` header identifies, by synchronous database access.

    An unknown, expired or forged session, or a user who is no longer active, is anonymous.
    """
    request = HttpRequest()
    session_key = _session_key(cookies)
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request) if session_key else None
    if user is None or not user.is_authenticated:
        return Viewer(is_unrestricted=settings.OPEN_ACCESS)
    return Viewer(
        user_id=user.pk,
        is_staff=user.is_staff,
        permissions=frozenset(user.get_all_permissions()),
        is_unrestricted=settings.OPEN_ACCESS,
    )


def _session_key(cookies: str) -> str | None:
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")
    # No session engine makes other keys, and not every database takes them.
    return key if key.isascii() and key.isprintable() else None
