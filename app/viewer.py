"""Who is asking, as far as access depends on it, by Django's session."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import inf
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.db.models import ForeignKey, Model
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


def viewer_columns() -> dict[str, tuple[str, str]]:
    """What a row tells of a viewer, by table of `VIEWER_MODELS`: what it is about, and its column.

    That is "session", "user" or "group", with the column of its key; or "everybody".
    """
    models = [apps.get_model(name) for name in settings.VIEWER_MODELS]
    return {model._meta.db_table: _about(model) for model in models}


def _about(model: type[Model]) -> tuple[str, str]:
    user, engine = get_user_model(), _engine()
    key = str(model._meta.pk.column)
    if issubclass(engine, DatabaseSession) and model is engine.get_model_class():
        return "session", key
    if issubclass(user, model):
        return "user", key
    groups = getattr(user, "groups", None)
    group = groups.field.related_model if groups is not None else None
    for about, target in (("user", user), ("group", group)):
        for each in model._meta.concrete_fields:
            if (
                isinstance(each, ForeignKey)
                and each.related_model is target
                and each.target_field.primary_key
            ):
                return about, str(each.column)
    return "everybody", ""


def users_in(groups: Iterable[str]) -> set[str]:
    """Return the primary keys, as text, of the users in these groups, by synchronous access."""
    users = get_user_model().objects.filter(groups__in=list(groups))
    return {str(key) for key in users.values_list("pk", flat=True)}
