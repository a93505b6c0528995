"""Who is asking, as far as access depends on it, by Django's session."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from itertools import chain
from math import inf
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.core.exceptions import ValidationError
from django.db import connections, router
from django.db.models import (
    BooleanField,
    ExpressionWrapper,
    ForeignKey,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
)
from django.db.models.functions import Concat
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


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


def anonymous_session() -> Session:
    """The session of somebody who is not signed in."""
    return Session("", _anonymous(settings.OPEN_ACCESS))


def load_session(key: str) -> Session:
    """Return the session of this key, the empty one included, as `load_sessions` does."""
    return load_sessions([key])[key] if key else anonymous_session()


def load_sessions(keys: Collection[str]) -> dict[str, Session]:
    """Return whom session keys identify, and until when, by synchronous database access.

    An unknown, expired or forged session, or a user who is no longer active, is anonymous. It takes
    two queries with Django's backend, however many keys there are. Where sessions or users are not
    kept in the database, or backends of others tell the permissions, it takes what these take for
    each. Nothing is written: a session that belongs to nobody any more is left alone.
    """
    found = _read(keys)
    users = _users_of({key: data for key, (data, _) in found.items()})
    return {
        key: Session(key, _viewer_of(users[key]), found[key][1])
        if key in users
        else anonymous_session()
        for key in keys
    }


def _viewer_of(user: Any) -> Viewer:
    return Viewer(
        user_id=user.pk,
        is_staff=getattr(user, "is_staff", False),
        permissions=_permissions_of(user),
        is_unrestricted=settings.OPEN_ACCESS,
    )


def _read(keys: Collection[str]) -> dict[str, tuple[Mapping[str, Any], float]]:
    engine = _engine()
    if not issubclass(engine, DatabaseSession):
        return {key: (engine(key).load(), inf) for key in keys}
    # The session itself would only know when it would end if it were saved now.
    sessions = engine.get_model_class().objects
    rows = sessions.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return {row.session_key: (row.get_decoded(), row.expire_date.timestamp()) for row in rows}


def _users_of(sessions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The users who have signed in with these sessions, if they are valid, as Django has it."""
    ids = {key: id_ for key, data in sessions.items() if (id_ := _user_id(data)) is not None}
    if not ids:
        return {}
    backends = {key: _backend(sessions[key]) for key in ids}
    if _is_known():
        by_id = {user.pk: user for user in _users().filter(pk__in=set(ids.values()))}
        users = {
            key: user
            for key, id_ in ids.items()
            # The other backends know nobody.
            if sessions[key][BACKEND_SESSION_KEY] == MODEL_BACKEND
            and (user := by_id.get(id_)) is not None
            and backends[key].user_can_authenticate(user)
        }
    else:
        users = {key: backends[key].get_user(id_) for key, id_ in ids.items()}
    return {key: user for key, user in users.items() if _is_signed(sessions[key], user)}


def _user_id(data: Mapping[str, Any]) -> Any:
    if data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    pk_field: Any = get_user_model()._meta.pk
    try:
        return pk_field.to_python(data.get(SESSION_KEY))
    except ValidationError:  # of a user model of earlier days
        return None


def _backend(data: Mapping[str, Any]) -> Any:
    return load_backend(data[BACKEND_SESSION_KEY])


def _is_signed(data: Mapping[str, Any], user: Any) -> bool:
    """Whether the user's password is still that of the session."""
    if user is None or not hasattr(user, "get_session_auth_hash"):
        return user is not None
    told = data.get(HASH_SESSION_KEY) or ""
    hashes = chain([user.get_session_auth_hash()], user.get_session_auth_fallback_hash())
    return any(constant_time_compare(told, each) for each in hashes)


class _Array(Subquery):
    """The one column of a subquery as one value: an array, on SQLite in JSON."""

    template = "ARRAY(%(subquery)s)"
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """Return SQL and parameters."""
        template = "(SELECT json_group_array(code) FROM (%(subquery)s))"
        return self.as_sql(compiler, connection, template=template, **extra)


@cache
def _users() -> QuerySet[Any]:
    """All users, each with the permissions that Django's own backend gives them."""
    user: Any = get_user_model()
    own = _linked(user.user_permissions, OuterRef(OuterRef("pk")))
    groups = _linked(user.groups, OuterRef(OuterRef(OuterRef("pk"))))
    of_groups = _linked(apps.get_model("auth", "Group").permissions, groups, "in")
    # Joins instead of these would read the memberships of everybody.
    permissions = apps.get_model("auth", "Permission").objects.filter(
        Q(pk__in=own)
        | Q(pk__in=of_groups)
        | Q(ExpressionWrapper(OuterRef("is_superuser"), BooleanField()))
    )
    code = Concat("content_type__app_label", Value("."), "codename")
    codes = permissions.order_by().annotate(code=code).values("code")
    users: QuerySet[Any] = user._default_manager.annotate(live_permissions=_Array(codes))
    return users


def _linked(many_to_many: Any, near: Any, lookup: str = "exact") -> QuerySet[Any]:
    """The far keys of a many-to-many relation, by way of its own table, for those at this end."""
    field = many_to_many.field
    links: QuerySet[Any] = many_to_many.through._default_manager.filter(
        **{f"{field.m2m_field_name()}__{lookup}": near}
    )
    return links.values(field.m2m_reverse_field_name())


def _permissions_of(user: Any) -> frozenset[str]:
    found = getattr(user, "live_permissions", None)
    if found is None:  # A user model need not know of permissions.
        found = getattr(user, "get_all_permissions", frozenset)()
    return _shared(frozenset(json.loads(found) if isinstance(found, str) else found))


@lru_cache(maxsize=1000)
def _shared(permissions: frozenset[str]) -> frozenset[str]:
    """Let viewers with equal permissions keep one set of them, which may be large."""
    return permissions


def _is_known() -> bool:
    """Whether `_users` knows what the backends would say: only Django's own says anything."""
    user: Any = get_user_model()
    names = [
        relation.related_query_name()
        for name in ("groups", "user_permissions")
        if (relation := getattr(getattr(user, name, None), "field", None)) is not None
    ]
    return (
        MODEL_BACKEND in settings.AUTHENTICATION_BACKENDS
        and all(
            path == MODEL_BACKEND or _is_silent(path) for path in settings.AUTHENTICATION_BACKENDS
        )
        and names == ["user", "user"]
        and connections[router.db_for_read(user)].vendor in ("postgresql", "sqlite")
    )


@cache
def _is_silent(path: str) -> bool:
    """Whether a backend tells of no user and of no permission, as one that only refuses."""
    backend = import_string(path)
    base = import_string("django.contrib.auth.backends.BaseBackend")  # which needs the models
    return all(
        getattr(backend, name, None) in (None, getattr(base, name))
        for name in (
            "get_user",
            "get_user_permissions",
            "get_group_permissions",
            "get_all_permissions",
        )
    )


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
