"""The example domain in GraphQL: what can be asked, changed and followed."""

from collections.abc import AsyncGenerator
from datetime import date
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
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser

from app import (
    BadUserInputError,
    ForbiddenError,
    Info,
    NotFoundError,
    UnauthenticatedError,
    Viewer,
)
from app.database import QuerySet
from orders.models import Order, OrderQuerySet

User = get_user_model()

MAX_ORDERS = 200
MAX_ID = 2**63 - 1

date_scalar = ScalarType("Date", serializer=date.isoformat)
query = QueryType()
mutation = MutationType()
subscription = SubscriptionType()
user_type = ObjectType("User")


@date_scalar.value_parser
def parse_date(value: object) -> date:
    """Read YYYY-MM-DD. Raises BadUserInputError for anything else."""
    try:
        if isinstance(value, str) and len(value) == len("YYYY-MM-DD"):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise BadUserInputError(f"A Date is an existing day, as YYYY-MM-DD, but {value!r} came.")


@query.field("getOrders")
async def resolve_orders(_: None, info: Info, **arguments: Any) -> list[Order]:
    """One page of the orders the viewer may see, newest first."""
    return [order async for order in page(require_viewer(info), **arguments)]


@query.field("getOrder")
async def resolve_order_by_id(_: None, info: Info, id: str) -> Order:  # noqa: A002 - GraphQL's name
    """One order. Raises NotFoundError, also for an order of somebody else."""
    return await find(require_viewer(info), id)


@mutation.field("createOrder")
async def create_order(_: None, info: Info, username: str | None = None, **values: Any) -> Order:
    """Create an order for the viewer or, given the permission, for somebody else."""
    viewer = require_viewer(info)
    if username is None and viewer.user_id is None:
        raise BadUserInputError("Nobody is signed in, so username must say whose order it is.")
    whose = {"pk": viewer.user_id} if username is None else {User.USERNAME_FIELD: username}
    users: QuerySet[AbstractUser] = QuerySet(User)
    user: Any = await users.filter(**whose).afirst()
    is_own = user is not None and user.pk == viewer.user_id
    if not is_own and not viewer.may("orders.add_order"):
        raise ForbiddenError("You may create orders for yourself only.")
    if user is None:
        raise NotFoundError(f"There is no user {username!r}.")
    return await Order.objects.acreate(user=user, **_given(values))


@mutation.field("setOrderState")
async def set_order_state(_: None, info: Info, id: str, state: str) -> Order:  # noqa: A002
    """Mark an order as paid or not."""
    viewer = require_viewer(info)
    order = await find(viewer, id)
    if not order.may_be_changed_by(viewer, "orders.change_order"):
        raise ForbiddenError("You may change your own orders only.")
    # One statement, so that two who do this at once cannot undo other changes of the row.
    await Order.objects.filter(pk=order.pk).aupdate(state=state)
    return await find(viewer, id)


@mutation.field("deleteOrder")
async def delete_order(_: None, info: Info, id: str) -> str:  # noqa: A002
    """Delete an order."""
    viewer = require_viewer(info)
    order = await find(viewer, id)
    if not order.may_be_changed_by(viewer, "orders.delete_order"):
        raise ForbiddenError("You may delete your own orders only.")
    await order.adelete()
    return id


@subscription.source("getOrder")
async def newest_order(_: None, info: Info) -> AsyncGenerator[Order | None, None]:
    """The newest order the viewer may see: now, and after each change that concerns it."""
    orders = Order.objects.visible_to(require_viewer(info)).select_related("user")
    async for _change in info.context.feed.watch(orders):
        yield await orders.alast()


@subscription.source("getOrders")
async def newest_orders(_: None, info: Info, **arguments: Any) -> AsyncGenerator[list[Order], None]:
    """One page of orders: now, and after each change that concerns it."""
    orders = page(require_viewer(info), **arguments)
    async for _change in info.context.feed.watch(orders):
        yield [order async for order in orders]


@subscription.field("getOrder")
@subscription.field("getOrders")
def resolve_yielded(yielded: Any, _: Info, **__: Any) -> Any:
    """What the source has yielded is the field's value."""
    return yielded


@user_type.field("email")
def resolve_email(user: AbstractUser, info: Info) -> str:
    """The address, for its owner and who may view users."""
    viewer = info.context.viewer
    if user.pk == viewer.user_id or viewer.may("auth.view_user"):
        return user.email
    raise ForbiddenError("You may read your own email only.")


def require_viewer(info: Info) -> Viewer:
    """Who asks. Raises UnauthenticatedError if it is nobody, and that matters."""
    viewer = info.context.viewer
    if viewer.user_id is None and not viewer.is_unrestricted:
        raise UnauthenticatedError("Sign in to see orders.")
    return viewer


def page(
    viewer: Viewer, first: int | None = None, after: str | None = None, state: str | None = None
) -> OrderQuerySet:
    """At most `first` orders, newest first, older than `after`. Raises BadUserInputError."""
    first = 50 if first is None else first
    if not 1 <= first <= MAX_ORDERS:
        raise BadUserInputError(f"first must be from 1 to {MAX_ORDERS}, but {first} came.")
    orders = Order.objects.visible_to(viewer).select_related("user").order_by("-id")
    if after is not None:
        orders = orders.filter(id__lt=key(after))
    if state is not None:
        orders = orders.filter(state=state)
    return orders[:first]


async def find(viewer: Viewer, id_: str) -> Order:
    """The order with this key. Raises NotFoundError and BadUserInputError."""
    orders = Order.objects.visible_to(viewer).select_related("user")
    order = await orders.filter(pk=key(id_)).afirst()
    if order is None:
        raise NotFoundError(f"There is no order {id_}.")
    return order


def key(id_: str) -> int:
    """An order's key from its GraphQL ID. Raises BadUserInputError."""
    digits = len(str(MAX_ID))
    if not (len(id_) <= digits and id_.isascii() and id_.isdecimal() and int(id_) <= MAX_ID):
        raise BadUserInputError(
            f"An order's id is a whole number from 0 to {MAX_ID}, but {id_[:40]!r} came."
        )
    return int(id_)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    # A null means the same as leaving it out: the model's default.
    return {name: value for name, value in values.items() if value is not None}


schema = make_executable_schema(
    load_schema_from_path(str(Path(__file__).with_name("schema.graphql"))),
    [date_scalar, query, mutation, subscription, user_type],
)
