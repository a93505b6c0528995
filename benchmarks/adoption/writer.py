"""`python -m benchmarks.adoption.writer`: a shell, worker or cron job of the shop, told by lines.

Each line on standard input is a JSON list of a function's name and its arguments; its result is
written as a line, when all is committed.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import django

django.setup()

from django.contrib.auth import (  # noqa: E402
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import transaction  # noqa: E402

from benchmarks.adoption.shop.models import Order  # noqa: E402


def open_shop(customers: int, orders: int) -> dict[str, Any]:
    """Create users who have signed in, with as many orders each; return their keys."""
    users = get_user_model().objects
    created = {}
    for number in range(customers):
        user = users.create_user(f"customer-{number}")
        created[user.pk] = _sign_in(user)
        for each in range(orders):
            Order.objects.create(owner_id=user.pk, item=f"item {each}")
    return {"admin": _sign_in(users.create_superuser("admin")), "sessions": created}


def save(orders: list[int], **values: Any) -> None:
    """Save each of these orders by itself, with other values."""
    for key in orders:
        order = Order.objects.get(pk=key)
        for name, value in values.items():
            setattr(order, name, value)
        order.save()


def update(orders: list[int], **values: Any) -> None:
    """Update each of these orders, without an instance."""
    for key in orders:
        Order.objects.filter(pk=key).update(**values)


def bulk_create(owners: list[int]) -> None:
    """Create an order of each of these users."""
    for owner in owners:
        Order.objects.bulk_create([Order(owner_id=owner, item="made in bulk")])


def roll_back(orders: list[int], **values: Any) -> None:
    """Save each of these orders in a transaction that fails."""
    for key in orders:
        with suppress(ZeroDivisionError), transaction.atomic():
            save([key], **values)
            raise ZeroDivisionError


def sign_out(session: str) -> None:
    """Delete a session, as Django's `logout` does."""
    SessionStore(session).flush()


def _sign_in(user: Any) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    each.__name__: each for each in (open_shop, save, update, bulk_create, roll_back, sign_out)
}


def main() -> None:
    """Do as told until the input ends."""
    for line in sys.stdin:
        name, positional, named = json.loads(line)
        print(json.dumps(FUNCTIONS[name](*positional, **named)), flush=True)


if __name__ == "__main__":
    main()
