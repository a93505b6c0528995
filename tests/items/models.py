"""Items, which have parts, and who may see them."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models

from app.database.models import Manager, Model, QuerySet
from app.viewer import Viewer


class ItemQuerySet(QuerySet["Item"]):
    """Items, by who looks at them."""

    def visible_to(self, viewer: Viewer) -> Self:
        """The items this viewer may see: their own, or all with permission."""
        if viewer.may("items.view_item"):
            return self.all()
        return self.filter(owner_id=viewer.user_id)


class Item(Model):
    """Something that somebody has, open or done."""

    class State(models.TextChoices):
        OPEN = "OPEN"
        DONE = "DONE"

    name = models.CharField(max_length=40, default="item")
    state = models.CharField(max_length=4, choices=State, default=State.OPEN)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)

    objects: ClassVar[Manager[Self]] = ItemQuerySet.as_manager()

    class Meta:
        ordering = ["id"]  # so that last() is the newest

    def __str__(self) -> str:
        return self.name


class Part(Model):
    """Something of which an item has many."""

    name = models.CharField(max_length=40)
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="parts")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name
