"""What can be asked, changed and followed: a field for each thing that a protocol carries."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from ariadne import (
    MutationType,
    ObjectType,
    QueryType,
    ScalarType,
    SubscriptionType,
    load_schema_from_path,
    make_executable_schema,
)
from django.contrib.auth.models import User

from app.database.models import QuerySet
from app.graphql.context import Info
from app.graphql.errors import (
    BadUserInputError,
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
)
from app.viewer import Viewer
from tests.items.models import Item, ItemQuerySet, Part

logger = logging.getLogger(__name__)

MAX_ITEMS = 200
MAX_NAME_CHARACTERS = 40

name_scalar = ScalarType("Name")
query = QueryType()
mutation = MutationType()
subscription = SubscriptionType()
item_type = ObjectType("Item")


@name_scalar.value_parser
def parse_name(value: object) -> str:
    """Read a name. Raise BadUserInputError for anything else."""
    if isinstance(value, str) and 1 <= len(value) <= MAX_NAME_CHARACTERS:
        return value
    raise BadUserInputError(
        f"A Name has 1 to {MAX_NAME_CHARACTERS} characters, but {value!r} came."
    )


@query.field("items")
async def resolve_items(_: None, info: Info, **arguments: Any) -> list[Item]:
    """Return one page of items."""
    return [item async for item in page(info, **arguments)]


@query.field("item")
async def resolve_item(_: None, info: Info, id: str) -> Item:  # noqa: A002 - GraphQL's name
    """Return one item. Raise NotFoundError, also for an item of somebody else."""
    return await find(info, id)


@mutation.field("createItem")
async def create_item(_: None, info: Info, name: str = "item", owner: str | None = None) -> Item:
    """Create an item for the viewer or, given the permission, for somebody else."""
    return await Item.objects.acreate(name=name, owner=await owner_of_new(info, owner))


@mutation.field("setState")
async def set_state(_: None, info: Info, id: str, state: str) -> Item:  # noqa: A002
    """Set an item's state; a line in the log tells that it begins."""
    item = await find(info, id)
    logger.info("Setting the state of item %s.", item.pk)
    await Item.objects.filter(pk=item.pk).aupdate(state=state)
    return await find(info, id)


@subscription.source("item")
async def newest_item(_: None, info: Info) -> AsyncGenerator[Item | None, None]:
    """Yield the newest item: now, and after each change."""
    items = visible_items(info)
    async for _change in info.context.feed.watch(items):
        yield await items.alast()


@subscription.source("items")
async def newest_items(_: None, info: Info, **arguments: Any) -> AsyncGenerator[list[Item], None]:
    """Yield one page of items: now, and after each change."""
    items = page(info, **arguments)
    async for _change in info.context.feed.watch(items):
        yield [item async for item in items]


@subscription.source("countdown")
async def count_down(_: None, info: Info, **arguments: int) -> AsyncGenerator[int, None]:
    """Yield one number after the other, then end."""
    for number in range(arguments["from"], 0, -1):
        yield number


@subscription.source("failing")
async def fail(_: None, info: Info, results: int) -> AsyncGenerator[int, None]:
    """Yield some numbers, then raise ForbiddenError."""
    for number in range(results):
        yield number
    raise ForbiddenError("No more of these.")


@subscription.source("silent")
async def say_nothing(_: None, info: Info) -> AsyncGenerator[int, None]:
    """Wait until the last subscriber has left."""
    await asyncio.Event().wait()
    yield 0


for _name in ("item", "items", "countdown", "failing", "silent"):
    # What the source yields is the field's value.
    subscription.set_field(_name, lambda yielded, *_, **__: yielded)


@item_type.field("secret")
def resolve_secret(*_: Any) -> str:
    """Raise ForbiddenError: an error of one field, beside the data of others."""
    raise ForbiddenError("Nobody may read it.")


@item_type.field("parts")
async def resolve_parts(item: Item, _: Info) -> list[Part]:
    """Return the parts, without a query if they have come with the item."""
    return [part async for part in item.parts.all()]


def require_viewer(info: Info) -> Viewer:
    """Return who asks. Raise UnauthenticatedError if it is nobody, and that matters."""
    viewer = info.context.viewer
    if viewer.user_id is None and not viewer.is_unrestricted:
        raise UnauthenticatedError("Sign in to see items.")
    return viewer


async def owner_of_new(info: Info, username: str | None) -> User:
    """Return whose a new item is. Raise ForbiddenError, NotFoundError and BadUserInputError."""
    viewer = require_viewer(info)
    if username is None and viewer.user_id is None:
        raise BadUserInputError("Nobody is signed in, so owner must say whose item it is.")
    if username is not None and not viewer.may("items.add_item"):
        raise ForbiddenError("You may create items for yourself only.")
    users: QuerySet[User] = QuerySet(User)
    whose = {"pk": viewer.user_id} if username is None else {"username": username}
    user = await users.filter(**whose).afirst()
    if user is None:
        raise NotFoundError(f"There is no user {username!r}.")
    return user


def visible_items(info: Info) -> ItemQuerySet:
    """Return the items that the viewer may see, with all that the type Item shows."""
    items = Item.objects.visible_to(require_viewer(info))
    return items.select_related("owner").prefetch_related("parts")


def page(info: Info, first: int | None = None, state: str | None = None) -> ItemQuerySet:
    """Return at most `first` items, newest first. Raise BadUserInputError."""
    first = 50 if first is None else first
    if not 1 <= first <= MAX_ITEMS:
        raise BadUserInputError(f"first must be from 1 to {MAX_ITEMS}, but {first} came.")
    items = visible_items(info).order_by("-id")
    return (items if state is None else items.filter(state=state))[:first]


async def find(info: Info, id_: str) -> Item:
    """Return the item with this key. Raise NotFoundError and BadUserInputError."""
    try:
        key = int(id_)
    except ValueError:
        raise BadUserInputError(f"An item's id is a whole number, but {id_!r} came.") from None
    item = await visible_items(info).filter(pk=key).afirst()
    if item is None:
        raise NotFoundError(f"There is no item {key}.")
    return item


schema = make_executable_schema(
    load_schema_from_path(str(Path(__file__).with_name("schema.graphql"))),
    [name_scalar, query, mutation, subscription, item_type],
)
