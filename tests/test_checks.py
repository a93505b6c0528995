"""`manage.py check` tells what is missing, misspelt or of no effect, and stays silent otherwise."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from ariadne import SubscriptionType, make_executable_schema
from django.contrib.auth.models import Group, User
from django.core.checks import CheckMessage
from django.db import connections
from graphql import GraphQLSchema
from pytest_django import Settings
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Router

from app import checks
from app.authentication.tables import viewer_models
from app.changes.live_models import live_models
from app.server import LiveGraphQL, servers
from tests.database.library.models import Book
from tests.items.models import Item, Part
from tests.items.schema import schema

pytestmark = pytest.mark.once

APPLICATION = "tests_application"


def ids(messages: list[CheckMessage]) -> list[str | None]:
    """What is told."""
    return [each.id for each in messages]


@pytest.fixture
def application(settings: Settings) -> Iterator[ModuleType]:
    """A module that is the project's `asgi.py`."""
    module = ModuleType(APPLICATION)
    settings.ASGI_APPLICATION = f"{APPLICATION}.application"
    sys.modules[APPLICATION] = module
    before = set(servers)
    servers.clear()
    yield module
    del sys.modules[APPLICATION]
    servers.clear()
    servers.update(before)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GRAPHQL_MAX_OPERATION", "Did you mean GRAPHQL_MAX_OPERATIONS?"),
        ("GRAPHQL_PLAYGROUND_COLOUR", None),
        ("LIVE_MODLES", "Did you mean LIVE_MODELS?"),
        ("HTTP_MAX_BODY_BYTE", "Did you mean HTTP_MAX_BODY_BYTES?"),
    ],
)
def test_setting_that_does_not_exist_is_told(
    name: str, hint: str | None, settings: Settings
) -> None:
    setattr(settings, name, 1)
    [warning] = checks.check_names()
    assert name in warning.msg
    assert warning.hint == hint


def test_settings_of_others_are_left_alone(settings: Settings) -> None:
    settings.HTTP_PROXY_OF_OURS = settings.SIGN_UP_OPEN = settings.GRAPHENE = {}
    assert checks.check_names() == []


@pytest.mark.parametrize("value", [0, -1, "10", None, True, float("nan")])
def test_limit_that_makes_no_sense_is_an_error(value: Any, settings: Settings) -> None:
    settings.GRAPHQL_MAX_OPERATIONS = value
    [error] = checks.check_values()
    assert error.msg.startswith("GRAPHQL_MAX_OPERATIONS must be a number greater than 0")


@pytest.mark.parametrize(
    "origins", ["https://example.org", ["*"], ["example.org"], ["https://*.x"]]
)
def test_origins_must_be_named(origins: Any, settings: Settings) -> None:
    settings.GRAPHQL_ALLOWED_ORIGINS = origins
    assert ids(checks.check_values()) == ["live.E003"]


def test_open_access_off_debug_is_an_error(settings: Settings) -> None:
    settings.GRAPHQL_OPEN_ACCESS = True
    assert ids(checks.check_values()) == ["live.E004"]


def test_viewers_of_no_model_are_an_error(settings: Settings) -> None:
    settings.VIEWER_MODELS = ["auth.Usr"]
    [error] = checks.check_models()
    assert "VIEWER_MODELS names 'auth.Usr', which is no model" in error.msg
    assert checks.check_relations() == []


def test_all_models_of_the_project_are_live_by_default() -> None:
    live = live_models()
    assert {Item, Part, Book, Book.tags.through, User} < set(live)
    assert set(viewer_models()) < set(live)
    others = {model._meta.app_label for model in set(live) - set(viewer_models())}
    assert others == {"orders", "items", "library"}


def test_an_app_may_be_named_as_a_whole(settings: Settings) -> None:
    settings.LIVE_MODELS = ["items", "auth.Group"]
    assert set(live_models()) == {Item, Part, Group, *viewer_models()}


def test_table_between_that_is_not_live_is_told(settings: Settings) -> None:
    settings.LIVE_MODELS = ["library.Book"]
    messages = [each.msg for each in checks.check_relations()]
    through = Book.tags.through._meta.label
    assert f"library.Book is live, but {through}, which tags is kept in, is not." in messages


def test_engine_that_makes_the_orm_use_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = connections.settings | {"stock": {"ENGINE": "django.db.backends.postgresql"}}
    monkeypatch.setattr(connections, "settings", stock)
    [info] = checks.check_engines()
    assert "uses threads for the database 'stock'" in info.msg
    ours = connections.settings | {"stock": {"ENGINE": "app.database"}}
    monkeypatch.setattr(connections, "settings", ours)
    assert checks.check_engines() == []


def test_application_without_lifespan_is_an_error(application: ModuleType) -> None:
    server = LiveGraphQL(schema)
    application.application = Router(server.graphql(), middleware=server.middleware)  # type: ignore[attr-defined]
    assert ids(checks.check_application()) == ["live.E006"]


def test_lifespan_is_found_inside_of_what_is_around(application: ModuleType) -> None:
    server = LiveGraphQL(schema)
    router = Router(
        server.graphql(), lifespan=server.lifespan, middleware=[Middleware(CORSMiddleware)]
    )
    application.application = CORSMiddleware(router)  # type: ignore[attr-defined]
    assert checks.check_application() == []


def test_application_that_serves_no_graphql_is_told(application: ModuleType) -> None:
    application.application = Router()  # type: ignore[attr-defined]
    assert ids(checks.check_application()) == ["live.W004"]


def test_application_that_cannot_be_imported_is_an_error(
    application: ModuleType, settings: Settings
) -> None:
    [error] = checks.check_application()
    assert f"{APPLICATION}:application cannot be imported" in error.msg
    settings.ASGI_APPLICATION = "no.such.application"
    assert ids(checks.check_application()) == ["live.E005"]


def test_application_is_found_beside_the_settings(settings: Settings) -> None:
    assert checks.application_name() == "asgi:application"
    settings.SETTINGS_MODULE = "tests.items.settings"
    assert checks.application_name() == "tests.items.asgi:application"
    settings.SETTINGS_MODULE = "tests.items.settings.production"
    assert checks.application_name() == "tests.items.asgi:application"


def schema_of(source: Any) -> GraphQLSchema:
    """A schema whose one subscription has this source."""
    subscription = SubscriptionType()
    subscription.set_source("groups", source)
    types = "type Query { one: Int } type Subscription { groups: Int }"
    return make_executable_schema(types, subscription)


def groups() -> Any:
    """Called by a source."""
    return Group.objects.all()


async def watches_groups(_: Any, info: Any) -> Any:
    async for _change in info.context.feed.watch(groups()):
        yield 1


def test_source_of_a_model_that_is_not_live_is_told(application: ModuleType) -> None:
    server = LiveGraphQL(schema_of(watches_groups))
    application.application = Router(lifespan=server.lifespan)  # type: ignore[attr-defined]
    [warning] = checks.check_application()
    assert "The source of the subscription groups names auth.Group" in warning.msg


def test_this_project_has_nothing_to_be_told() -> None:
    assert [
        *checks.check_names(),
        *checks.check_values(),
        *checks.check_models(),
        *checks.check_relations(),
        *checks.check_application(),
    ] == []
