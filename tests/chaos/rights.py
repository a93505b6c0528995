"""Change who may see what, and write into the ledger when it has become so."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session

from tests.chaos.oracle import REVOCATION_SECONDS
from tests.chaos.plan import RightsChange
from tests.chaos.world import DATABASE_ERRORS, ROOT, P, R, Viewer, World, in_thread, now
from tests.clients import session_cookie
from tests.items.models import Item

GROUP: Final = "seers"
RETRY_SECONDS: Final = 0.3
MAX_ABSENCE_SECONDS: Final = 2 * REVOCATION_SECONDS + 2


def create_users(viewers: int) -> list[Viewer]:
    """Create root, the viewers, and items of all of them. Root comes first."""
    permission = Permission.objects.get(codename="view_item")
    Group.objects.create(name=GROUP).permissions.add(permission)
    users = [User.objects.create_superuser(ROOT)]
    users += [User.objects.create_user(f"viewer{number}") for number in range(viewers)]
    Item.objects.bulk_create(Item(owner=user) for user in users for _ in range(3))
    return [Viewer(user.username, user.pk, session_cookie(user)) for user in users]


class Rights:
    """Carries out planned changes; each is tried until it is done, so none remains uncertain."""

    def __init__(self, world: World) -> None:
        self._world = world
        for viewer in (world.root, *world.viewers):
            world.ledger.begin(("active", viewer.name), now())
            self._begin_session(viewer)

    async def run(self, changes: Sequence[RightsChange]) -> None:
        """Change rights as planned."""
        for change in changes:
            await asyncio.sleep(change.pause)
            viewer = self._world.viewers[change.viewer]
            async with self._world.gate.passing():
                await self._change(change, viewer)
            self._world.counts[f"rights {change.kind}"] += 1
            if not viewer.may_connect:
                await asyncio.sleep(random.Random(change.number).uniform(0, MAX_ABSENCE_SECONDS))
                async with self._world.gate.passing():
                    await self._sign_in(viewer)

    async def _change(self, change: RightsChange, viewer: Viewer) -> None:
        match change.kind:
            case "permission" | "group":
                await self._toggle(change.kind, viewer)
            case "move":
                await self._move(change.number, viewer)
            case "sign-out":
                await self._sign_out(viewer)
            case "deactivate":
                viewer.is_active = False
                await self._until_done(set_active, viewer.key, False)
                self._world.ledger.end(("active", viewer.name), now())
            case "password":
                session = viewer.cookie
                viewer.cookie = ""
                await self._until_done(change_password, viewer.key)
                self._end_session(session)

    async def _toggle(self, way: str, viewer: Viewer) -> None:
        fact, ledger = ("sees", viewer.name, way), self._world.ledger
        has_it = ledger.is_open(fact)
        if not has_it:
            ledger.begin(fact, now())
        set_right = set_permission if way == "permission" else set_membership
        await self._until_done(set_right, viewer.key, not has_it)
        if has_it:
            ledger.end(fact, now())

    async def _move(self, number: int, viewer: Viewer) -> None:
        key, owner = await self._until_done(choose_item, number)
        if key is None or owner == viewer.name:
            return
        self._world.ledger.begin(("owner", str(key), viewer.name), now())
        await self._until_done(move, key, viewer.key)
        self._world.ledger.end(("owner", str(key), owner), now())

    async def _sign_out(self, viewer: Viewer) -> None:
        session = viewer.cookie
        viewer.cookie = ""
        await self._until_done(sign_out, session.partition("=")[2])
        self._end_session(session)

    async def _sign_in(self, viewer: Viewer) -> None:
        if not viewer.is_active:
            self._world.ledger.begin(("active", viewer.name), now())
            await self._until_done(set_active, viewer.key, True)
            viewer.is_active = True
        if not viewer.cookie:
            viewer.cookie = await self._until_done(sign_in, viewer.key)
            self._begin_session(viewer)

    def _begin_session(self, viewer: Viewer) -> None:
        self._world.ledger.begin(("session", viewer.cookie.partition("=")[2]), now())

    def _end_session(self, cookie: str) -> None:
        self._world.ledger.end(("session", cookie.partition("=")[2]), now())

    async def _until_done(
        self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs
    ) -> R:
        while True:
            try:
                return await in_thread(function, *arguments, **named)
            except (*DATABASE_ERRORS, UpdateError):  # the second is of a session that is not saved
                self._world.counts["rights retried"] += 1
                await asyncio.sleep(RETRY_SECONDS)


def set_active(key: int, is_active: bool) -> None:
    """Deactivate a user, or activate one."""
    User.objects.filter(pk=key).update(is_active=is_active)


def change_password(key: int) -> None:
    """Give a user another password, by which all of their sessions end."""
    user = User.objects.get(pk=key)
    user.set_unusable_password()
    user.save(update_fields=["password"])


def set_permission(key: int, may: bool) -> None:
    """Let a user see all items, or not."""
    permission = Permission.objects.get(codename="view_item")
    held = User.objects.get(pk=key).user_permissions
    held.add(permission) if may else held.remove(permission)


def set_membership(key: int, is_member: bool) -> None:
    """The same by way of a group."""
    groups = User.objects.get(pk=key).groups
    group = Group.objects.get(name=GROUP)
    groups.add(group) if is_member else groups.remove(group)


def choose_item(number: int) -> tuple[int | None, str]:
    """Return one of the newest items that are not root's, and its owner."""
    items = Item.objects.exclude(owner__username=ROOT).order_by("-id")
    newest = list(items.values_list("pk", "owner__username")[:10])
    return newest[number % len(newest)] if newest else (None, "")


def move(item: int, owner: int) -> None:
    """Give an item to somebody else."""
    Item.objects.filter(pk=item).update(owner_id=owner)


def sign_out(key: str) -> None:
    """Delete a session, as signing out does."""
    Session.objects.filter(session_key=key).delete()


def sign_in(key: int) -> str:
    """Return the cookie of a new session."""
    return session_cookie(User.objects.get(pk=key))
