"""Which rows say who somebody is, and whom a changed one concerns."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.db.models import ForeignKey, ManyToManyField, Model

from .sessions import session_engine


def viewer_models() -> list[type[Model]]:
    """The models of `VIEWER_MODELS`; by default, those that Django's sessions depend on.

    Raises LookupError or ValueError for a name that is no model.
    """
    if settings.VIEWER_MODELS is not None:
        return [apps.get_model(name) for name in settings.VIEWER_MODELS]
    user = get_user_model()
    found: list[Any] = [user, *user._meta.get_parent_list()]
    for name in ("groups", "user_permissions"):
        field = getattr(getattr(user, name, None), "field", None)
        if isinstance(field, ManyToManyField):
            found.append(field.remote_field.through)
            if name == "groups" and hasattr(field.related_model, "permissions"):
                found.append(field.related_model.permissions.through)
    if (sessions := _session_model()) is not None:
        found.append(sessions)
    return found


def _session_model() -> Any:
    """The model of sessions; None if they are kept elsewhere."""
    engine = session_engine()
    if engine is DatabaseSession and not apps.is_installed("django.contrib.sessions"):
        return None
    return engine.get_model_class() if issubclass(engine, DatabaseSession) else None


def viewer_columns() -> dict[str, tuple[str, str]]:
    """What a row tells of a viewer, by table of `VIEWER_MODELS`: what it is about, and its column.

    That is "session", "user" or "group", with the column of its key; or "everybody".
    """
    return {model._meta.db_table: _about(model) for model in viewer_models()}


def _about(model: type[Model]) -> tuple[str, str]:
    user = get_user_model()
    key = str(model._meta.pk.column)
    if model is _session_model():
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
