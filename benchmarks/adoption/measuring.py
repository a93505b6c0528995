"""Write to an arm's shop in each way, and count what came to whom."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import psycopg

from benchmarks.adoption.arms import Arm
from benchmarks.adoption.customers import QUERY, Crowd, Customer, Rows
from benchmarks.adoption.servers import Site
from benchmarks.database import PostgreSQLDatabase

CUSTOMERS: Final = 20
ORDERS_OF_EACH: Final = 3
TABS: Final = 10
SIGN_OUT_SECONDS: Final = 6.0
"""How long is waited for sockets to be closed; reviews of all viewers pause for up to 5."""
_CSRF: Final = "c" * 32

Concerned: TypeAlias = list[set[int]]
"""Whom each of some writes concerns."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is written, and how long is waited."""

    writes: int
    """Of each kind, each to an order of another customer."""
    quiet_seconds: float
    """How long nothing must have come until it is believed that nothing will."""
    patience_seconds: float
    """How long is waited for what does not come."""


FULL: Final = Scale(writes=10, quiet_seconds=1.5, patience_seconds=5)
QUICK: Final = Scale(writes=2, quiet_seconds=0.3, patience_seconds=0.6)


class Shop:
    """An arm's shop with its customers, while all is running."""

    def __init__(self, site: Site, scale: Scale, opened: dict[str, Any]) -> None:
        self.site = site
        self.scale = scale
        self.customers = [Customer(int(key), each) for key, each in opened["sessions"].items()]
        self._admin = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{site.port}/admin/",
            cookies={"sessionid": opened["admin"], "csrftoken": _CSRF},
            timeout=30,
        )

    @property
    def chosen(self) -> list[Customer]:
        """Those whose orders are written to."""
        return self.customers[: self.scale.writes]

    def orders(self) -> dict[int, list[dict[str, str]]]:
        """Return all orders, by their owners and the newest first, as they are committed."""
        statement = (
            "SELECT owner_id, id::text, item, state FROM shop_order ORDER BY shop_order.id DESC"
        )
        found: dict[int, Rows] = {each.user: [] for each in self.customers}
        with psycopg.connect(self.site.database_url) as connection:
            for owner, key, item, state in connection.execute(statement):
                found[owner].append({"id": key, "item": item, "state": state})
        return found

    def newest(self) -> list[int]:
        """Return the newest order of each of those whose orders are written to."""
        orders = self.orders()
        return [int(orders[each.user][0]["id"]) for each in self.chosen]

    async def save_in_admin(self, order: int, **values: Any) -> None:
        """Save an order in Django's admin, whose form has all of its values."""
        with psycopg.connect(self.site.database_url) as connection:
            row = connection.execute(
                "SELECT owner_id, item, state, note FROM shop_order WHERE id = %s", [order]
            ).fetchone()
        form = dict(zip(("owner", "item", "state", "note"), row or (), strict=True)) | values
        response = await self._admin.post(
            f"shop/order/{order}/change/", data=form | {"csrfmiddlewaretoken": _CSRF}
        )
        if response.status_code != httpx.codes.FOUND:
            raise RuntimeError(f"The admin did not save an order:\n{response.text}")

    async def ask(self, customer: Customer) -> Any:
        """Return the customer's orders, as the query gives them."""
        async with httpx.AsyncClient(cookies={"sessionid": customer.session}) as client:
            response = await client.post(
                f"http://127.0.0.1:{self.site.port}/graphql/", json={"query": QUERY}
            )
        return response.json()["data"]["myOrders"]

    async def settle(self, crowd: Crowd) -> None:
        """Wait until nothing has come for a while, and all is as committed, or patience ends."""
        began = time.monotonic()
        orders = self.orders()
        while True:
            now = time.monotonic()
            last = max(began, *(each.last_at for each in crowd.customers))
            is_current = all(each.newest == orders[each.user] for each in crowd.customers)
            is_over = is_current or now - began > self.scale.patience_seconds
            if is_over and now - last > self.scale.quiet_seconds:
                return
            await asyncio.sleep(0.02)


async def saved_in_admin(shop: Shop) -> Concerned:
    """Save orders in the server's own process."""
    for order in shop.newest():
        await shop.save_in_admin(order, state="PAID")
    return _each(shop)


async def saved_elsewhere(shop: Shop) -> Concerned:
    """Save orders in another process."""
    await shop.site.elsewhere("save", shop.newest(), state="SENT")
    return _each(shop)


async def updated(shop: Shop) -> Concerned:
    """Update orders by querysets."""
    await shop.site.elsewhere("update", shop.newest(), state="OPEN")
    return _each(shop)


async def created_in_bulk(shop: Shop) -> Concerned:
    """Create orders by `bulk_create`."""
    await shop.site.elsewhere("bulk_create", [each.user for each in shop.chosen])
    return _each(shop)


async def written_by_sql(shop: Shop) -> Concerned:
    """Update orders by SQL, without Django."""
    with psycopg.connect(shop.site.database_url, autocommit=True) as connection:
        for order in shop.newest():
            connection.execute("UPDATE shop_order SET state = 'SENT' WHERE id = %s", [order])
    return _each(shop)


async def moved(shop: Shop) -> Concerned:
    """Give orders to other customers, in the server's own process."""
    concerned = []
    for giver, taker, order in zip(
        shop.chosen[::2], shop.chosen[1::2], shop.newest()[::2], strict=True
    ):
        await shop.save_in_admin(order, owner=taker.user)
        concerned.append({giver.user, taker.user})
    return concerned


async def saved_as_they_were(shop: Shop) -> Concerned:
    """Save orders in the server's own process, with the values that they have."""
    for order in shop.newest():
        await shop.save_in_admin(order)
    return []


async def noted(shop: Shop) -> Concerned:
    """Change, in the server's own process, a column that nobody follows."""
    for order in shop.newest():
        await shop.save_in_admin(order, note="Call them.")
    return []


async def rolled_back(shop: Shop) -> Concerned:
    """Save orders in transactions that fail, in another process."""
    await shop.site.elsewhere("roll_back", shop.newest(), state="PAID")
    return []


def _each(shop: Shop) -> Concerned:
    return [{each.user} for each in shop.chosen]


KINDS: Final[tuple[Callable[[Shop], Awaitable[Concerned]], ...]] = (
    saved_in_admin,
    saved_elsewhere,
    updated,
    created_in_bulk,
    written_by_sql,
    moved,
    saved_as_they_were,
    noted,
    rolled_back,
)


async def measure(
    arm: Arm, postgresql: PostgreSQLDatabase, redis: str, folder: Path, scale: Scale
) -> dict[str, Any]:
    """Return what was counted of one arm."""
    site = Site(arm, postgresql, redis)
    log = folder / f"{arm.name}.log"
    async with site.running(log):
        shop = Shop(site, scale, await site.elsewhere("open_shop", CUSTOMERS, ORDERS_OF_EACH))
        async with Crowd(site.port, shop.customers) as crowd:
            await shop.settle(crowd)
            orders = shop.orders()
            first = [each for each in shop.customers if each.messages[:1] == [orders[each.user]]]
            if await shop.ask(shop.customers[0]) != orders[shop.customers[0].user]:
                raise RuntimeError(f"{arm.name} does not answer the query.")
            found: dict[str, Any] = {"viewers": CUSTOMERS, "current_first": len(first)}
            for write in KINDS:
                found[write.__name__] = await _written(shop, crowd, write)
            found["tabs"] = await _tabs(shop, crowd)
            found["signed_out"] = await _signed_out(shop, crowd)
    refusals = [refusal for each in shop.customers for refusal in each.refusals]
    if refusals or "Traceback" in log.read_text():
        raise RuntimeError(f"{arm.name} failed: {refusals}\n{log.read_text()[-5000:]}")
    return found


async def _written(
    shop: Shop, crowd: Crowd, write: Callable[[Shop], Awaitable[Concerned]]
) -> dict[str, int]:
    """Return how many of some writes arrived, and how many messages came without a change."""
    orders = shop.orders()
    counts = [len(each.messages) for each in shop.customers]
    concerned = await write(shop)
    await shop.settle(crowd)
    now = shop.orders()
    current = {each.user for each in shop.customers if each.newest == now[each.user]}
    came = {
        each.user: len(each.messages) - count
        for each, count in zip(shop.customers, counts, strict=True)
    }
    return {
        "writes": len(concerned) or shop.scale.writes,
        "arrived": sum(each <= current for each in concerned),
        "messages": sum(came.values()),
        "without_change": sum(came[user] for user in came if orders[user] == now[user]),
    }


async def _tabs(shop: Shop, crowd: Crowd) -> dict[str, float]:
    """Return how often a change is queried for one tab of a viewer, and for many."""
    customer = shop.customers[0]
    more = [Customer(customer.user, customer.session) for _ in range(TABS - 1)]
    one = await _queries(shop, crowd)
    async with Crowd(shop.site.port, more) as tabs:
        await shop.settle(tabs)
        many = await _queries(shop, crowd)
        if not all(each.newest == customer.newest for each in more):
            raise RuntimeError("Not all tabs show the same.")
    # What the admin itself reads is the same in both.
    return {"tabs": TABS, "executions": round(1 + many - one, 1)}


async def _queries(shop: Shop, crowd: Crowd) -> float:
    shop.site.queries_of_orders()
    states = ("OPEN", "PAID", "SENT")
    for state in states:
        await shop.save_in_admin(shop.newest()[0], state=state)
        await shop.settle(crowd)
    return shop.site.queries_of_orders() / len(states)


async def _signed_out(shop: Shop, crowd: Crowd) -> dict[str, int]:
    """Return how many sockets of those who signed out were closed, and what they still got."""
    for each in shop.chosen:
        await shop.site.elsewhere("sign_out", each.session)
    await crowd.closed(shop.chosen, SIGN_OUT_SECONDS)
    closed = sum(each.close_code is not None for each in shop.chosen)
    count = sum(len(each.messages) for each in shop.chosen)
    await saved_in_admin(shop)
    await shop.settle(crowd)
    return {
        "viewers": len(shop.chosen),
        "closed": closed,
        "messages": sum(len(each.messages) for each in shop.chosen) - count,
    }
