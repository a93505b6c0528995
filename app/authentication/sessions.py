"""Whom Django's sessions identify."""

import json
from collections.abc import Collection, Mapping
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

from ..viewer import Session, Viewer, anonymous_session

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def load_sessions(keys: Collection[str]) -> dict[str, Session | None]:
    """Return whom session keys identify, and until when, by synchronous database access.

    None for an unknown, expired or forged session, and for that of a user who is no longer active
    or has another password; the anonymous session for one in which nobody has signed in. It takes
    two queries with Django's backend, however many keys there are. Where sessions or users are not
    kept in the database, or backends of others tell the permissions, it takes what these take for
    each. Nothing is written: a session that belongs to nobody any more is left alone.
    """
    found = _read(keys)
    users = _users_of({key: data for key, (data, _) in found.items()})
    return {key: _session(key, found, users) for key in keys}


def _session(
    key: str, found: Mapping[str, tuple[Mapping[str, Any], float]], users: Mapping[str, Any]
) -> Session | None:
    if key in users:
        user = users[key]
        return Session(_viewer_of(user), user.pk, found[key][1], key)
    if key in found and found[key][0].get(SESSION_KEY) is None:
        return anonymous_session()
    return None


def session_of(user: Any) -> Session:
    """The session of a user as they are now, though they have not signed in, by synchronous access.

    Raises the user model's DoesNotExist.
    """
    now: Any = type(user)._default_manager.get(pk=user.pk)
    return Session(_viewer_of(now), now.pk) if now.is_active else anonymous_session()


def _viewer_of(user: Any) -> Viewer:
    return Viewer(
        user_id=user.pk,
        is_staff=getattr(user, "is_staff", False),
        permissions=_permissions_of(user),
        is_unrestricted=settings.GRAPHQL_OPEN_ACCESS,
    )


def _read(keys: Collection[str]) -> dict[str, tuple[Mapping[str, Any], float]]:
    engine = session_engine()
    if not issubclass(engine, DatabaseSession):
        loaded = {key: engine(key).load() for key in keys}
        return {key: (data, inf) for key, data in loaded.items() if data}
    # The session itself would only know when it would end if it were saved now.
    sessions = engine.get_model_class().objects
    rows = sessions.filter(session_key__in=keys, expire_date__gt=timezone.now())
    found = {row.session_key: (row.get_decoded(), row.expire_date.timestamp()) for row in rows}
    return {key: each for key, each in found.items() if each[0]}  # without those that are forged


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


def session_engine() -> Any:
    """The class that keeps sessions, by SESSION_ENGINE."""
    return import_module(settings.SESSION_ENGINE).SessionStore
