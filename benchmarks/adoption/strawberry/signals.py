"""Tell the groups of those whose orders are saved or deleted."""

from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_save
from django.dispatch import receiver

from benchmarks.adoption.shop.models import Order


@receiver(pre_save, sender=Order)
def remember_owner(instance: Any, **_: Any) -> None:
    """Keep whose order it was: they must be told, too."""
    before = Order.objects.filter(pk=instance.pk).values_list("owner_id", flat=True)
    instance.owners_before = list(before)


@receiver([post_save, post_delete], sender=Order)
def announce(instance: Any, **_: Any) -> None:
    """Tell whose order it is and was, as soon as that is committed."""
    owners = {instance.owner_id, *getattr(instance, "owners_before", [])}
    transaction.on_commit(partial(tell, owners))


def tell(owners: set[int]) -> None:
    """Send to the groups of these users."""
    send = async_to_sync(get_channel_layer().group_send)
    for owner in owners:
        send(f"orders-{owner}", {"type": "orders.changed"})
