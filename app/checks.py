"""Django's system checks: `manage.py check` tells what is missing, misspelt or of no effect."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import unwrap
from math import inf
from types import CodeType, FunctionType
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model

from .authentication.tables import viewer_models
from .changes import triggers
from .changes.live_models import live_models, models_of
from .changes.routing import ReplicaRouter
from .database.base import uses_greenlets
from .defaults import DEFAULTS, LIMITS, is_origin

Messages = list[checks.CheckMessage]

OURS = ("GRAPHQL_", "LIVE_")
"""Names that begin so are taken for settings of this package."""


def register() -> None:
    """Let Django run them."""
    for check in (check_names, check_values):
        checks.register(check)
    for check in (check_models, check_relations):
        checks.register(check, checks.Tags.models)
    checks.register(check_engines)
    checks.register(check_replicas)
    checks.register(check_application)
    checks.register(check_standbys, checks.Tags.database)
    checks.register(triggers.check_triggers, checks.Tags.database)


def check_names(**_: Any) -> Messages:
    """Whether each setting that looks like one of this package is one."""
    found: Messages = []
    for name in dir(settings):
        if not name.isupper() or name in DEFAULTS:
            continue
        close = get_close_matches(name, DEFAULTS, n=1, cutoff=0.9)
        if close or name.startswith(OURS):
            hint = f"Did you mean {close[0]}?" if close else None
            message = f"The setting {name} has no effect: there is none of this name."
            found.append(checks.Warning(message, hint=hint, id="live.W002"))
    return found


def check_values(**_: Any) -> Messages:
    """Whether settings make sense."""
    found: Messages = []
    for name in LIMITS:
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
            message = f"{name} must be a number greater than 0, but is {value!r}."
            found.append(checks.Error(message, id="live.E002"))
    origins: Any = settings.GRAPHQL_ALLOWED_ORIGINS
    wrong = [origins] if isinstance(origins, str) else [o for o in origins if not is_origin(o)]
    if wrong:
        message = f"GRAPHQL_ALLOWED_ORIGINS must list origins as https://example.org, not {wrong}."
        hint = "Each of them may use the API with the viewer's cookies: there is no wildcard."
        found.append(checks.Error(message, hint=hint, id="live.E003"))
    if settings.GRAPHQL_OPEN_ACCESS and not settings.DEBUG:
        message = "GRAPHQL_OPEN_ACCESS gives everybody everybody's data, and DEBUG is off."
        found.append(checks.Error(message, hint="Unset it.", id="live.E004"))
    return found


def check_models(**_: Any) -> Messages:
    """Whether every name in `LIVE_MODELS` and `VIEWER_MODELS` is a model."""
    return [
        checks.Error(
            f"{setting} names {name!r}, which is no model: {error}",
            hint='List models as "app_label.ModelName".',
            id="live.E001",
        )
        for setting, find in (("LIVE_MODELS", models_of), ("VIEWER_MODELS", apps.get_model))
        for name in getattr(settings, setting) or ()
        if (error := _error_of(find, name)) is not None
    ]


def _error_of(function: Callable[[str], Any], name: str) -> Exception | None:
    try:
        function(name)
    except (LookupError, ValueError) as error:
        return error
    return None


def check_relations(**_: Any) -> Messages:
    """Whether what is read along with a live model is live."""
    with suppress(LookupError, ValueError):  # which `check_models` tells
        live, viewers = live_models(), viewer_models()
        return [
            checks.Warning(
                f"{model._meta.label} is live, but {other._meta.label}, {why}, is not.",
                hint=f'Add "{other._meta.label}" to LIVE_MODELS and run migrate.',
                id="live.W003",
            )
            for model in live
            if model not in viewers
            for other, why in _beside(model)
            if other not in live
        ]
    return []


def _beside(model: type[Model]) -> Iterator[tuple[type[Model], str]]:
    for parent in model._meta.get_parent_list():
        yield parent, "which has some of its columns"
    for field in model._meta.local_many_to_many:
        through: Any = field.remote_field.through
        yield through, f"which {field.name} is kept in"


def check_engines(**_: Any) -> Messages:
    """Whether the async ORM can do without threads where that is possible."""
    ours = f"{__package__}.database"
    return [
        checks.Info(
            f"The async ORM uses threads for the database {alias!r}, whose ENGINE is {engine}.",
            hint=f"With {ours} it runs on the event loop. Silence this if threads will do.",
            id="live.I001",
        )
        for alias in connections
        if (engine := str(connections.settings[alias]["ENGINE"])).endswith(".postgresql")
        and not uses_greenlets(alias)
    ]


def check_replicas(**_: Any) -> Messages:
    """Whether `LIVE_REPLICAS` names databases that can be replicas, and something reads them."""
    found: Messages = []
    for alias in settings.LIVE_REPLICAS:
        if wrong := _what_is_wrong(alias):
            message = f"LIVE_REPLICAS names {alias!r}, which {wrong}."
            found.append(checks.Error(message, id="live.E007"))
    routers = router.routers
    if settings.LIVE_REPLICAS and not (routers and isinstance(routers[-1], ReplicaRouter)):
        message = (
            f"LIVE_REPLICAS needs {__package__}.ReplicaRouter as the last of DATABASE_ROUTERS."
        )
        hint = "It says which queries go to a replica, and keeps migrate away from there."
        found.append(checks.Error(message, hint=hint, id="live.E008"))
    return found


def _what_is_wrong(alias: str) -> str | None:
    if alias not in connections.settings:
        return "is not in DATABASES"
    if alias == DEFAULT_DB_ALIAS:
        return "is the database itself"
    if connections[alias].vendor != "postgresql":
        return "is not PostgreSQL"
    if "," in str(connections.settings[alias]["HOST"]):
        return "has several hosts: give each an alias, since each has a state of its own"
    return None


def check_standbys(*, databases: Iterable[str] | None, **_: Any) -> Messages:
    """Whether replicas are standbys: `check --database replica1`."""
    found: Messages = []
    for alias in set(databases or ()) & set(settings.LIVE_REPLICAS):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            if cursor.fetchone() != (True,):
                message = f"The database {alias!r} of LIVE_REPLICAS is no standby."
                hint = "Sources do not read there, but from the primary."
                found.append(checks.Warning(message, hint=hint, id="live.W006"))
    return found


def check_application(**_: Any) -> Messages:
    """Whether the server's application has what it needs, and follows live models only."""
    name = application_name()
    if name is None:
        return []
    module, attribute = name.split(":")
    try:
        application = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ImproperlyConfigured) as error:
        message = f"The application {name} cannot be imported: {error}"
        return [checks.Error(message, id="live.E005")]
    servers = _servers()
    if not servers:
        message = f"{name} serves no GraphQL, since no LiveGraphQL is made there."
        return [checks.Warning(message, id="live.W004")]
    found: Messages = []
    lifespans = list(_lifespans(application))
    if not any(server.lifespan in lifespans for server in servers):
        message = f"{name} does not run the lifespan of its LiveGraphQL, so nothing is live."
        hint = "Give the outermost router lifespan=….lifespan."
        found.append(checks.Error(message, hint=hint, id="live.E006"))
    for server in servers:
        found += _silent_sources(server.schema)
    return found


def application_name() -> str | None:
    """Where the ASGI application is, as `module:attribute`: ASGI_APPLICATION, or by convention."""
    if named := getattr(settings, "ASGI_APPLICATION", None):
        module, _, attribute = named.rpartition(".")
        return f"{module}:{attribute}"
    package = (getattr(settings, "SETTINGS_MODULE", None) or "").split(".")[:-1]
    while True:
        module = ".".join([*package, "asgi"])
        with suppress(ImportError):
            if find_spec(module) is not None:
                return f"{module}:application"
        if not package:
            return None
        package.pop()


def _servers() -> list[Any]:
    # What makes one needs all that serves, which is of no use to those who do not serve.
    return list(import_module(".server", __package__).servers)


def _lifespans(application: Any) -> Iterator[Any]:
    """The lifespans of the router that an application is, and of those that it is around."""
    pending, seen = [application], set()
    while pending:
        each = pending.pop()
        if id(each) not in seen:
            seen.add(id(each))
            if (found := getattr(each, "lifespan_context", None)) is not None:
                yield found
            pending += [
                inside for inside in getattr(each, "__dict__", {}).values() if callable(inside)
            ]


def _silent_sources(schema: Any) -> Messages:
    """What the sources of subscriptions name in their code, and is not live."""
    live = live_models()
    found: Messages = []
    fields = schema.subscription_type.fields if schema.subscription_type else {}
    for name, field in fields.items():
        for model in sorted(_models_named(field.subscribe), key=lambda m: m._meta.label):
            if model._meta.concrete_model not in live:
                label = model._meta.label
                message = f"The source of the subscription {name} names {label}, which is not live."
                hint = f'Add "{label}" to LIVE_MODELS and run migrate, if it is watched.'
                found.append(checks.Warning(message, hint=hint, id="live.W005"))
    return found


def _models_named(source: Any) -> set[type[Model]]:
    """The models that a function names, or a function of the same module that it calls."""
    found: set[type[Model]] = set()
    pending, seen = [unwrap(source)] if callable(source) else [], set()
    while pending:
        function = pending.pop()
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, type) and issubclass(value, Model):
                found.add(value)
            elif getattr(value, "__module__", None) == function.__module__:
                pending.append(value)
    return found


def _names(code: CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
