"""The routes by which anybody writes, one function each."""

import asyncio
import re
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import httpx
import psycopg
from django.contrib.auth.models import User
from django.db import connection

from tests.chaos.postgresql import BIN
from tests.chaos.site import Site, direct, through
from tests.chaos.world import DATABASE_ERRORS, ROOT, World, in_thread, now
from tests.items.models import Item, Part

MAX_ITEMS: Final = 60
ANSWER_SECONDS: Final = 10.0
STATES: Final = ("OPEN", "DONE")
FAILURES = (*DATABASE_ERRORS, psycopg.Error, sqlite3.Error, httpx.HTTPError)


class WriteFailedError(Exception):
    """A write was not done, by whatever route."""


@dataclass(frozen=True)
class Target:
    """What is written to, and by which ways."""

    world: World
    site: Site
    database_url: str

    def owner(self, number: int) -> str:
        """Return the name of whom something is given to."""
        names = [viewer.name for viewer in self.world.viewers]
        return [*names, ROOT][number % (len(names) + 1)]


Route = Callable[[Target, int], Awaitable[None]]


async def by_graphql(target: Target, number: int) -> None:
    """A mutation of root's, directly or through nginx."""
    if number % 3:
        arguments = f'name: "g{number}", owner: "{target.owner(number)}"'
        query = f"mutation {{ createItem({arguments}) {{ id }} }}"
    else:
        key, state = await in_thread(_any_item, number), STATES[number // 3 % 2]
        query = f"mutation {{ setState(id: {key}, state: {state}) {{ id }} }}"
    site = target.site
    way = through(site.proxy.nginx) if number % 2 else direct(site.workers)
    headers = {"Cookie": target.world.root.cookie, **way.headers}
    async with httpx.AsyncClient(
        headers=headers, timeout=ANSWER_SECONDS, verify=way.trusted
    ) as client:
        response = await client.post(way.http, json={"query": query}, extensions=way.extensions)
    if response.status_code >= 500:
        raise WriteFailedError(f"{response.status_code} {response.text[:200]}")
    errors = response.json().get("errors", [])
    codes = {error["extensions"]["code"] for error in errors}
    if "SERVICE_UNAVAILABLE" in codes:
        raise WriteFailedError(errors)
    if codes - {"NOT_FOUND"}:  # of an item that has just been deleted
        target.world.violate(f"The mutation {query} was answered with {errors}")


async def by_admin(target: Target, number: int) -> None:
    """A form of Django's admin: a new item, or another state for one of root's."""
    owner, state = target.owner(number), STATES[number % 2]
    own = await in_thread(_newest_of_root) if number % 2 else None
    path = "/admin/items/item/add/" if own is None else f"/admin/items/item/{own}/change/"
    owner = ROOT if own is not None else owner
    form = {"name": f"a{number}", "state": state, "owner": str(await in_thread(_key_of, owner))}
    base = f"http://127.0.0.1:{target.site.workers.port}"
    headers = {"Cookie": target.world.root.cookie}
    async with httpx.AsyncClient(base_url=base, timeout=ANSWER_SECONDS) as client:
        page = await client.get(path, headers=headers)
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        if page.status_code == 302 and own is not None:
            return  # It has just been deleted.
        if found is None:
            raise WriteFailedError(f"{page.status_code} {page.text[:200]}")
        headers["Cookie"] += f"; csrftoken={page.cookies['csrftoken']}"
        form["csrfmiddlewaretoken"] = found[1]
        answer = await client.post(path, data=form, headers=headers)
    if answer.status_code != 302:
        raise WriteFailedError(f"{answer.status_code} {answer.text[:200]}")


async def by_orm(target: Target, number: int) -> None:
    """Save and delete rows one by one."""
    count = await in_thread(Item.objects.count)
    if count > MAX_ITEMS:
        await _delete(target.world, number)
    else:
        await in_thread(_save, target.owner(number), number)


async def by_bulk(target: Target, number: int) -> None:
    """`bulk_create()` and `update()`."""
    await in_thread(_change_many, target.owner(number), number)


async def by_sql(target: Target, number: int) -> None:
    """SQL past Django's models."""
    statement = "UPDATE items_item SET state = %s, name = %s WHERE id %% 5 = %s"
    await in_thread(_execute, statement, [STATES[number % 2], f"s{number}", number % 5])


async def by_copy(target: Target, number: int) -> None:
    """COPY, through psycopg alone."""
    key = await in_thread(_key_of, target.owner(number))
    connecting = psycopg.AsyncConnection.connect(
        target.database_url, autocommit=True, connect_timeout=5
    )
    async with (
        asyncio.timeout(ANSWER_SECONDS * 2),
        await connecting as database,
        database.cursor() as cursor,
        cursor.copy("COPY items_item (name, state, owner_id) FROM STDIN") as copy,
    ):
        for row in range(number % 3 + 1):
            await copy.write_row((f"c{number}-{row}", STATES[row % 2], key))


async def by_psql(target: Target, number: int) -> None:
    """psql, a process that knows nothing of Django."""
    statement = f"UPDATE items_item SET name = 'p{number}' WHERE id % 7 = {number % 7}"
    psql = await asyncio.create_subprocess_exec(
        BIN / "psql", target.database_url, "-qc", statement, stderr=subprocess.PIPE
    )
    _, complaints = await psql.communicate()
    if psql.returncode:
        raise WriteFailedError(complaints.decode())


async def by_sqlite3(target: Target, number: int) -> None:
    """Python's sqlite3 on the file, which knows nothing of Django."""

    def write() -> None:
        with closing(sqlite3.connect(target.database_url.removeprefix("sqlite:///"))) as database:
            statement = "UPDATE items_item SET name = ? WHERE id % 7 = ?"
            with database:
                database.execute(statement, (f"f{number}", number % 7))

    await asyncio.to_thread(write)


ROUTES: Mapping[str, Route] = {
    "graphql": by_graphql,
    "admin": by_admin,
    "orm": by_orm,
    "bulk": by_bulk,
    "sql": by_sql,
    "copy": by_copy,
    "psql": by_psql,
    "sqlite3": by_sqlite3,
}


async def _delete(world: World, number: int) -> None:
    key, owner = await in_thread(_item_and_owner, number)
    if key is None:
        return
    await in_thread(Item.objects.filter(pk=key).delete)
    world.ledger.end(("owner", str(key), owner), now())


def _item_and_owner(number: int) -> tuple[int | None, str]:
    items = list(Item.objects.order_by("id").values_list("pk", "owner__username")[:20])
    return items[number % len(items)] if items else (None, "")


def _any_item(number: int) -> int:
    keys = list(Item.objects.order_by("-id").values_list("pk", flat=True)[:20])
    return keys[number % len(keys)] if keys else 0


def _newest_of_root() -> int | None:
    return Item.objects.filter(owner__username=ROOT).values_list("pk", flat=True).last()


def _key_of(username: str) -> int:
    return User.objects.values_list("pk", flat=True).get(username=username)


def _save(owner: str, number: int) -> None:
    if number % 3 == 0 and (item := Item.objects.filter(pk=_any_item(number)).first()):
        Part.objects.create(name=f"part{number}", item=item)
    elif number % 3 == 1 and (part := Part.objects.order_by("id").first()):
        part.delete()
    else:
        Item.objects.create(name=f"o{number}", owner_id=_key_of(owner))


def _change_many(owner: str, number: int) -> None:
    if number % 2:
        key = _key_of(owner)
        Item.objects.bulk_create(Item(name=f"b{number}-{n}", owner_id=key) for n in range(3))
    else:
        Item.objects.filter(pk__gt=_any_item(number)).update(state=STATES[number // 2 % 2])


def _execute(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
