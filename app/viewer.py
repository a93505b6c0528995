"""Who is asking, as far as access depends on it, by Django's session."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import inf
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.http import HttpRequest


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


@dataclass(frozen=True, slots=True)
class Session:
    """A viewer, and until when they are signed in."""

    key: str
    """Empty for somebody who is not signed in: signing in makes another key."""
    viewer: Viewer
    expires_at: float = inf
    """In Unix time. Known of sessions in the database only."""


@cache
def _anonymous(is_unrestricted: bool) -> Viewer:
    return Viewer(is_unrestricted=is_unrestricted)


def load_viewer(key: str) -> Viewer:
    """Return the viewer that a session key identifies, by synchronous database access.

    An unknown, expired or forged session, or a user who is no longer active, is anonymous, as the
    empty key is, for which the database is not asked.
    """
    if not key:
        return _anonymous(settings.OPEN_ACCESS)
    request = HttpRequest()
    request.session = _engine()(key)
    user = get_user(request)
    if not user.is_authenticated:
        return _anonymous(settings.OPEN_ACCESS)
    return Viewer(
        user_id=user.pk,
        is_staff=user.is_staff,
        permissions=frozenset(user.get_all_permissions()),
        is_unrestricted=settings.OPEN_ACCESS,
    )


def load_session(key: str) -> Session:
    """Return the viewer as `load_viewer` has it, and until when the session lasts."""
    viewer, engine = load_viewer(key), _engine()
    if viewer.user_id is None:
        return Session("", viewer)
    if not issubclass(engine, DatabaseSession):
        return Session(key, viewer)
    # The session itself only knows when it would end if it were saved now.
    row = engine.get_model_class().objects.filter(session_key=key).first()
    return Session(key, viewer, row.expire_date.timestamp() if row else 0)


def _engine() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore
