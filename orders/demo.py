"""Users and orders to try things out with, and somebody who keeps changing them."""

import random
from datetime import timedelta
from threading import Event

from django.contrib.auth import get_user_model
from django.utils import timezone

from orders.models import Order

LOGIN = PASSWORD = "demo"  # noqa: S105 - made under DEBUG only
NAMES = ("ada", "grace", "linus")
ORDERS_EACH = 8
MAX_ORDERS = 100


def create() -> None:
    """Create the demo users and their orders, as far as they are not there already."""
    users = get_user_model().objects
    if not users.filter(username=LOGIN).exists():
        users.create_superuser(LOGIN, f"{LOGIN}@example.org", PASSWORD)
    today = timezone.localdate()
    for name in NAMES:
        user, is_new = users.get_or_create(username=name, defaults={"email": f"{name}@example.org"})
        if is_new:
            user.set_unusable_password()
            user.save()
            Order.objects.bulk_create(
                Order(user=user, date=today - timedelta(days=days), state=random.choice(STATES))
                for days in range(ORDERS_EACH, 0, -1)
            )


STATES = [Order.State.PAID, Order.State.UNPAID]


def keep_changing(stop: Event, pause_seconds: float = 2.0) -> None:
    """Every few seconds, until `stop` is set, one of the demo users orders or pays something.

    Deletes nothing, leaves other users' orders alone, and stops ordering at `MAX_ORDERS`.
    """
    demo_orders = Order.objects.filter(user__username__in=NAMES)
    users = list(get_user_model().objects.filter(username__in=NAMES))
    while not stop.wait(random.uniform(0.5, 1.5) * pause_seconds):
        unpaid = demo_orders.filter(state=Order.State.UNPAID)
        if demo_orders.count() < MAX_ORDERS and random.random() < 0.5:
            Order.objects.create(user=random.choice(users))
        elif (order := unpaid.order_by("?").first()) is not None:
            unpaid.filter(pk=order.pk).update(state=Order.State.PAID)
        else:
            demo_orders.update(state=Order.State.UNPAID)
